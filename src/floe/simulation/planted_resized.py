"""Planted bugs in resizes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.agent.rebuild import GuestRebuild
from floe.agent.resize import GuestResize
from floe.agent.steps import Steps
from floe.cloud import server_resize
from floe.core.guests import GuestSpec
from floe.core.messages import PowerChanged
from floe.core.server_resize import MAKE, Resize
from floe.core.servers import Server
from floe.simulation.planting import Planted, patched
from floe.store import servers as server_rows
from floe.store.engine import Connection

_resize = GuestResize.change


def _restore_nothing(conn: Connection, server: Server, now: datetime, **more: Any) -> None:
    """Leave a server what it was resized to, and forget what it was."""
    server_rows.change(conn, server.id, **{"former": None, **more}, updated_at=now)


def _forget_in_the_row(conn: Connection, server_id: str, now: datetime, **more: Any) -> None:
    """Keep what a server was claimed of its host."""
    server_rows.change(conn, server_id, **{"former": None, **more}, updated_at=now)


def _as_it_is(server: Server) -> Server:
    """Take a server to have been what it is."""
    return server


async def _tidied_at_once(self: GuestResize, command: Resize, steps: Steps) -> PowerChanged:
    """Remove what a guest was as soon as it is resized."""
    done = await _resize(self, command, steps)
    if command.do == MAKE:
        await self.rebuild.tidy(command.guest)
    return done


async def _tidy_nothing(self: GuestRebuild, guest: GuestSpec) -> None:
    """Leave the files of the half that nobody wants."""


async def _plug_nothing(self: GuestRebuild, guest: GuestSpec, before: GuestSpec) -> None:
    """Leave a guest's NICs as they were."""


RESIZED = (
    Planted(
        "resize-not-taken-back",
        "a server whose resize failed or was reverted is shown as what it was resized to",
        patched((server_resize, "restore", _restore_nothing)),
        needs="resize",
    ),
    Planted(
        "resize-claim-kept",
        "a server whose resize was confirmed still takes what it was of its host",
        patched((server_resize, "forget", _forget_in_the_row)),
        needs="resize",
    ),
    Planted(
        "resize-reverted-to-itself",
        "the guest of a server that is reverted is as large as it was resized to",
        patched((server_resize, "former_of", _as_it_is)),
        needs="resize",
    ),
    Planted(
        "resize-tidied-early",
        "the disks that a guest had are removed before anybody has decided",
        patched((GuestResize, "change", _tidied_at_once)),
        needs="resize",
    ),
    Planted(
        "resize-leaves-disks",
        "the disks of what a guest is not any more are left",
        patched((GuestRebuild, "tidy", _tidy_nothing)),
        needs="resize",
    ),
    Planted(
        "resize-leaves-limits",
        "the NICs of a server that was resized have the limits that it had",
        patched((GuestRebuild, "plug_otherwise", _plug_nothing)),
        needs="resize",
    ),
)
