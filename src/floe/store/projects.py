"""Projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.projects import Project
from floe.store import names
from floe.store.listing import in_parts
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, metadata

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("domain_id", Ident, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("tags", Json, nullable=False),
    sa.Column("properties", Json, nullable=False),
    names.folded(),
    sa.UniqueConstraint("domain_id", "name"),
)
_QUERY = sa.select(*names.shown(projects)).order_by(projects.c.id)
_BY_ID = Prepared(_QUERY.where(projects.c.id == sa.bindparam("ident")))


def _project(row: Any) -> Project:
    fields = dict(row)
    fields["tags"] = tuple(fields["tags"])
    return Project(**fields)


def get(conn: Connection, project_id: str) -> Project | None:
    """Return a project by its id."""
    row = _BY_ID.first(conn, ident=project_id)
    return None if row is None else _project(row._asdict())


def by_name(conn: Connection, domain_id: str, name: str) -> Project | None:
    """Return a project by its name in a domain."""
    row = names.first_called(conn, _QUERY.where(projects.c.domain_id == domain_id), projects, name)
    return None if row is None else _project(row._mapping)


def find(
    conn: Connection,
    *,
    ids: Iterable[str] | None = None,
    domain_id: str | None = None,
    name: str | None = None,
) -> list[Project]:
    """Return the projects that fit every condition given, by id."""
    query = _QUERY
    if domain_id is not None:
        query = query.where(projects.c.domain_id == domain_id)
    if name is not None:
        query = query.where(names.called(projects, name))
    if ids is None:
        return [_project(row) for row in conn.execute(query).mappings()]
    parts = (query.where(projects.c.id.in_(part)) for part in in_parts(sorted(ids)))
    return [_project(row) for part in parts for row in conn.execute(part).mappings()]


def insert(conn: Connection, project: Project) -> None:
    """Add a project."""
    conn.execute(sa.insert(projects).values(names.with_folded(asdict(project))))


def update(conn: Connection, project_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a project."""
    if changes:
        conn.execute(sa.update(projects).where(projects.c.id == project_id).values(names.with_folded(changes)))


def delete(conn: Connection, project_id: str) -> None:
    """Remove a project alone."""
    conn.execute(sa.delete(projects).where(projects.c.id == project_id))
