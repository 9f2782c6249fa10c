"""Planted bugs in how hosts learn of the members of security groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from floe.conductor.group_members import GroupMembers
from floe.core.host_network import HostNetworkState, MembersChange
from floe.core.messages import MembersChanged
from floe.simulation.planting import Planted, patched
from floe.store import host_networks

_ask_all = GroupMembers._ask_all
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


def _nowhere(conn: Any, host: str) -> int:
    """Expect nothing of a host that comes back."""
    return 0


async def _all_are_told(self: GroupMembers, changes: Mapping[str, MembersChange]) -> dict[str, MembersChanged]:
    """Take silence for an answer."""
    return dict.fromkeys(changes, MembersChanged(taken=True)) | await _ask_all(self, changes)


MEMBERS = (
    Planted(
        "members-order",
        "a difference of groups' members is taken twice, the second time after a newer one",
        patched((HostNetworkState, "change_members", _members_once_more)),
    ),
    Planted(
        "members-lost",
        "a difference of groups' members that got lost is taken for told, and no gap is seen afterwards",
        patched(
            (GroupMembers, "_ask_all", _all_are_told),
            (HostNetworkState, "takes", _no_gaps),
            (host_networks, "members", _nowhere),
        ),
    ),
)
