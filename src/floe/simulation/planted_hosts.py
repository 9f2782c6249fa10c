"""Planted bugs of agents: what they remember, build, remove and find when they start."""

from __future__ import annotations

from typing import Any

from floe.agent import agent
from floe.agent import guests as agent_guests
from floe.agent.guests import GuestBuilder
from floe.agent.ledger import Ledger
from floe.agent.reconcile import Reconciled
from floe.cloud import host_guests
from floe.core.host_network import HostNetwork
from floe.core.host_network_state import HostNetworkState
from floe.hypervisors.protocol import Hypervisor
from floe.simulation.planting import Planted, otherwise, patched, through


def _no_refusal(self: Ledger, server_id: str, action_id: str) -> None:
    """Build whatever is asked for."""


async def _keep_partial(ledger: Any, hypervisor: Any, directory: Any, offload: Any) -> Reconciled:
    """Leave what a crash cut short."""
    return Reconciled(guests=await hypervisor.guests(), files=(), abandoned=[], removed=[])


async def _tell_nothing(self: GuestBuilder, guests: Any) -> tuple[str, ...]:
    """Say that there are no files."""
    return ()


def _nothing_owed(conn: Any, host: str) -> list[Any]:
    """Expect nothing of a host that comes back."""
    return []


def _merge_late(self: HostNetworkState, fragment: HostNetwork) -> None:
    """Take whatever comes last."""
    said = [segment.network_id for segment in fragment.segments]
    for ident in (*said, *(group.group_id for group in fragment.groups), *(port.port_id for port in fragment.ports)):
        self.learnt.pop(ident, None)
    _merge(self, fragment)


def _remove_late(self: HostNetworkState, port_ids: tuple[str, ...], generation: int) -> None:
    """Let go of whatever goes last."""
    for ident in port_ids:
        self.learnt.pop(ident, None)
    _remove_ports(self, port_ids, generation)


_merge, _remove_ports = HostNetworkState.merge, HostNetworkState.remove_ports


async def _upon_what_is_there(self: GuestBuilder, command: Any, steps: Any, *, present: bool) -> Any:
    """Take the files that are there for those of a guest that is."""
    there = self.folder(command.guest.server_id).exists()
    return await _spawn(self, command, steps, present=present or there)


_spawn = GuestBuilder.spawn


def _remove_nothing(folder: Any) -> None:
    """Leave the files."""


async def _make_nothing(guest: Any, disk: Any, files: Any) -> None:
    """Make no disk but the root disk."""


def _without_blanks(hypervisor: Hypervisor) -> Any:
    return otherwise(hypervisor, create_blank=_make_nothing)


HOSTS = (
    Planted("disk-left-out", "a guest is started without its second disk", through(hypervisor=_without_blanks)),
    Planted("ledger-ignored", "a host builds what it was told to destroy", patched((Ledger, "refusal", _no_refusal))),
    Planted(
        "no-reconcile",
        "a host's start leaves what its last life left half done and tells nobody, and nobody asks what it owes",
        patched(
            (agent, "reconcile", _keep_partial),
            (GuestBuilder, "leftovers", _tell_nothing),
            (host_guests, "owed", _nothing_owed),
        ),
    ),
    Planted(
        "network-order",
        "a host takes old network states after new ones",
        patched((HostNetworkState, "merge", _merge_late), (HostNetworkState, "remove_ports", _remove_late)),
    ),
    Planted(
        "half-a-disk",
        "a build that is tried again builds upon what a power loss has damaged",
        patched((GuestBuilder, "spawn", _upon_what_is_there)),
        needs="power",
    ),
    Planted("files-left", "a destroyed guest's files stay", patched((agent_guests, "remove_folder", _remove_nothing))),
)
