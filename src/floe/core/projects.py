"""A project: who owns servers, images and networks. Projects are flat; the parent of each is its domain."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project as the database holds it."""

    id: str
    domain_id: str
    name: str
    description: str = ""
    enabled: bool = True
    tags: tuple[str, ...] = ()
