"""The catalogue: which APIs there are, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from floe.core.errors import Invalid

INTERFACES = ("public", "internal", "admin")
_VARIABLES = ("public_url", "project_id", "tenant_id")
_VARIABLE = re.compile(r"[%$]\((\w*)\)s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region as the database holds it."""

    id: str
    description: str = ""
    parent_region_id: str | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueService:
    """An API that clients find by its type."""

    id: str
    type: str
    name: str = ""
    description: str = ""
    enabled: bool = True
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an API answers. `url` may hold `%(public_url)s` (where this cloud is reached) and `%(project_id)s`."""

    id: str
    service_id: str
    region_id: str | None
    interface: str
    url: str
    enabled: bool = True
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""


def check_region_id(text: str) -> None:
    """Raise Invalid unless `text` may be a region's id."""
    if not re.fullmatch(r"[^/\s]{1,255}", text):
        raise Invalid(f"A region's id has 1 to 255 characters without white space and slashes (it is {text[:80]!r}).")


def check_url(url: str) -> None:
    """Raise Invalid unless `url` is an http(s) URL whose variables are known."""
    if not url.startswith(("http://", "https://", "%(public_url)s")):
        raise Invalid(f"url must begin with http://, https:// or %(public_url)s (it is {url!r}).")
    for name in _VARIABLE.findall(url):
        if name not in _VARIABLES:
            raise Invalid(f"url has the unknown variable {name!r}; known are: {', '.join(_VARIABLES)}.")


def fill(url: str, public_url: str, project_id: str | None) -> str | None:
    """Return an endpoint's URL for one token; None if it needs a project and the token has none."""
    values: Mapping[str, str | None] = {
        "public_url": public_url,
        "project_id": project_id,
        "tenant_id": project_id,
    }
    if any(values.get(name) is None for name in _VARIABLE.findall(url)):
        return None
    return _VARIABLE.sub(lambda found: values[found[1]] or "", url)
