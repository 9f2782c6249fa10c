"""Planted bugs in rebuilds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.agent import rebuild
from floe.agent.guests import GuestBuilder
from floe.agent.ledger import Ledger
from floe.cloud import server_rebuild
from floe.core.given import RebuildGiven
from floe.core.guests import GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.power import Wanted
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize
from floe.core.servers import Server
from floe.simulation.planting import Planted, patched
from floe.store import server_disks
from floe.store import servers as server_rows
from floe.store.engine import Connection

_NOTHING = HostNetwork()


def _restore_nothing(conn: Connection, server: Server, given: RebuildGiven, now: datetime, **more: Any) -> bool:
    """Leave the row what was asked for, though its host could not do it."""
    server_rows.change(conn, server.id, **more, updated_at=now)
    return False


async def _tidy_nothing(self: GuestBuilder, guest: GuestSpec) -> None:
    """Leave the files of what a guest was."""


def _keep_the_disks(conn: Connection, server_id: str, disks: Any) -> None:
    """Leave the server the disks that it had."""


def _remake_unwritten(self: Ledger, guest: GuestSpec, network: HostNetwork = _NOTHING) -> None:
    """Know that a guest has other disks, for as long as the agent lives."""
    self.guests[guest.server_id] = guest


async def _no_way_back(
    self: rebuild.GuestRebuild,
    before: GuestSpec,
    command: Rebuild | Resize,
    kept: Wanted,
    *,
    damaged: bool = False,
    tidy: bool = True,
) -> bool:
    """Say that the guest is what it was."""
    return True


REBUILT = (
    Planted(
        "rebuild-not-taken-back",
        "a server whose rebuild failed is shown as if it had been done",
        patched((server_rebuild, "restore", _restore_nothing)),
        needs="rebuild",
    ),
    Planted(
        "rebuild-leaves-disks",
        "the disks that a guest had before it was rebuilt are left",
        patched((GuestBuilder, "tidy", _tidy_nothing)),
        needs="rebuild",
    ),
    Planted(
        "rebuild-keeps-rows-of-disks",
        "a server that was rebuilt has the rows of the disks that it had",
        patched((server_disks, "replace", _keep_the_disks)),
        needs="rebuild",
    ),
    Planted(
        "rebuild-unwritten",
        "a host does not write down that a guest has other disks",
        patched((Ledger, "remake", _remake_unwritten)),
        needs="rebuild",
    ),
    Planted(
        "rebuild-no-way-back",
        "a guest that could not be made anew is not had back",
        patched((rebuild.GuestRebuild, "go_back", _no_way_back)),
        needs="rebuild",
    ),
)
