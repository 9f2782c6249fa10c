"""How clients are told to reach the cloud: `clouds.yaml`, and the same for a shell."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any


def clouds(auth_url: str, region: str, passwords: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the clouds that a state directory offers, by name, as openstacksdk reads them."""

    def cloud(user: str, scope: Mapping[str, Any]) -> dict[str, Any]:
        auth = {
            "auth_url": auth_url,
            "username": user,
            "password": passwords[user],
            "user_domain_name": "Default",
        }
        return {"auth": auth | dict(scope), "region_name": region, "identity_api_version": "3"}

    return {
        "floe": cloud("demo", {"project_name": "demo", "project_domain_name": "Default"}),
        "floe-admin": cloud("admin", {"project_name": "admin", "project_domain_name": "Default"}),
        "floe-system-admin": cloud("admin", {"system_scope": "all"}),
    }


def clouds_yaml(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Write clouds as YAML; every string is quoted as JSON, which YAML reads alike."""
    return "clouds:\n" + "".join(f"  {name}:\n" + "".join(_lines(entry, "    ")) for name, entry in entries.items())


def openrc(entry: Mapping[str, Any]) -> str:
    """Write one cloud as `export` lines for a shell."""
    auth = entry["auth"]
    values = {f"OS_{key.upper()}": str(value) for key, value in auth.items()}
    values["OS_REGION_NAME"] = entry["region_name"]
    values["OS_IDENTITY_API_VERSION"] = entry["identity_api_version"]
    # Left over from another cloud, these would contradict what is set.
    stale = {"OS_CLOUD", "OS_TOKEN", "OS_PROJECT_ID", "OS_PROJECT_NAME", "OS_PROJECT_DOMAIN_NAME", "OS_SYSTEM_SCOPE"}
    unset = f"unset {' '.join(sorted(stale - set(values)))}\n"
    return unset + "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items())


def _lines(table: Mapping[str, Any], indent: str) -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:\n", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value)}\n")
    return lines
