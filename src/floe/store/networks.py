"""Networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.networks import MAX_TAG, OVERLAY, Network
from floe.store import listing as lists
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows, columns_of
from floe.store.tags import Tags

networks = sa.Table(
    "networks",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("up", sa.Boolean, nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False, index=True),
    sa.Column("mtu", sa.Integer, nullable=False),
    sa.Column("tag", sa.Integer, nullable=False, unique=True),
    sa.Column("port_security", sa.Boolean, nullable=False),
    sa.Column("external", sa.Boolean, nullable=False, index=True, server_default=sa.false()),
    sa.Column("default", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("kind", sa.String(16), nullable=False, server_default=OVERLAY),
    sa.Column("physical", sa.String(64)),
    sa.Column("dns_domain", sa.String(255), nullable=False, server_default=""),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.Index("uq_networks_physical", "physical", unique=True),
    info=counted(Counted(resource="network", owner="project_id")),
)

_below = sa.table("subnets", sa.column("id"), sa.column("network_id"), sa.column("created_at"))
"""As much of the subnets as a network shows; the whole table is `store.subnets`, which stands on this module."""

SHARED = sa.or_(networks.c.project_id == VIEWER, networks.c.shared.is_(True))
"""A project sees subnets of its own networks, and of those that are shared."""
SEEN = sa.or_(SHARED, networks.c.external.is_(True))
"""It sees these networks, and those that lead out of the cloud."""
_SUBNET_IDS = lists.ByIds(
    sa.select(_below.c.network_id, _below.c.id).order_by(_below.c.created_at, _below.c.id), _below.c.network_id
)
COLUMNS = columns_of(Network, networks)
_MADE: Callable[..., Network] = Network
"""Takes a row's columns, and then what stands in no column."""
_MANY = lists.ByIds(sa.select(*COLUMNS), networks.c.id)
_DOMAINS = lists.ByIds(
    sa.select(networks.c.id, networks.c.dns_domain).where(networks.c.dns_domain != ""), networks.c.id
)
_OWN = networks.c.project_id == sa.bindparam("project_id")
_USABLE, _READY = (
    Prepared(
        sa.select(*COLUMNS)
        .where(sa.or_(own, networks.c.shared.is_(True)))
        .order_by(networks.c.id)
        .limit(sa.bindparam("most"))
    )
    for own in (_OWN, sa.and_(_OWN, networks.c.up.is_(True)))
)


def many(conn: Connection, network_ids: Iterable[str]) -> dict[str, Network]:
    """Return networks by id, whosever they are, without their subnets' ids."""
    rows = _MANY.rows(conn, list(network_ids))
    return {row[0]: Network(*row) for row in rows}


def usable(conn: Connection, project_id: str, limit: int, *, ready: bool = False) -> list[Network]:
    """Return up to `limit` networks that servers of the project may be put on: its own, and shared ones.

    Of its own, those that are up where they are to be `ready`. They come without their subnets' ids.
    """
    found = _READY if ready else _USABLE
    return [Network(*row) for row in found.rows(conn, project_id=project_id, most=limit)]


def domains(conn: Connection, network_ids: Iterable[str]) -> dict[str, str]:
    """Return the domains of those of the networks that have one of their own."""
    return {row[0]: row[1] for row in _DOMAINS.rows(conn, list(network_ids))}


def tag_taken(conn: Connection, tag: int) -> bool:
    """Say whether a network has the tag."""
    return conn.execute(sa.select(networks.c.id).where(networks.c.tag == tag)).first() is not None


def physical_taken(conn: Connection, physical: str) -> bool:
    """Say whether a network is that physical one."""
    return conn.execute(sa.select(networks.c.id).where(networks.c.physical == physical)).first() is not None


def default(conn: Connection) -> str | None:
    """Return the id of the external network that is taken where none is named."""
    found: str | None = conn.execute(sa.select(networks.c.id).where(networks.c.default.is_(True))).scalar()
    return found


def free_tag(conn: Connection, first: int) -> int | None:
    """Return the first unused tag from `first` on, and then from 1; None when all are taken."""
    after = sa.alias(networks)
    for start, end in ((first, MAX_TAG), (1, first - 1)):
        if start > end:
            continue
        if conn.execute(sa.select(networks.c.tag).where(networks.c.tag == start)).first() is None:
            return start
        found: int | None = conn.execute(
            sa.select(sa.func.min(networks.c.tag) + 1).where(
                networks.c.tag.between(start, end - 1),
                ~sa.exists().where(after.c.tag == networks.c.tag + 1),
            )
        ).scalar()
        if found is not None:
            return found
    return None


def _read(conn: Connection, rows: Sequence[Any]) -> list[Network]:
    below: dict[str, list[str]] = {}
    for network_id, subnet_id in _SUBNET_IDS.tuples(conn, [row[0] for row in rows]):
        below.setdefault(network_id, []).append(subnet_id)
    return [_MADE(*row, tuple(below.get(row[0], ()))) for row in rows]


ROWS: Rows[Network] = Rows(networks, _read, sa.select(*COLUMNS), seen=SEEN)
insert, get, find, update, delete = ROWS.insert, ROWS.get, ROWS.find, ROWS.update, ROWS.delete
