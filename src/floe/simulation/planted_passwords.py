"""Planted bugs in passwords that guests post."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.agent.passwords import Passwords
from floe.cloud import server_passwords
from floe.cloud.cloud import Cloud
from floe.core.guest_passwords import PasswordPosted
from floe.core.guests import GuestMetadata
from floe.simulation.planting import Planted, patched
from floe.store import servers as rows
from floe.store.engine import Connection


def _nothing_due(self: Passwords) -> list[Any]:
    """Trust that every event arrives."""
    return []


def _as_told(self: Passwords, server_id: str, told: GuestMetadata) -> GuestMetadata:
    """Take whatever is told last for the latest."""
    return told


async def _posted_whenever(cloud: Cloud, event: PasswordPosted) -> None:
    """Take whatever is said last for the latest."""
    now = cloud.clock.now()

    def take(conn: Any) -> Any:
        server = rows.get(conn, event.server_id)
        if server is not None and server.host == event.host and server.password is None:
            rows.change(
                conn,
                event.server_id,
                password=event.password,
                password_turn=max(event.turn, server.password_turn + 1),
                updated_at=now,
            )
        return server

    if await cloud.db.write(take) is not None:
        await _posted(cloud, event)


def _forgotten(_conn: Connection, event: PasswordPosted, server_id: str, now: datetime) -> None:
    """Trust that the event arrived."""


_posted = server_passwords.posted


PASSWORDS = (
    Planted(
        "password-said-once",
        "a host says once what a guest posted, and trusts that the event arrives",
        patched((Passwords, "due", _nothing_due)),
        needs="post",
    ),
    Planted(
        "password-as-told",
        "a host takes what it is told of a password for later than what its guest has posted since",
        patched((Passwords, "merged", _as_told)),
        needs="post",
    ),
    Planted(
        "password-whenever",
        "an event about a password that comes late brings back what was cleared",
        patched((server_passwords, "posted", _posted_whenever)),
        needs="post",
    ),
    Planted(
        "password-left-behind",
        "what a guest posted just before its host removes it is not asked for",
        patched((server_passwords, "left_behind", _forgotten)),
        needs="post",
    ),
)
