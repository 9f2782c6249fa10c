"""Addresses of ports: one row each, and no two alike in a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import Pool, candidates
from floe.store import listing as lists
from floe.store.schema import Ident, metadata

_CANDIDATES = 8
_GAPS = 24

port_addresses = sa.Table(
    "port_addresses",
    metadata,
    sa.Column("network_id", Ident, primary_key=True),
    sa.Column("address", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
    sa.Column("subnet_id", Ident, sa.ForeignKey("subnets.id"), nullable=False, index=True),
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id", ondelete="CASCADE"), nullable=False, index=True),
)


_CLAIM = lists.new(port_addresses)
_OF_PORTS = lists.ByIds(
    sa.select(port_addresses.c.port_id, port_addresses.c.subnet_id, port_addresses.c.address).order_by(
        port_addresses.c.address
    ),
    port_addresses.c.port_id,
)


def _part(shift: int) -> sa.ColumnElement[str]:
    return sa.cast(port_addresses.c.address.op(">>")(shift).op("&")(255), sa.Text)


DOTTED = _part(24) + "." + _part(16) + "." + _part(8) + "." + _part(0)
"""An address as it is written."""


def holding(wanted: Mapping[str, Sequence[Any]]) -> sa.Select[tuple[str]]:
    """Return the query of the ports that have an address such as is wanted: by subnet_id, address (a number), part."""
    found = sa.select(port_addresses.c.port_id)
    for name, values in wanted.items():
        if name == "part":
            found = found.where(sa.or_(*(DOTTED.contains(value, autoescape=True) for value in values)))
        else:
            found = found.where(port_addresses.c[name].in_(list(values)))
    return found


def claim(conn: Connection, network_id: str, subnet_id: str, port_id: str, address: int) -> bool:
    """Give one address to a port; False if another port has it."""
    return _CLAIM.write(conn, network_id=network_id, subnet_id=subnet_id, port_id=port_id, address=address) == 1


def allocate(conn: Connection, network_id: str, subnet_id: str, port_id: str, pools: Sequence[Pool]) -> int | None:
    """Give the port a free address of the pools; None when all are taken.

    Some are tried that follow from the port's id, so that ports made at the same time do not wait for one another.
    Where these are taken the subnet is rather full, and the first gap is looked for; who loses it looks again.
    """
    for candidate in candidates(port_id, pools, _CANDIDATES):
        if claim(conn, network_id, subnet_id, port_id, candidate):
            return candidate
    for _ in range(_GAPS):
        gap = first_gap(conn, network_id, pools)
        if gap is None or claim(conn, network_id, subnet_id, port_id, gap):
            return gap
    return None


def first_gap(conn: Connection, network_id: str, pools: Sequence[Pool]) -> int | None:
    """Return the first free address of the pools."""
    gaps = (_first_gap(conn, network_id, pool) for pool in pools)
    return next((gap for gap in gaps if gap is not None), None)


def taken(conn: Connection, network_id: str, address: int) -> bool:
    """Say whether a port of the network has the address."""
    where = sa.and_(port_addresses.c.network_id == network_id, port_addresses.c.address == address)
    return conn.execute(sa.select(port_addresses.c.port_id).where(where)).first() is not None


def release(conn: Connection, port_id: str, subnet_id: str | None = None) -> None:
    """Take back a port's addresses, all or those of one subnet."""
    statement = sa.delete(port_addresses).where(port_addresses.c.port_id == port_id)
    if subnet_id is not None:
        statement = statement.where(port_addresses.c.subnet_id == subnet_id)
    conn.execute(statement)


def of_ports(conn: Connection, port_ids: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return (port id, subnet id, address) of these ports, in order of address."""
    return [(row[0], row[1], row[2]) for row in _OF_PORTS.rows(conn, list(port_ids))]


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


def _first_gap(conn: Connection, network_id: str, pool: Pool) -> int | None:
    first, last = pool
    taken = conn.execute(
        sa.select(port_addresses.c.address).where(
            port_addresses.c.network_id == network_id, port_addresses.c.address == first
        )
    ).first()
    if taken is None:
        return first
    after = sa.alias(port_addresses)
    found = conn.execute(
        sa.select(port_addresses.c.address + 1)
        .where(
            port_addresses.c.network_id == network_id,
            port_addresses.c.address.between(first, last - 1),
            ~sa.exists().where(after.c.network_id == network_id, after.c.address == port_addresses.c.address + 1),
        )
        .order_by(port_addresses.c.address)
        .limit(1)
    ).scalar()
    return None if found is None else int(found)
