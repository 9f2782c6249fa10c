"""Who is told what of the members of security groups: differences, each from where its host is to what is so now.

`cloud.host_networks.touch_members` notes what changed, at a cost that neither hosts nor members raise. Here it is found
out, for many changes at a time, which hosts have rules about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from floe.core import ahead
from floe.core.addresses import text_of
from floe.core.host_network import GroupChange, MembersChange
from floe.store import group_members as rows
from floe.store import host_networks as host_rows
from floe.store.engine import Connection


class News(msgspec.Struct, frozen=True):
    """What hosts have to be told, up to a position.

    The log is too short for those in `gaps`, which need their whole network; it says nothing of the `unconcerned`.
    `known` is up to where each that there are changes for was told, by the rows.
    """

    position: int
    changes: Mapping[str, MembersChange] = msgspec.field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    unconcerned: tuple[str, ...] = ()
    known: Mapping[str, int] = msgspec.field(default_factory=dict)


def position(conn: Connection) -> int:
    """Return the position of the latest change."""
    return rows.position(conn)


def news(conn: Connection, since: int, seen: Mapping[str, int]) -> News:
    """Return what changed after a position for the hosts that have rules about it; a read.

    `seen` are positions up to which nothing concerned a host.
    """
    now, heads = rows.heads(conn, since)
    if not heads:
        return News(now)
    told: dict[str, int] = {}
    known: dict[str, int] = {}
    about: dict[str, set[str]] = {}
    for host, (at, groups) in rows.followers(conn, heads).items():
        told[host], known[host] = at, max(at, seen.get(host, 0))
        about[host] = {group for group in groups if heads[group] > known[host]}
    if not any(about.values()):
        return News(now)
    floor = rows.floor(conn)
    gaps = tuple(sorted(host for host, groups in about.items() if groups and known[host] < floor))
    within = sorted(host for host, groups in about.items() if groups and host not in gaps)
    if not within:
        return News(now, gaps=gaps)
    since = min(known[host] for host in within)
    log = _Log(rows.log(conn, since), floor)
    concerned = [host for host in within if log.concerns(host, known[host], about[host])]
    changes = {}
    if concerned:
        was, members = rows.latest(conn, since), rows.hosts_of(conn, log.addresses(heads))
        for host in concerned:
            changes[host] = MembersChange(to=now, groups=log.changes(host, known[host], about[host], was, members))
    unconcerned = tuple(host for host in within if host not in changes)
    return News(now, changes, gaps, unconcerned, {host: told[host] for host in changes})


def told(conn: Connection, positions: Mapping[str, int], gaps: Sequence[str], were: Mapping[str, int]) -> None:
    """Record where hosts say that they are, and have those that have a gap sent their whole network.

    So are hosts that say that they `were` further than the rows know: an older copy of the database was put back, and
    what they had heard of under the same numbers was something else.
    """
    strange = [host for host, at in were.items() if host_rows.state(conn, host)[1] < at < ahead.BELIEVABLE]
    if strange:
        rows.catch_up(conn, max(were[host] for host in strange))
    rows.told(conn, positions)
    host_rows.want(conn, sorted({*gaps, *strange}))


class _Log:
    """The log after a position: (position, group, address, host); it is whole after `floor`."""

    def __init__(self, entries: Sequence[tuple[int, str, int, str]], floor: int) -> None:
        self._floor = floor
        self._of: dict[str, list[tuple[int, int, str]]] = {}
        for at, group, address, where in entries:
            self._of.setdefault(group, []).append((at, address, where))

    def addresses(self, groups: Collection[str]) -> set[int]:
        """Return the addresses that it has of these groups."""
        return {address for group in groups for _, address, _ in self._of.get(group, ())}

    def concerns(self, host: str, known: int, groups: Collection[str]) -> bool:
        """Say whether anything changed elsewhere after a position."""
        return any(at > known and where != host for group in groups for at, _, where in self._of.get(group, ()))

    def changes(
        self,
        host: str,
        known: int,
        groups: Collection[str],
        was: Mapping[str, Sequence[tuple[int, str]]],
        members: Mapping[tuple[str, int], set[str]],
    ) -> tuple[GroupChange, ...]:
        """Return what changed elsewhere after a position.

        `was` are the latest changes before the log, by group, one for each host; `members` says on which hosts an
        address is a member of a group now.
        """
        found = []
        for group in sorted(groups):
            elsewhere = [(at, address) for at, address, where in self._of.get(group, ()) if where != host]
            touched = sorted({address for at, address in elsewhere if at > known})
            if not touched:
                continue
            # Of those before, it asks for the latest that was not its own.
            last = [at for at, where in was.get(group, ()) if where != host]
            last += [at for at, _ in elsewhere if at <= known]
            is_member = {address: bool(members.get((group, address), set()) - {host}) for address in touched}
            found.append(
                GroupChange(
                    group_id=group,
                    after=max(last, default=self._floor),
                    added=tuple(text_of(address) for address in touched if is_member[address]),
                    removed=tuple(text_of(address) for address in touched if not is_member[address]),
                )
            )
        return tuple(found)
