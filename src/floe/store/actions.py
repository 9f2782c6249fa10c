"""Actions and their journals."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from floe.core.actions import Action, Step
from floe.store.engine import Connection
from floe.store.schema import Ident, Json, Moment, metadata

actions = sa.Table(
    "actions",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("server_id", Ident, nullable=False),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("input", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", Moment),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("message", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Index("ix_actions_server", "server_id", "created_at"),
    sa.Index("ix_actions_open", "state", "lease_until"),
)

steps = sa.Table(
    "action_steps",
    metadata,
    sa.Column("action_id", Ident, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("parent", sa.String(64)),
    sa.Column("host", sa.String(255)),
    sa.Column("remark", sa.Text, nullable=False, default=""),
    sa.Column("output", Json),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("traceback", sa.Text),
)

_OF_SERVER = (
    sa.select(actions)
    .where(actions.c.server_id == sa.bindparam("ident"))
    .order_by(actions.c.created_at.desc())
)
_BY_ID = sa.select(actions).where(actions.c.id == sa.bindparam("ident"))
_STEPS = sa.select(steps).where(steps.c.action_id == sa.bindparam("ident")).order_by(steps.c.seq)


def add(conn: Connection, action: Action) -> None:
    """Insert an action; whoever does it nudges a conductor after the commit."""
    conn.execute(actions.insert().values({name: getattr(action, name) for name in Action.__slots__}))


def get(conn: Connection, action_id: str) -> Action | None:
    """Return an action."""
    row = conn.execute(_BY_ID, {"ident": action_id}).one_or_none()
    return _action(row) if row else None


def of_server(conn: Connection, server_id: str) -> list[Action]:
    """Return the actions of a server, the latest first."""
    return [_action(row) for row in conn.execute(_OF_SERVER, {"ident": server_id})]


def journal(conn: Connection, action_id: str) -> list[Step]:
    """Return the steps of an action in their order."""
    return [Step(**row._mapping) for row in conn.execute(_STEPS, {"ident": action_id})]


def _action(row: sa.Row[Any]) -> Action:
    return Action(**row._mapping)
