"""Domains."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.domains import Domain
from floe.store import names
from floe.store.schema import Ident, Json, JsonOf, metadata
from floe.store.table import Rows, things

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("tags", JsonOf(tuple[str, ...]), nullable=False, server_default="[]"),
    sa.Column("properties", Json, nullable=False, server_default="{}"),
    names.folded(),
)
ROWS: Rows[Domain] = Rows(domains, things(Domain))
get, find, called, insert, update = ROWS.get, ROWS.those, ROWS.called, ROWS.insert, ROWS.update
delete = ROWS.delete
"""Removes a domain alone; what is in it is removed before."""
