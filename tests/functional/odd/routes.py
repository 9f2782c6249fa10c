"""The calls of a surface, paths for them, and what their handlers ask for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from floe.api.kit.body import Body
from floe.api.kit.call import Call, Route
from floe.api.kit.surface import Surface


def latest_of(surface: Surface) -> tuple[int, int]:
    """Return the highest version of a surface, (0, 0) of one that has none."""
    return surface.microversions.highest if surface.microversions else (0, 0)


def routes_of(surface: Surface, version: tuple[int, int] | None = None) -> list[Route]:
    """Return the calls of a surface at a version, the highest unless another is named."""
    version = version or latest_of(surface)
    return [route for route in surface.routes if route.since <= version <= route.until]


def path_of(route: Route, ids: dict[str, str], **odd: str) -> str:
    """Return the path of a call about things that there are, but for what is odd."""
    name = "default" if "quota-class" in route.path else "key"
    known = {**ids, "id": ids.get(noun_of(route), "x"), "name": name}
    return re.sub(r"\{(\w+)\}", lambda found: odd.get(found[1], known.get(found[1], "x")), route.path)


def noun_of(route: Route) -> str:
    """Return the name that paths have for the id of the thing which a call is about."""
    return (
        next((part for part in route.path.split("/") if part.endswith("s")), "").rstrip("s").replace("-", "_") + "_id"
    )


class Watched:
    """What handlers asked for while it watched: names of parameters, and tables of bodies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.tables: list[Body] = []
        one, many, read = Call.one, Call.many, Body.read

        def watch_one(call: Call, name: str, default: str | None = None) -> str | None:
            self.names.add(name)
            return one(call, name, default)

        def watch_many(call: Call, name: str) -> list[str]:
            self.names.add(name)
            return many(call, name)

        def watch_read(table: Body, *args: Any) -> dict[str, Any]:
            self.tables.append(table)
            return read(table, *args)

        monkeypatch.setattr(Call, "one", watch_one)
        monkeypatch.setattr(Call, "many", watch_many)
        monkeypatch.setattr(Body, "read", watch_read)

    def clear(self) -> None:
        """Forget what it saw."""
        self.names.clear()
        self.tables.clear()
