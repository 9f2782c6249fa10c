"""Runs migrations on the connection that `store.migrate` gives."""

from __future__ import annotations

from typing import Any, Literal

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
    """Upgrade in one transaction: all of it or nothing. `store.migrate` has begun it, and ends it."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=load(),
        render_item=render,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
