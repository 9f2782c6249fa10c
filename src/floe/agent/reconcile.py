"""What a host does at its start, before it takes commands: bring what is into line with what it remembers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec

from floe.agent.folders import remove_folder
from floe.agent.ledger import Ledger
from floe.agent.threads import Offload
from floe.core.errors import HostFailure
from floe.core.guests import GuestState
from floe.core.ids import is_uuid
from floe.hypervisors.protocol import Hypervisor

log = logging.getLogger(__name__)


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """Guests found, and servers that there are files of and none of these; builds that a crash had cut short and that
    were cleared away; folders removed."""

    guests: list[GuestState]
    files: tuple[str, ...]
    abandoned: list[str]
    removed: list[str]


async def reconcile(ledger: Ledger, hypervisor: Hypervisor, directory: Path, offload: Offload) -> Reconciled:
    """Finish deletes that were accepted, clear away builds that never got to a guest, keep all the rest.

    A guest that the hypervisor has is kept whatever the ledger says (the conductor knows better), unless its
    server was destroyed for good. Of folders, only those in Floe's own directory that are named by a server's id
    are ever removed, and of these one whose guest has run (it has a console log) only where a command said so:
    a lost ledger or a mistyped libvirt URI must not cost anybody a disk.
    """
    found = {guest.server_id: guest for guest in await hypervisor.guests()}
    for server_id in sorted(found.keys() & ledger.dead()):
        log.warning("guest %s was to be destroyed before the restart, and is now", server_id)
        try:
            await hypervisor.destroy(server_id, server_id)
        except HostFailure as error:  # the conductor, told of it by `HostUp`, asks for it again
            log.warning("guest %s cannot be destroyed now: %s", server_id, error.detail or error.message)
        else:
            del found[server_id]
    abandoned = [server_id for server_id in ledger.guests if server_id not in found and not ledger.is_built(server_id)]
    for server_id in abandoned:
        log.warning("the build of %s was cut short by the restart and is cleared away", server_id)
        ledger.abandon(server_id)
    files, removed = [], []
    for server_id in await offload(_names, directory):
        if server_id in found or not is_uuid(server_id):
            continue
        folder = directory / server_id
        told = server_id in abandoned or ledger.is_gone(server_id)
        if server_id in ledger.guests or (not told and (folder / "console.log").exists()):
            files.append(server_id)
        else:
            log.warning("the files of %s belong to no guest and are removed", server_id)
            await offload(remove_folder, folder)
            removed.append(server_id)
    return Reconciled(guests=list(found.values()), files=tuple(files), abandoned=abandoned, removed=removed)


def _names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))  # noqa: PTH208  # names alone, of thousands
