"""Projects."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.projects import Project
from floe.store import names
from floe.store.schema import Ident, Json, JsonOf, metadata
from floe.store.table import Rows, things

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("domain_id", Ident, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("tags", JsonOf(tuple[str, ...]), nullable=False),
    sa.Column("properties", Json, nullable=False),
    names.folded(),
    sa.UniqueConstraint("domain_id", "name"),
)
ROWS: Rows[Project] = Rows(projects, things(Project))
get, find, each, called = ROWS.get, ROWS.those, ROWS.each, ROWS.called
insert, update = ROWS.insert, ROWS.update
delete = ROWS.delete
"""Removes a project alone; what says something about it is removed with `cloud.departures`."""
