"""Planted bugs in how hosts learn of the members of security groups."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.bus.protocol import Bus
from floe.core.errors import HostFailure, Unavailable
from floe.core.host_network import HostNetworkState, MembersChange
from floe.core.messages import ChangeMembers, Command, MembersChanged, Result
from floe.simulation.planting import Memory, Planted, both, otherwise, patched, remembering, through
from floe.store import host_networks

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


def _members_nowhere(conn: Any, host: str) -> tuple[int, int]:
    """Expect a host that comes back to know no members."""
    return _state(conn, host)[0], 0


_state = host_networks.state


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
            patched((HostNetworkState, "takes", _no_gaps), (host_networks, "state", _members_nowhere)),
        ),
        needs="lossy",
    ),
)
