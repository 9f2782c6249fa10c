"""Projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.projects import Project
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
    sa.UniqueConstraint("domain_id", "name"),
)


def _project(row: sa.Row[Any]) -> Project:
    fields = dict(row._mapping)
    fields["tags"] = tuple(fields["tags"])
    return Project(**fields)


def get(conn: Connection, project_id: str) -> Project | None:
    """Return a project by its id."""
    row = conn.execute(sa.select(projects).where(projects.c.id == project_id)).first()
    return None if row is None else _project(row)


def by_name(conn: Connection, domain_id: str, name: str) -> Project | None:
    """Return a project by its name in a domain."""
    query = sa.select(projects).where(projects.c.domain_id == domain_id, projects.c.name == name)
    row = conn.execute(query).first()
    return None if row is None else _project(row)


def find(
    conn: Connection,
    *,
    ids: Iterable[str] | None = None,
    domain_id: str | None = None,
    name: str | None = None,
    enabled: bool | None = None,
) -> list[Project]:
    """Return the projects that fit every condition given, by id."""
    query = sa.select(projects).order_by(projects.c.id)
    if ids is not None:
        query = query.where(projects.c.id.in_(list(ids)))
    if domain_id is not None:
        query = query.where(projects.c.domain_id == domain_id)
    if name is not None:
        query = query.where(projects.c.name == name)
    if enabled is not None:
        query = query.where(projects.c.enabled.is_(enabled))
    return [_project(row) for row in conn.execute(query)]


def insert(conn: Connection, project: Project) -> None:
    """Add a project."""
    conn.execute(
        sa.insert(projects).values(
            id=project.id,
            domain_id=project.domain_id,
            name=project.name,
            description=project.description,
            enabled=project.enabled,
            tags=project.tags,
            properties=project.properties,
        )
    )


def update(conn: Connection, project_id: str, changes: Mapping[str, Any]) -> None:
    """Set fields of a project."""
    if changes:
        conn.execute(sa.update(projects).where(projects.c.id == project_id).values(**changes))


def delete(conn: Connection, project_id: str) -> None:
    """Remove a project alone."""
    conn.execute(sa.delete(projects).where(projects.c.id == project_id))
