"""Planted bugs in how hosts learn of the members of security groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from floe.bus.protocol import Bus
from floe.core.errors import HostFailure, Unavailable
from floe.core.host_network import HostNetworkState, MembersChange
from floe.core.messages import ChangeMembers, Command, MembersChanged, Result
from floe.simulation.planting import Planted, both, patched, through
from floe.store import host_networks

_change_members = HostNetworkState.change_members
_changes_before: dict[int, MembersChange] = {}


def _members_once_more(self: HostNetworkState, change: MembersChange) -> None:
    """Take a difference, and the one before it again."""
    before = _changes_before.get(id(self))
    _changes_before[id(self)] = change
    _change_members(self, change)
    for entry in before.groups if before is not None else ():
        group = self.groups.get(entry.group_id)
        if group is not None:
            members = set(group.remote_members).union(entry.added).difference(entry.removed)
            self.groups[entry.group_id] = replace(group, remote_members=tuple(sorted(members)))


def _no_gaps(self: HostNetworkState, change: MembersChange) -> bool:
    """Trust that nothing was missed in between."""
    return all(entry.group_id in self.known_at for entry in change.groups)


def _members_nowhere(conn: Any, host: str) -> tuple[int, int]:
    """Expect a host that comes back to know no members."""
    return _state(conn, host)[0], 0


_state = host_networks.state


class _SilenceIsConsent:
    """A bus on which a host that says nothing of a difference has taken it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        try:
            return await self._bus.request(host, command, timeout=timeout)
        except (HostFailure, Unavailable):
            if isinstance(command, ChangeMembers):
                return MembersChanged(taken=True)
            raise


def _all_are_told(bus: Bus) -> Bus:
    """Take silence for an answer."""
    return cast("Bus", _SilenceIsConsent(bus))


MEMBERS = (
    Planted(
        "members-order",
        "a difference of groups' members is taken twice, the second time after a newer one",
        patched((HostNetworkState, "change_members", _members_once_more)),
    ),
    Planted(
        "members-lost",
        "a difference of groups' members that got lost is taken for told, and no gap is seen afterwards",
        both(
            through(bus=_all_are_told),
            patched((HostNetworkState, "takes", _no_gaps), (host_networks, "state", _members_nowhere)),
        ),
    ),
)
