"""A project: who owns servers, images and networks. Projects are flat; the parent of each is its domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project as the database holds it."""

    id: str
    domain_id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""
