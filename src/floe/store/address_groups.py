"""Address groups."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.address_groups import AddressGroup
from floe.store import listing as lists
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, JsonOf, Moment, metadata
from floe.store.table import VIEWER, Rows, things
from floe.store.tags import Tags

address_groups = sa.Table(
    "address_groups",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("addresses", JsonOf(tuple[str, ...]), nullable=False),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.Index("ix_address_groups_project_id_id", "project_id", "id"),
    sa.Index("ix_address_groups_name_owned", "name", "project_id", "id"),
    info=counted(Counted(resource="address_group", owner="project_id")),
)
_ADDRESSES = lists.ByIds(sa.select(address_groups.c.id, address_groups.c.addresses), address_groups.c.id)


def addresses(conn: Connection, group_ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return what is in groups, by group."""
    return dict(_ADDRESSES.rows(conn, list(group_ids)))


ROWS: Rows[AddressGroup] = Rows(address_groups, things(AddressGroup), seen=address_groups.c.project_id == VIEWER)
