"""Role assignments: who has which role on what."""

from __future__ import annotations

import msgspec

USER, GROUP = "user", "group"
PROJECT, DOMAIN, SYSTEM = "project", "domain", "system"
WHOLE_SYSTEM = "all"
"""The id of the one system there is."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A role given to an actor (USER or GROUP) on a target (PROJECT, DOMAIN or SYSTEM)."""

    role_id: str
    actor_kind: str
    actor_id: str
    target_kind: str
    target_id: str
    via_group: str | None = None
    """In an effective list, the group through which a user has it."""
    via_role: str | None = None
    """In an effective list, the assigned role that implies this one."""
