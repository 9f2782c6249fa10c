"""Who is told what of the members of security groups: differences, each from where its host is to what is so now.

`cloud.host_networks.touch_members` notes what changed, at a cost that neither hosts nor members raise. Here it is found
out, for many changes at a time, which hosts have rules about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from floe.core.addresses import text_of
from floe.core.host_network import GroupChange, MembersChange
from floe.store import group_members as rows
from floe.store import host_networks as host_rows
from floe.store.engine import Connection


@dataclass(frozen=True, slots=True)
class News:
    """What hosts have to be told, up to a position.

    The log is too short for those in `gaps`, which need their whole network; it says nothing of the `unconcerned`.
    """

    position: int
    changes: Mapping[str, MembersChange] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    unconcerned: tuple[str, ...] = ()


def position(conn: Connection) -> int:
    """Return the position of the latest change."""
    return rows.position(conn)


def news(conn: Connection, since: int, seen: Mapping[str, int]) -> News:
    """Return what changed after a position for the hosts that have rules about it; a read.

    `seen` are positions up to which nothing concerned a host.
    """
    now = rows.position(conn)
    heads = rows.heads(conn, since) if now > since else {}
    if not heads:
        return News(now)
    known: dict[str, int] = {}
    about: dict[str, set[str]] = {}
    for host, (at, groups) in rows.followers(conn, heads).items():
        known[host] = max(at, seen.get(host, 0))
        about[host] = {group for group in groups if heads[group] > known[host]}
    floor = rows.floor(conn)
    gaps = {host for host, groups in about.items() if groups and known[host] < floor}
    within = sorted(host for host, groups in about.items() if groups and host not in gaps)
    if not within:
        return News(now, gaps=tuple(sorted(gaps)))
    log = _read_log(conn, min(known[host] for host in within), floor, heads)
    changes = {}
    for host in within:
        if found := log.changes(host, known[host], about[host]):
            changes[host] = MembersChange(to=now, groups=found)
    unconcerned = tuple(host for host in within if host not in changes)
    return News(now, changes, tuple(sorted(gaps)), unconcerned)


def told(conn: Connection, positions: Mapping[str, int], gaps: Sequence[str]) -> None:
    """Record where hosts say that they are, and have those that have a gap sent their whole network."""
    rows.told(conn, positions)
    host_rows.want(conn, gaps)


@dataclass(frozen=True, slots=True)
class _Log:
    """The log after a position, by group: (position, address, host); before it, the latest of two hosts."""

    after: dict[str, list[tuple[int, int, str]]]
    before: dict[str, list[tuple[int, str]]]
    floor: int
    members: Mapping[tuple[str, int], set[str]]
    """On which hosts an address is a member of a group now."""

    def changes(self, host: str, known: int, groups: set[str]) -> tuple[GroupChange, ...]:
        """Return what changed elsewhere after a position."""
        found = []
        for group in sorted(groups):
            elsewhere = [(at, address) for at, address, where in self.after[group] if where != host]
            touched = sorted({address for at, address in elsewhere if at > known})
            if not touched:
                continue
            last = [at for at, where in self.before.get(group, ()) if where != host]
            last += [at for at, _ in elsewhere if at <= known]
            is_member = {address: bool(self.members.get((group, address), set()) - {host}) for address in touched}
            found.append(
                GroupChange(
                    group_id=group,
                    after=max(last, default=self.floor),
                    added=tuple(text_of(address) for address in touched if is_member[address]),
                    removed=tuple(text_of(address) for address in touched if not is_member[address]),
                )
            )
        return tuple(found)


def _read_log(conn: Connection, since: int, floor: int, groups: Collection[str]) -> _Log:
    after: dict[str, list[tuple[int, int, str]]] = {group: [] for group in groups}
    for at, group, address, where in rows.log(conn, since):
        if group in after:
            after[group].append((at, address, where))
    addresses = {address for found in after.values() for _, address, _ in found}
    # Of those before, each host asks for the latest that was not its own.
    before = {group: sorted(found)[-2:] for group, found in rows.latest(conn, since).items() if group in after}
    return _Log(after, before, floor, rows.hosts_of(conn, addresses))
