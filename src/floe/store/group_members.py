"""Which memberships of security groups changed, in which order: what hosts are told as differences.

A *position* counts all such changes of the cloud; a host is at the one up to which it was told. The log names what
changed, not how: what is so now is read from the ports. It is short: a host that is behind it is sent its whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import number_of_either, text_of
from floe.store import listing as lists
from floe.store.address_columns import Address
from floe.store.addresses import port_addresses
from floe.store.foresight import foresee
from floe.store.host_networks import host_networks
from floe.store.port_bindings import port_bindings
from floe.store.ports import port_groups
from floe.store.prepared import Prepared
from floe.store.schema import HostName, Ident, metadata
from floe.store.security_groups import security_group_rules

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

KEPT = 2048
"""How many changes the log keeps at least; it has at most an eighth more."""
_FEW = 16
"""For how many hosts an update of each is less than to word one for all."""
_ALL = ""
"""Stands for all groups together."""

group_changes = sa.Table(
    "group_changes",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("group_id", Ident, nullable=False),
    sa.Column("address", Address, nullable=False),
    sa.Column("host", HostName, nullable=False),
)
group_positions = sa.Table(
    "group_positions",
    metadata,
    sa.Column("group_id", Ident, primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False, index=True),
)

_POSITION = Prepared(sa.select(group_positions.c.position).where(group_positions.c.group_id == _ALL))
_REFERRED = lists.ByIds(sa.select(security_group_rules.c.remote_group).distinct(), security_group_rules.c.remote_group)
_ADVANCE = Prepared(
    sa.update(group_positions)
    .where(group_positions.c.group_id == _ALL)
    .values(position=group_positions.c.position + sa.bindparam("by"))
    .returning(group_positions.c.position)
)
_FIRST = lists.new(group_positions)
_NOTE = Prepared(sa.insert(group_changes))


def _set_head(dialect: str) -> sqlite.Insert | postgresql.Insert:
    fresh = lists.insert_into(dialect, group_positions)
    return fresh.on_conflict_do_update(
        index_elements=[group_positions.c.group_id], set_={"position": fresh.excluded.position}
    )


_SET_HEAD = Prepared(_set_head)
_CHANGED = Prepared(
    sa.select(group_positions.c.group_id, group_positions.c.position).where(
        group_positions.c.position > sa.bindparam("since")
    )
)
_FOLLOWERS = lists.ByIds(
    sa.select(port_bindings.c.host, security_group_rules.c.remote_group, host_networks.c.members)
    .distinct()
    .select_from(security_group_rules)
    .join(port_groups, port_groups.c.group_id == security_group_rules.c.group_id)
    .join(port_bindings, port_bindings.c.port_id == port_groups.c.port_id)
    .join(host_networks, host_networks.c.host == port_bindings.c.host)
    .where(port_bindings.c.plugged.is_(True)),
    security_group_rules.c.remote_group,
)
_LOG = Prepared(
    sa.select(group_changes.c.position, group_changes.c.group_id, group_changes.c.address, group_changes.c.host)
    .where(group_changes.c.position > sa.bindparam("since"))
    .order_by(group_changes.c.position)
)
_LATEST = Prepared(
    sa.select(group_changes.c.group_id, group_changes.c.host, sa.func.max(group_changes.c.position).label("position"))
    .where(group_changes.c.position <= sa.bindparam("upto"))
    .group_by(group_changes.c.group_id, group_changes.c.host)
)
_OLDEST = Prepared(sa.select(sa.func.min(group_changes.c.position).label("oldest")))
_PRESENT = (
    sa.select(port_groups.c.group_id, port_addresses.c.address, port_bindings.c.host)
    .select_from(
        port_addresses.join(port_bindings, port_bindings.c.port_id == port_addresses.c.port_id).join(
            port_groups, port_groups.c.port_id == port_addresses.c.port_id
        )
    )
    .where(port_bindings.c.plugged.is_(True))
)
_PRESENT_AT = Prepared(_PRESENT.where(port_addresses.c.address == sa.bindparam("at")))
_TOLD = Prepared(
    sa.update(host_networks).where(host_networks.c.host == sa.bindparam("this")).values(members=sa.bindparam("at"))
)


def insert(conn: Connection, host: str, changed: Iterable[tuple[str, str]], kept: int = KEPT) -> bool:
    """Note that these memberships (group, address) of ports on a host began, ended or may have.

    Groups that no rule refers to are passed over. True if any is left. The log keeps about `kept` of them.
    """
    pairs = sorted(set(changed))
    referred = {group for (group,) in _REFERRED.rows(conn, {group for group, _ in pairs})} if pairs else set()
    pairs = [(group, address) for group, address in pairs if group in referred]
    if not pairs:
        return False
    last = _advance(conn, len(pairs))
    at = {
        position: {"position": position, "group_id": group, "address": number_of_either(address), "host": host}
        for position, (group, address) in enumerate(pairs, last - len(pairs) + 1)
    }
    _NOTE.write_later(conn, *at.values())
    heads = {str(row["group_id"]): position for position, row in at.items()}
    _SET_HEAD.write_later(conn, *({"group_id": group, "position": position} for group, position in heads.items()))
    if last // (kept // 8) != (last - len(pairs)) // (kept // 8):
        conn.execute(sa.delete(group_changes).where(group_changes.c.position <= last - kept))
    return True


def forget(conn: Connection, group_id: str) -> None:
    """A group was removed."""
    conn.execute(sa.delete(group_positions).where(group_positions.c.group_id == group_id))


def position(conn: Connection) -> int:
    """Return the position of the latest change."""
    found = _POSITION.first(conn)
    return found.position if found else 0


def catch_up(conn: Connection, beyond: int) -> None:
    """Go beyond a position that some host has heard of, of which these rows know nothing."""
    if (short := beyond + 1 - position(conn)) > 0:
        _advance(conn, short)


def heads(conn: Connection, since: int) -> tuple[int, dict[str, int]]:
    """Return the position of the latest change, and the groups that changed after `since` with where they did last."""
    found = {row.group_id: row.position for row in _CHANGED.rows(conn, since=since)}
    now = found.pop(_ALL, None)
    return (position(conn), {}) if now is None else (now, found)


def followers(conn: Connection, groups: Collection[str]) -> dict[str, tuple[int, set[str]]]:
    """Return the hosts that have rules about members of these groups: where each is, and about which."""
    found: dict[str, tuple[int, set[str]]] = {}
    for host, group, at in _FOLLOWERS.rows(conn, groups):
        found.setdefault(host, (at, set()))[1].add(group)
    return found


def log(conn: Connection, since: int) -> list[tuple[int, str, int, str]]:
    """Return what is left of the log after a position, in order: (position, group, address as a number, host)."""
    return [tuple(row) for row in _LOG.rows(conn, since=since)]


def latest(conn: Connection, upto: int) -> dict[str, list[tuple[int, str]]]:
    """Return the latest changes that the log has up to a position, by group: (position, host), one for each host."""
    found: dict[str, list[tuple[int, str]]] = {}
    for group, host, at in _LATEST.rows(conn, upto=upto):
        found.setdefault(group, []).append((at, host))
    return found


def floor(conn: Connection) -> int:
    """Return the position after which the log is whole."""
    oldest: int | None = _OLDEST.first(conn).oldest
    return position(conn) if oldest is None else oldest - 1


def hosts_of(conn: Connection, addresses: Iterable[int]) -> dict[tuple[str, int], set[str]]:
    """Return where plugged ports have these addresses, by group and address."""
    wanted, found = sorted(set(addresses)), dict[tuple[str, int], set[str]]()
    if len(wanted) <= _FEW:
        foresee(conn, *(partial(_PRESENT_AT.rows, at=address) for address in wanted))
        rows = [row for address in wanted for row in _PRESENT_AT.rows(conn, at=address)]
    else:
        parts = (_PRESENT.where(port_addresses.c.address.in_(part)) for part in lists.in_parts(wanted))
        rows = [row for query in parts for row in conn.execute(query)]
    for group, address, host in rows:
        found.setdefault((group, address), set()).add(host)
    return found


def among(conn: Connection, group_ids: Iterable[str], addresses: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return, by group, those of these addresses that plugged ports of it have."""
    found = {group_id: set[str]() for group_id in group_ids}
    query = (
        sa.select(port_groups.c.group_id, port_addresses.c.address)
        .join(port_addresses, port_addresses.c.port_id == port_groups.c.port_id)
        .join(port_bindings, port_bindings.c.port_id == port_groups.c.port_id)
        .where(
            port_groups.c.group_id.in_(list(found)),
            port_addresses.c.address.in_([number_of_either(address) for address in addresses]),
            port_bindings.c.plugged.is_(True),
        )
        .distinct()
    )
    for group_id, address in conn.execute(query) if found else ():
        found[group_id].add(text_of(address))
    return {group_id: tuple(sorted(members)) for group_id, members in found.items()}


def told(conn: Connection, positions: Mapping[str, int]) -> None:
    """Record up to which position hosts say that they were told."""
    if len(positions) <= _FEW:
        _TOLD.write_later(conn, *({"this": host, "at": at} for host, at in sorted(positions.items())))
        return
    for at in set(positions.values()):
        for part in lists.in_parts(sorted(host for host, its in positions.items() if its == at)):
            conn.execute(sa.update(host_networks).where(host_networks.c.host.in_(part)).values(members=at))


def _advance(conn: Connection, by: int) -> int:
    found = _ADVANCE.first(conn, by=by)
    if found is None:
        _FIRST.write(conn, group_id=_ALL, position=by)
        return by
    return int(found.position)
