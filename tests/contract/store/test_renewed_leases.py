"""Leases that a conductor renews all together, on PostgreSQL: what is being written meanwhile holds none of them up."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
from tests.contract.store.conftest import Open

from floe.core.actions import Action
from floe.store import actions, leases
from floe.store.engine import Connection, Isolation
from floe.store.schema import create_all

NOW = datetime(2030, 1, 2, tzinfo=UTC)
UNTIL = NOW + timedelta(seconds=3)


def taken(conn: Connection, name: str) -> None:
    """Add an action that somebody has in hand."""
    of = {"subject_id": name, "project_id": "p", "user_id": "u", "request_id": name, "input": {}, "created_at": NOW}
    action = Action(id=name, kind="create", **of)
    actions.add(conn, action)
    assert actions.take(conn, action, 0, "me", "running", NOW, UNTIL)


async def test_what_another_transaction_writes_to_is_left_out_and_not_waited_for(
    open_postgres: Open, postgres_url: str
) -> None:
    db = open_postgres()
    await db.write(create_all)
    for name in ("a", "b", "c"):
        await db.write(partial(taken, name=name))
    later = UNTIL + timedelta(seconds=1)
    keep = partial(leases.keep, owner="me", ids=["a", "b", "c"], now=NOW, until=later)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM actions WHERE id = 'b' FOR UPDATE")
        assert await asyncio.wait_for(db.write(keep, Isolation.READ_COMMITTED), 30) == {"a": 1, "c": 1}
    assert await db.write(keep, Isolation.READ_COMMITTED) == {"a": 1, "b": 1, "c": 1}
    found = await db.read(lambda conn: {name: actions.get(conn, name) for name in ("a", "b", "c")})
    assert {each and each.lease_until for each in found.values()} == {later}
