"""Addresses of ports: one row each, and no two alike in a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import Pool, candidates
from floe.store import listing as lists
from floe.store.address_columns import Address, address_text
from floe.store.prepared import Prepared
from floe.store.schema import Ident, metadata

_CANDIDATES = 8
_LOST = 24
"""How many times an address that was free may be another's when it is claimed."""
_SPAN = 64
"""How many addresses are looked at first."""

port_addresses = sa.Table(
    "port_addresses",
    metadata,
    sa.Column("network_id", Ident, primary_key=True),
    sa.Column("address", Address, primary_key=True, autoincrement=False, index=True),
    sa.Column("subnet_id", Ident, sa.ForeignKey("subnets.id"), nullable=False, index=True),
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False, index=True),
)


_TEXT = address_text(port_addresses.c.address)
_CLAIM = lists.new(port_addresses)
_TAKEN = Prepared(
    sa.select(sa.func.count()).where(
        port_addresses.c.network_id == sa.bindparam("network"),
        port_addresses.c.address.between(sa.bindparam("first"), sa.bindparam("last")),
    )
)
_OF_PORTS = lists.ByIds(
    sa.select(port_addresses.c.port_id, port_addresses.c.subnet_id, port_addresses.c.address).order_by(
        port_addresses.c.address
    ),
    port_addresses.c.port_id,
)


def holding(port_id: sa.ColumnElement[Any], wanted: Mapping[str, Sequence[Any]]) -> sa.ColumnElement[bool]:
    """Return the condition that a port has addresses such as are wanted: by subnet_id, address (a number), part.

    Of several values of one kind one is enough; several kinds may be true of different addresses, as in Neutron. Parts
    are looked for in the addresses of the ports that are listed, the others where an index has them.
    """
    return sa.and_(sa.true(), *(_holds(port_id, name, values) for name, values in wanted.items()))


def _holds(port_id: sa.ColumnElement[Any], name: str, values: Sequence[Any]) -> sa.ColumnElement[bool]:
    if name == "part":
        like = sa.or_(*(_TEXT.contains(value.lower(), autoescape=True) for value in values))
        return sa.exists().where(port_addresses.c.port_id == port_id, like)
    return port_id.in_(sa.select(port_addresses.c.port_id).where(port_addresses.c[name].in_(list(values))))


def claim(conn: Connection, network_id: str, subnet_id: str, port_id: str, address: int) -> bool:
    """Give one address to a port; False if another port has it."""
    return _CLAIM.write(conn, network_id=network_id, subnet_id=subnet_id, port_id=port_id, address=address) == 1


def allocate(conn: Connection, network_id: str, subnet_id: str, port_id: str, pools: Sequence[Pool]) -> int | None:
    """Give the port a free address of the pools; None when all are taken.

    Some are tried that follow from the port's id, so that ports made at the same time do not wait for one another.
    Where these are taken the subnet is rather full, and the free one that follows the last of them is looked for: there
    too nobody waits for who looks elsewhere. Who loses it looks again.
    """
    candidate = None
    for candidate in candidates(port_id, pools, _CANDIDATES):
        if claim(conn, network_id, subnet_id, port_id, candidate):
            return candidate
    for _ in range(_LOST):
        free = next_free(conn, network_id, pools, candidate)
        if free is None or claim(conn, network_id, subnet_id, port_id, free):
            return free
    return None


def next_free(conn: Connection, network_id: str, pools: Sequence[Pool], start: int | None = None) -> int | None:
    """Return the first free address of the pools, or the first from `start` on, then from their beginning on."""
    before: list[Pool] = []
    after: list[Pool] = []
    for first, last in pools:
        if start is not None and not after and not first <= start <= last:
            before.append((first, last))
        elif start is not None and not after:
            before += [(first, start - 1)] if first < start else []
            after.append((start, last))
        else:
            after.append((first, last))
    free = (_next_free(conn, network_id, pool) for pool in (*after, *before))
    return next((found for found in free if found is not None), None)


def taken(conn: Connection, network_id: str, address: int) -> bool:
    """Say whether a port of the network has the address."""
    where = sa.and_(port_addresses.c.network_id == network_id, port_addresses.c.address == address)
    return conn.execute(sa.select(port_addresses.c.port_id).where(where)).first() is not None


def release(conn: Connection, port_id: str, subnet_id: str | None = None, address: int | None = None) -> None:
    """Take back a port's addresses, all or those of one subnet, or one of these."""
    statement = sa.delete(port_addresses).where(port_addresses.c.port_id == port_id)
    if subnet_id is not None:
        statement = statement.where(port_addresses.c.subnet_id == subnet_id)
    if address is not None:
        statement = statement.where(port_addresses.c.address == address)
    conn.execute(statement)


def of_ports(conn: Connection, port_ids: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return (port id, subnet id, address) of these ports, in order of address."""
    return [(row[0], row[1], row[2]) for row in _OF_PORTS.rows(conn, list(port_ids))]


def holders(conn: Connection, network_ids: Iterable[str], numbers: Iterable[int]) -> list[str]:
    """Return the ports that have one of these addresses on one of these networks."""
    where = sa.and_(
        port_addresses.c.network_id.in_(list(network_ids)), port_addresses.c.address.in_(list(numbers))
    )  # fmt: skip
    return sorted({row[0] for row in conn.execute(sa.select(port_addresses.c.port_id).where(where))})


def in_subnet(conn: Connection, subnet_id: str) -> list[tuple[str, int]]:
    """Return (port id, address) of all addresses of a subnet."""
    statement = sa.select(port_addresses.c.port_id, port_addresses.c.address)
    return [(row[0], row[1]) for row in conn.execute(statement.where(port_addresses.c.subnet_id == subnet_id))]


def count_by_subnet(conn: Connection, network_ids: Sequence[str]) -> dict[str, int]:
    """Count the addresses that ports have in the subnets of these networks, by subnet."""
    columns = (port_addresses.c.subnet_id, sa.func.count())
    found: dict[str, int] = {}
    for part in lists.in_parts(network_ids):
        statement = sa.select(*columns).where(port_addresses.c.network_id.in_(part))
        for subnet_id, count in conn.execute(statement.group_by(port_addresses.c.subnet_id)):
            found[subnet_id] = count
    return found


def _next_free(conn: Connection, network_id: str, pool: Pool) -> int | None:
    """Return the pool's first free address: of spans, each twice as long as the one before, the first that has one."""
    free, last = pool
    span = _SPAN
    while free <= last:
        end = min(last, free + span - 1)
        if not _all_taken(conn, network_id, free, end):
            while free < end:
                middle = (free + end) // 2
                free, end = (middle + 1, end) if _all_taken(conn, network_id, free, middle) else (free, middle)
            return free
        free, span = end + 1, 2 * span
    return None


def _all_taken(conn: Connection, network_id: str, first: int, last: int) -> bool:
    found = _TAKEN.first(conn, network=network_id, first=first, last=last)
    return int(found[0]) == last - first + 1
