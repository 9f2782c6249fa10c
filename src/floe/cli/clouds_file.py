"""Reading back the `clouds.yaml` of a state directory, without a YAML library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from floe.core.errors import Forbidden, Invalid, NotFound

ADMIN = "floe-admin"
"""The cloud whose eyes the commands of operators see with."""


def parse(text: str) -> dict[str, dict[str, Any]]:
    """Return the clouds of a text that `credentials.clouds_yaml` wrote, by name. Raises Invalid for any other."""
    root: dict[str, Any] = {}
    # The tables that are open, outermost first, each with the indentation of its keys.
    tables: list[tuple[int, dict[str, Any]]] = [(0, root)]
    for number, line in enumerate(text.splitlines(), start=1):
        indent = len(line) - len(line.lstrip())
        key, colon, value = line.strip().partition(":")
        if not colon:
            raise Invalid(f"clouds.yaml, line {number}: this is not as floe up wrote it.")
        while indent < tables[-1][0]:
            tables.pop()
        if value:
            try:
                tables[-1][1][key] = json.loads(value)
            except ValueError as error:
                raise Invalid(f"clouds.yaml, line {number}: {key} is not as floe up wrote it.") from error
        else:
            inner: dict[str, Any] = {}
            tables[-1][1][key] = inner
            tables.append((indent + 2, inner))
    clouds = root.get("clouds")
    if not isinstance(clouds, dict):
        raise Invalid("clouds.yaml holds no clouds.")
    return clouds


def read(state_dir: Path) -> dict[str, dict[str, Any]]:
    """Return the clouds of a state directory, by name."""
    file = state_dir / "clouds.yaml"
    try:
        return parse(file.read_text())
    except FileNotFoundError as error:
        raise NotFound("file", str(file), f"There is no {file}; floe up writes it at its first start.") from error
    except PermissionError as error:
        raise Forbidden(f"{file} may be read by its owner only; run this as the user who runs floe up.") from error


def access(state_dir: Path) -> dict[str, dict[str, str]]:
    """Return, by name, what it takes to log in to each cloud: the `auth` part alone."""
    return {name: dict(cloud["auth"]) for name, cloud in read(state_dir).items()}


def entry(clouds: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """Return one of the clouds. Raises NotFound, naming those that there are."""
    if name not in clouds:
        raise NotFound("cloud", name, f"There is no cloud {name!r}; there are: {', '.join(clouds)}.")
    return clouds[name]
