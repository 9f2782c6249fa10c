"""Flavors, and which projects may use those that are not public."""

from __future__ import annotations

import sqlalchemy as sa

from floe.core.servers import ServerFlavor
from floe.store.engine import Connection
from floe.store.schema import Ident, Json, metadata
from floe.store.table import VIEWER, Rows, columns_of, structs

flavors = sa.Table(
    "flavors",
    metadata,
    sa.Column("flavor_id", sa.String(255), primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mib", sa.Integer, nullable=False),
    sa.Column("root_gib", sa.Integer, nullable=False),
    sa.Column("ephemeral_gib", sa.Integer, nullable=False, default=0),
    sa.Column("swap_mib", sa.Integer, nullable=False, default=0),
    sa.Column("rxtx_factor", sa.Float, nullable=False, default=1.0),
    sa.Column("description", sa.Text),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
    sa.Column("public", sa.Boolean, nullable=False, default=True),
    sa.Column("extra_specs", Json, nullable=False),
)

flavor_access = sa.Table(
    "flavor_access",
    metadata,
    sa.Column("flavor_id", sa.String(255), primary_key=True),
    sa.Column("project_id", Ident, primary_key=True),
)

_MAY_USE = sa.select(flavor_access.c.flavor_id).where(
    flavor_access.c.flavor_id == sa.bindparam("ident"), flavor_access.c.project_id == sa.bindparam("project")
)
ROWS: Rows[ServerFlavor] = Rows(
    flavors,
    structs(ServerFlavor),
    sa.select(*columns_of(ServerFlavor, flavors)),
    seen=sa.or_(
        flavors.c.public,
        flavors.c.flavor_id.in_(sa.select(flavor_access.c.flavor_id).where(flavor_access.c.project_id == VIEWER)),
    ),
    also={
        "min_root_gib": lambda least: flavors.c.root_gib >= least,
        "min_memory_mib": lambda least: flavors.c.memory_mib >= least,
    },
)
get, find, those, insert, update = ROWS.get, ROWS.find, ROWS.those, ROWS.insert, ROWS.update


def names(conn: Connection) -> list[str]:
    """Return the names of all flavors."""
    return list(conn.scalars(sa.select(flavors.c.name)))


def delete(conn: Connection, flavor_id: str) -> None:
    """Remove a flavor and who may use it; servers keep their own copy."""
    conn.execute(flavor_access.delete().where(flavor_access.c.flavor_id == flavor_id))
    ROWS.delete(conn, flavor_id)


def may_use(conn: Connection, flavor_id: str, project_id: str) -> bool:
    """Say whether a project was given access to a flavor."""
    return conn.execute(_MAY_USE, {"ident": flavor_id, "project": project_id}).one_or_none() is not None


def projects(conn: Connection, flavor_id: str) -> list[str]:
    """Return the projects that may use a flavor that is not public."""
    return list(
        conn.scalars(
            sa.select(flavor_access.c.project_id)
            .where(flavor_access.c.flavor_id == flavor_id)
            .order_by(flavor_access.c.project_id)
        )
    )


def grant(conn: Connection, flavor_id: str, project_id: str) -> None:
    """Let a project use a flavor."""
    conn.execute(flavor_access.insert(), {"flavor_id": flavor_id, "project_id": project_id})


def forget_project(conn: Connection, project_id: str) -> None:
    """Take a project's access to all flavors."""
    conn.execute(flavor_access.delete().where(flavor_access.c.project_id == project_id))


def revoke(conn: Connection, flavor_id: str, project_id: str) -> bool:
    """Take that back; False if it was not so."""
    statement = flavor_access.delete().where(
        flavor_access.c.flavor_id == flavor_id, flavor_access.c.project_id == project_id
    )
    return conn.execute(statement).rowcount == 1
