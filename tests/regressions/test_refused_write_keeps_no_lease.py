"""A database that refuses a write for a while must not cost an action the rest of its lease.

The conductor kept its own lease on an action it had stopped working on, so that for up to 30 s nobody went on with it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from floe.conductor.fleet import ConductorSettings
from floe.conductor.flow import Begin, Flow, Outcome
from floe.conductor.performing import Performer
from floe.conductor.removal import Removed
from floe.conductor.runner import Runner
from floe.conductor.saga import OnHost, Saga, Write
from floe.core.actions import OPEN_STATES, SUCCEEDED, Action, Begins
from floe.core.clock import FixedClock
from floe.core.messages import ListGuests
from floe.store import actions
from floe.store.engine import Database
from floe.store.schema import create_all


async def test_an_action_goes_on_once_the_database_takes_writes_again(tmp_path: Path) -> None:
    db, clock = Database(tmp_path / "floe.db", patience=0.05), FixedClock()
    db.open()
    await db.write(create_all)
    with closing(sqlite3.connect(tmp_path / "floe.db", isolation_level=None)) as other:

        async def effect(*_: Any, **__: Any) -> str:
            if not released.is_set():
                other.execute("BEGIN IMMEDIATE")  # somebody else writes, and takes long
            return "done"

        async def remove(*_: Any, **__: Any) -> Removed:
            return Removed()

        async def command(_flow: Flow) -> ListGuests:
            return ListGuests()

        released = asyncio.Event()

        async def sleep(_seconds: float) -> None:
            if not released.is_set():
                other.execute("ROLLBACK")
                released.set()
            await asyncio.sleep(0)

        saga = Saga(
            begins=Begins(kind="tiny", version=1),
            steps=(
                Write(name="first", do=lambda _: lambda _conn: Outcome(begins=Begin(name="effect", host="h"))),
                OnHost(name="effect", at=lambda _: "h", command=command, returns=str, seconds=1.0),
                Write(name="last", do=lambda _: lambda _conn: None, last=True),
            ),
            fails=lambda *_: lambda _conn: None,
        )
        performer = Performer(effect, remove)
        runner = Runner(db, clock, {"tiny": saga}, performer, ConductorSettings(), owner="one", sleep=sleep)
        action = Action(
            id="a", kind="tiny", subject_id="s", project_id="p", user_id="u", request_id="r", created_at=clock.now()
        )
        await db.write(lambda conn: actions.add(conn, action))
        async with asyncio.timeout(20):
            await runner.sweep()
            await runner.idle()
            assert released.is_set(), "the database never refused"
            found = db.read_now(lambda conn: actions.get(conn, "a"))
            assert found is not None
            assert found.state in OPEN_STATES
            await runner.sweep()  # the clock stands still: a lease that was kept would never run out
            await runner.idle()
        found = db.read_now(lambda conn: actions.get(conn, "a"))
        assert found is not None
        assert found.state == SUCCEEDED
    db.close()
