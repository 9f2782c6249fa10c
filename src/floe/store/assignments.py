"""Role assignments."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.assignments import GROUP, USER, Assignment
from floe.store.groups import memberships
from floe.store.prepared import Prepared
from floe.store.schema import Ident, metadata

assignments = sa.Table(
    "role_assignments",
    metadata,
    sa.Column("actor_kind", sa.String(8), primary_key=True),
    sa.Column("actor_id", Ident, primary_key=True),
    sa.Column("target_kind", sa.String(8), primary_key=True),
    sa.Column("target_id", Ident, primary_key=True),
    sa.Column("role_id", Ident, primary_key=True),
    sa.Index("ix_role_assignments_target", "target_kind", "target_id"),
)

_MINE = (assignments.c.actor_kind == USER) & (assignments.c.actor_id == sa.bindparam("ident"))
_GROUPS = sa.select(memberships.c.group_id).where(memberships.c.user_id == sa.bindparam("ident"))
_OURS = (assignments.c.actor_kind == GROUP) & assignments.c.actor_id.in_(_GROUPS)
_OF_USER = Prepared(sa.select(assignments).where(_MINE | _OURS))


def find(
    conn: Connection,
    *,
    actor_kind: str | None = None,
    actor_id: str | None = None,
    target_kind: str | None = None,
    target_id: str | None = None,
    role_id: str | None = None,
) -> list[Assignment]:
    """Return the assignments that fit every condition given."""
    query = sa.select(assignments)
    wanted = {
        "actor_kind": actor_kind,
        "actor_id": actor_id,
        "target_kind": target_kind,
        "target_id": target_id,
        "role_id": role_id,
    }
    for name, value in wanted.items():
        if value is not None:
            query = query.where(assignments.c[name] == value)
    return sorted(Assignment(**row._mapping) for row in conn.execute(query))


def of_user(conn: Connection, user_id: str) -> list[Assignment]:
    """Return what a user has, directly and through groups, implied roles left out."""
    return [Assignment(**row._asdict()) for row in _OF_USER.rows(conn, ident=user_id)]


def insert(conn: Connection, assignment: Assignment) -> None:
    """Give a role; it may be there already."""
    if not conn.execute(sa.select(assignments.c.role_id).where(_same(assignment))).first():
        conn.execute(
            sa.insert(assignments).values(
                actor_kind=assignment.actor_kind,
                actor_id=assignment.actor_id,
                target_kind=assignment.target_kind,
                target_id=assignment.target_id,
                role_id=assignment.role_id,
            )
        )


def delete(conn: Connection, assignment: Assignment) -> bool:
    """Take a role back; False if it was not there."""
    return conn.execute(sa.delete(assignments).where(_same(assignment))).rowcount > 0


def forget_actor(conn: Connection, kind: str, actor_ids: Iterable[str]) -> None:
    """Remove all that users or groups have."""
    here = (assignments.c.actor_kind == kind) & assignments.c.actor_id.in_(list(actor_ids))
    conn.execute(sa.delete(assignments).where(here))


def forget_target(conn: Connection, kind: str, target_ids: Iterable[str]) -> None:
    """Remove all that anybody has on projects or domains."""
    here = (assignments.c.target_kind == kind) & assignments.c.target_id.in_(list(target_ids))
    conn.execute(sa.delete(assignments).where(here))


def forget_role(conn: Connection, role_id: str) -> None:
    """Remove a role from all who have it."""
    conn.execute(sa.delete(assignments).where(assignments.c.role_id == role_id))


def _same(assignment: Assignment) -> sa.ColumnElement[bool]:
    return (
        (assignments.c.actor_kind == assignment.actor_kind)
        & (assignments.c.actor_id == assignment.actor_id)
        & (assignments.c.target_kind == assignment.target_kind)
        & (assignments.c.target_id == assignment.target_id)
        & (assignments.c.role_id == assignment.role_id)
    )
