"""Runs migrations on the database file that `store.migrate` names."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext

from floe.store.schema import Json, Moment, load


def render(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Write our own column types as the plain ones they are kept as, so that old migrations need no current code."""
    if kind == "type" and isinstance(item, Moment):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, Json):
        return "sa.Text()"
    return False


def run() -> None:
    """Upgrade in one transaction: all of it or nothing."""
    # isolation_level None: the driver begins nothing by itself, so that our BEGIN covers the schema changes too.
    engine = sa.create_engine(
        f"sqlite:///{context.config.attributes['path']}",
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": 10},
    )
    sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=load(),
            render_item=render,
            render_as_batch=True,
            transactional_ddl=True,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
