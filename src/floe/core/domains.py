"""A domain: the space that names of projects, users and groups are unique in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

DEFAULT_DOMAIN = "default"
"""The id of the domain that is there from the start, as Keystone has it."""


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """A domain as the database holds it."""

    id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Further attributes that clients keep with it, by name."""
