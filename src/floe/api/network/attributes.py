"""The fields that most nouns of the network API have."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Use, Wire
from floe.api.kit.shape import Of
from floe.api.network.converters import name_text, number, text
from floe.core.clock import iso

ID: Wire[Any] = Wire("id", use=Use.LIST)
NAME: Wire[Any] = Wire("name", use=Use.ALL, check=name_text)
DESCRIPTION: Wire[Any] = Wire("description", use=Use.WRITE | Use.FILTER, check=text(255))
OWNER: tuple[Wire[Any], ...] = tuple(
    Wire(name, "project_id", Use.CREATE | Use.LIST, check=text(64)) for name in ("project_id", "tenant_id")
)
"""Whose the thing is; both mean the same."""
TAGS: Wire[Any] = Wire("tags")
REVISED: tuple[Wire[Any], ...] = (
    Wire("created_at", shown=Of("created_at", iso)),
    Wire("updated_at", shown=Of("updated_at", iso)),
    Wire("revision_number", "revision", Use.FILTER, filtered=number),
)
