"""Address scopes."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.address_scopes import AddressScope
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows, things
from floe.store.tags import Tags

address_scopes = sa.Table(
    "address_scopes",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("ip_version", sa.Integer, nullable=False),
    sa.Column("shared", sa.Boolean, nullable=False, index=True),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    info=counted(Counted(resource="address_scope", owner="project_id")),
)

ROWS: Rows[AddressScope] = Rows(
    address_scopes,
    things(AddressScope),
    seen=sa.or_(address_scopes.c.project_id == VIEWER, address_scopes.c.shared.is_(True)),
)
