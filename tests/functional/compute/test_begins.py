"""An action begins only in the states it may begin in, and puts its server into the state it has meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from databases import NewDatabase

from floe.cloud import servers
from floe.core.actions import Action, Begins
from floe.core.clock import FixedClock
from floe.core.errors import Conflict
from floe.core.guests import PowerState
from floe.core.servers import ACTIVE, STOPPED, Server, ServerFlavor
from floe.store import actions
from floe.store import servers as rows
from floe.store.engine import Transactions
from floe.store.schema import create_all

START = Begins(kind="start", version=1, allowed=frozenset({STOPPED}), task_state="powering-on")
NOW = FixedClock().now()


@pytest.fixture
async def db(tmp_path: Path, new_database: NewDatabase) -> Any:
    made = new_database(tmp_path / "floe.db")
    made.open()
    await made.write(create_all)
    yield made
    made.close()


async def begun(db: Transactions, vm_state: str) -> tuple[Server, Action]:
    flavor = ServerFlavor(flavor_id="1", name="m1", vcpus=1, memory_mib=64, root_gib=1)
    server = Server(
        id="s", number=0, project_id="p", user_id="u", name="a", hostname="a", vm_state=vm_state, task_state=None,
        reservation_id="r", flavor=flavor, power_state=PowerState.SHUTDOWN, created_at=NOW,
    )  # fmt: skip
    made = await db.write(lambda conn: rows.add(conn, server))
    action = Action(
        id="a", kind=START.kind, version=START.version, subject_id="s", project_id="p", user_id="u", request_id="r",
        created_at=NOW,
    )  # fmt: skip
    return made, action


async def test_an_action_puts_its_server_into_its_task_state(db: Transactions) -> None:
    server, action = await begun(db, STOPPED)
    await db.write(lambda conn: servers.begin(conn, server, START, action))
    found = await db.read(lambda conn: rows.get(conn, "s"))
    assert found is not None
    assert (found.vm_state, found.task_state) == (STOPPED, "powering-on")
    assert await db.read(lambda conn: actions.of_server(conn, "s")) == [action]


async def test_an_action_that_may_not_begin_is_refused_and_leaves_nothing(db: Transactions) -> None:
    server, action = await begun(db, ACTIVE)
    with pytest.raises(Conflict, match="Cannot 'start' instance s while it is in vm_state active"):
        await db.write(lambda conn: servers.begin(conn, server, START, action))
    found = await db.read(lambda conn: rows.get(conn, "s"))
    assert found is not None
    assert found.task_state is None
    assert await db.read(lambda conn: actions.of_server(conn, "s")) == []
