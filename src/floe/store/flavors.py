"""Flavors, and which projects may use those that are not public."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from floe.core.servers import ServerFlavor
from floe.store.engine import Connection
from floe.store.listing import following
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Json, metadata

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

SORT_KEYS: Mapping[str, sa.Column[Any]] = {
    "flavorid": flavors.c.flavor_id,
    "name": flavors.c.name,
    "memory_mb": flavors.c.memory_mib,
    "vcpus": flavors.c.vcpus,
    "root_gb": flavors.c.root_gib,
    "ephemeral_gb": flavors.c.ephemeral_gib,
    "swap": flavors.c.swap_mib,
    "disabled": flavors.c.disabled,
    "is_public": flavors.c.public,
    "rxtx_factor": flavors.c.rxtx_factor,
}

_BY_ID = Prepared(sa.select(flavors).where(flavors.c.flavor_id == sa.bindparam("ident")))
_MAY_USE = sa.select(flavor_access.c.flavor_id).where(
    flavor_access.c.flavor_id == sa.bindparam("ident"), flavor_access.c.project_id == sa.bindparam("project")
)


def add(conn: Connection, flavor: ServerFlavor) -> None:
    """Insert a flavor."""
    conn.execute(flavors.insert(), {name: getattr(flavor, name) for name in ServerFlavor.__slots__})


def get(conn: Connection, flavor_id: str) -> ServerFlavor | None:
    """Return a flavor."""
    row = _BY_ID.first(conn, ident=flavor_id)
    return None if row is None else ServerFlavor(**row._asdict())


def taken(conn: Connection, flavor_id: str, name: str) -> ServerFlavor | None:
    """Return a flavor that has this id or this name."""
    row = conn.execute(
        sa.select(flavors).where(sa.or_(flavors.c.flavor_id == flavor_id, flavors.c.name == name)).limit(1)
    ).one_or_none()
    return ServerFlavor(**row._mapping) if row else None


def change(conn: Connection, flavor_id: str, **values: Any) -> None:
    """Set columns of a flavor."""
    conn.execute(flavors.update().where(flavors.c.flavor_id == flavor_id).values(values))


def delete(conn: Connection, flavor_id: str) -> bool:
    """Remove a flavor and who may use it; servers keep their own copy. False if there was none."""
    conn.execute(flavor_access.delete().where(flavor_access.c.flavor_id == flavor_id))
    return conn.execute(flavors.delete().where(flavors.c.flavor_id == flavor_id)).rowcount == 1


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


def listed(
    conn: Connection,
    *,
    public: bool | None,
    of_project: str | None,
    min_disk_gib: int,
    min_memory_mib: int,
    sort: Iterable[tuple[str, bool]],
    marker: ServerFlavor | None,
    limit: int,
) -> list[ServerFlavor]:
    """Return flavors, public ones or not (None: both), and with `of_project` those that project may use as well."""
    statement = sa.select(flavors).where(flavors.c.root_gib >= min_disk_gib, flavors.c.memory_mib >= min_memory_mib)
    if public is not None:
        chosen: sa.ColumnElement[bool] = flavors.c.public.is_(public)
        if of_project is not None:
            allowed = sa.select(flavor_access.c.flavor_id).where(flavor_access.c.project_id == of_project)
            chosen = sa.or_(chosen, flavors.c.flavor_id.in_(allowed))
        statement = statement.where(chosen)
    keys = [*sort]
    if all(key != "flavorid" for key, _ in keys):
        keys.append(("flavorid", True))
    columns = [(SORT_KEYS[key], ascending) for key, ascending in keys]
    if marker is not None:
        statement = statement.where(following([(c, up, getattr(marker, c.name)) for c, up in columns]))
    statement = statement.order_by(*(c.asc() if ascending else c.desc() for c, ascending in columns)).limit(limit)
    return [ServerFlavor(**row._mapping) for row in conn.execute(statement)]
