"""Planted bugs in how hosts learn of the members of security groups."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.bus.protocol import Bus
from floe.cloud import host_networks
from floe.core.errors import HostFailure, Unavailable
from floe.core.host_network import MembersChange
from floe.core.host_network_state import HostNetworkState
from floe.core.messages import ChangeMembers, Command, HostUp, MembersChanged, Result
from floe.simulation.planting import Memory, Planted, both, otherwise, patched, remembering, through
from floe.store import host_networks as rows

_change_members = HostNetworkState.change_members


def _members_once_more(memory: Memory) -> Any:
    """Take a difference, and the one before it again."""

    def change_members(self: HostNetworkState, change: MembersChange) -> None:
        _, before = memory.get(id(self), (self, None))
        memory[id(self)] = self, change  # the state is kept with it, so that no other one gets its id
        _change_members(self, change)
        for entry in before.groups if before is not None else ():
            group = self.groups.get(entry.group_id)
            if group is not None:
                members = set(group.remote_members).union(entry.added).difference(entry.removed)
                self.groups[entry.group_id] = replace(group, remote_members=tuple(sorted(members)))

    return change_members


def _no_gaps(self: HostNetworkState, change: MembersChange) -> bool:
    """Trust that nothing was missed in between."""
    return all(entry.group_id in self.known_at for entry in change.groups)


def _answer_believing(conn: Any, event: HostUp) -> None:
    """Believe that a host that comes back knows all members it was told of."""
    _answer(conn, _believed(conn, event))


def _is_at_believing(conn: Any, event: HostUp) -> bool:
    """Believe the same."""
    return _is_at(conn, _believed(conn, event))


def _believed(conn: Any, event: HostUp) -> HostUp:
    return replace(event, members_at=rows.state(conn, event.host)[1])


_answer, _is_at = host_networks.answer_host, host_networks.is_at


_SOON = 0.9
"""Seconds, less than a round waits for the slowest: an answer that comes later changes nothing."""


def _all_are_told(bus: Bus) -> Any:
    """Take silence for an answer."""

    async def request(host: str, command: Command, *, timeout: float) -> Result:
        soon = min(timeout, _SOON) if isinstance(command, ChangeMembers) else timeout
        try:
            return await bus.request(host, command, timeout=soon)
        except (HostFailure, Unavailable):
            if isinstance(command, ChangeMembers):
                return MembersChanged(taken=True)
            raise

    return otherwise(bus, request=request)


MEMBERS = (
    Planted(
        "members-order",
        "a difference of groups' members is taken twice, the second time after a newer one",
        remembering((HostNetworkState, "change_members", _members_once_more)),
    ),
    Planted(
        "members-lost",
        "a difference of groups' members that got lost is taken for told, and no gap is seen afterwards",
        both(
            through(bus=_all_are_told),
            patched(
                (HostNetworkState, "takes", _no_gaps),
                (host_networks, "answer_host", _answer_believing),
                (host_networks, "is_at", _is_at_believing),
            ),
        ),
        needs="lossy",
    ),
)
