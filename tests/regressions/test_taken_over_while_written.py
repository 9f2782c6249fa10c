"""A conductor that takes an action over must have read all that the one before it wrote.

Found by simulation, seed 300616: with clocks 40 s apart, a lease had run out for one conductor while the other still
wrote; the first then went on from a journal that lacked the last entries, and tried to write their numbers again.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from floe.core.actions import RUNNING, Action
from floe.core.clock import FixedClock
from floe.store import actions
from floe.store.engine import Connection, Database
from floe.store.schema import create_all


async def test_an_action_written_to_since_its_journal_was_read_cannot_be_taken(tmp_path: Path) -> None:
    db, clock = Database(tmp_path / "floe.db"), FixedClock()
    now, lease = clock.now(), timedelta(seconds=30)
    behind = now - timedelta(seconds=40)
    db.open()
    await db.write(create_all)
    made = Action(id="a", kind="tiny", subject_id="s", project_id="p", user_id="u", request_id="r", created_at=now)
    await db.write(lambda conn: actions.add(conn, made))

    def read(conn: Connection) -> Action:
        found = actions.get(conn, "a")
        assert found is not None
        return found

    assert await db.write(lambda conn: actions.take(conn, made, 0, "one", RUNNING, behind, behind + lease))
    seen = await db.read(read)
    assert seen.attempts == 1
    assert await db.write(lambda conn: actions.hold(conn, "a", "one", 1, RUNNING, behind, behind + lease))
    assert not await db.write(lambda conn: actions.take(conn, seen, 1, "two", RUNNING, now, now + lease))
    again = await db.read(read)
    assert await db.write(lambda conn: actions.take(conn, again, 1, "two", RUNNING, now, now + lease))
    assert not await db.write(lambda conn: actions.hold(conn, "a", "one", 1, RUNNING, now, now + lease))
    db.close()
