"""Subnet pools, and what subnets have of them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.subnetpools import SubnetPool
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, JsonOf, Moment, metadata
from floe.store.subnets import subnets
from floe.store.table import VIEWER, Rows, things
from floe.store.tags import Tags

subnetpools = sa.Table(
    "subnetpools",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("prefixes", JsonOf(tuple[str, ...]), nullable=False),
    sa.Column("default_length", sa.Integer, nullable=False),
    sa.Column("least_length", sa.Integer, nullable=False),
    sa.Column("most_length", sa.Integer, nullable=False),
    sa.Column("quota", sa.Integer),
    sa.Column("shared", sa.Boolean, nullable=False, index=True),
    sa.Column("default", sa.Boolean, nullable=False),
    sa.Column("scope_id", Ident, sa.ForeignKey("address_scopes.id"), index=True),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    info=counted(Counted(resource="subnetpool", owner="project_id")),
)


def of_scope(conn: Connection, scope_id: str) -> list[SubnetPool]:
    """Return the pools of an address scope."""
    return ROWS.those(conn, scope_id=scope_id)


def default(conn: Connection) -> SubnetPool | None:
    """Return the pool that is taken where none is named."""
    return next(iter(ROWS.those(conn, default=True)), None)


def taken(conn: Connection, pool_id: str, project_id: str | None = None) -> list[str]:
    """Return the CIDRs that subnets have of a pool; only those of a project, if one is named."""
    where = subnets.c.pool_id == pool_id
    if project_id is not None:
        where = sa.and_(where, subnets.c.project_id == project_id)
    return [row[0] for row in conn.execute(sa.select(subnets.c.cidr).where(where))]


ROWS: Rows[SubnetPool] = Rows(
    subnetpools,
    things(SubnetPool),
    seen=sa.or_(subnetpools.c.project_id == VIEWER, subnetpools.c.shared.is_(True)),
)
