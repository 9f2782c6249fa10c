"""The catalogue: which APIs there are, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from floe.core.errors import Invalid

INTERFACES = ("public", "internal", "admin")
_VARIABLES = ("public_url", "project_id", "tenant_id", "user_id")
_VARIABLE = re.compile(r"[%$]\((\w*)\)s")


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """A region as the database holds it."""

    id: str
    description: str = ""
    parent_region_id: str | None = None
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


class CatalogueService(msgspec.Struct, frozen=True, kw_only=True):
    """An API that clients find by its type."""

    id: str
    type: str
    name: str = ""
    description: str = ""
    enabled: bool = True
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where an API answers.

    `url` may hold `%(public_url)s` (where this cloud is reached), `%(project_id)s` and `%(user_id)s`.
    """

    id: str
    service_id: str
    region_id: str | None
    interface: str
    url: str
    enabled: bool = True
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


def check_region_id(text: str) -> None:
    """Raise Invalid unless `text` may be a region's id."""
    if not re.fullmatch(r"[^/]{1,255}", text):
        raise Invalid(f"A region's id has 1 to 255 characters, none of them a slash (it is {text[:80]!r}).")


def check_url(url: str) -> None:
    """Raise Invalid unless `url` is a URL whose variables are known, and nothing else in it has a percent sign."""
    if not re.match(r"[a-zA-Z0-9+.-]+:.|%\(public_url\)s", url):
        raise Invalid(f"url must begin with a scheme like https: or with %(public_url)s (it is {url!r}).")
    for name in _VARIABLE.findall(url):
        if name not in _VARIABLES:
            raise Invalid(f"url has the unknown variable {name!r}; known are: {', '.join(_VARIABLES)}.")
    if "%" in _VARIABLE.sub("", url):
        raise Invalid(f"url has a percent sign that begins no variable like %(project_id)s (it is {url!r}).")


def fill(url: str, public_url: str, project_id: str | None, user_id: str) -> str | None:
    """Return an endpoint's URL for one token; None if it needs a project and the token has none."""
    values: Mapping[str, str | None] = {
        "public_url": public_url,
        "project_id": project_id,
        "tenant_id": project_id,
        "user_id": user_id,
    }
    if any(values.get(name) is None for name in _VARIABLE.findall(url)):
        return None
    return _VARIABLE.sub(lambda found: values[found[1]] or "", url)
