"""The file of a cloud whose servers come and go does not grow beyond what is kept of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from floe.core.actions import Action, Step
from floe.core.servers import ACTIVE, Server, ServerFlavor
from floe.store import actions, history, servers
from floe.store.engine import Connection, Database
from floe.store.schema import create_all

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEPT = timedelta(days=1)


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "floe.db")
    database.open()
    await database.write(create_all)
    yield database
    database.close()


def _lived(conn: Connection, ident: str, now: datetime) -> None:
    """Write a server that came and went, with its journals."""
    server = Server(
        id=ident, number=0, project_id="p" * 32, user_id="u" * 32, name="web", hostname="web", vm_state=ACTIVE,
        reservation_id="r", created_at=now, launched_at=now, user_data="x" * 2000,
        flavor=ServerFlavor(flavor_id="1", name="m", vcpus=1, memory_mib=512, root_gib=1),
    )  # fmt: skip
    servers.add(conn, server)
    for kind in ("create", "delete"):
        action = Action(
            id=f"{kind}-{ident}", kind=kind, subject_id=ident, project_id="p" * 32, user_id="u" * 32,
            request_id="req", created_at=now,
        )  # fmt: skip
        actions.add(conn, action)
        entries = [
            Step(action_id=action.id, seq=n, name=f"step {n}", state="done", output={"n": "y" * 300}, started_at=now)
            for n in range(8)
        ]
        actions.write_steps(conn, entries)
        actions.write_steps(conn, [replace(entry, output=None) for entry in entries])
        actions.close(conn, action.id, "succeeded", None, now)
    servers.mark_deleted(conn, ident, now)


async def _cycles(db: Database, numbers: Iterator[int], count: int) -> None:
    """Let one server an hour come and go, and twice a day forget those of the day before."""
    for _ in range(count):
        number = next(numbers)
        now = START + number * HOUR
        await db.write(lambda conn: _lived(conn, f"{number:036}", now))  # noqa: B023
        if number % 12 == 0:
            for kind in (history.SERVERS, history.ACTIONS):
                while keys := await db.scan(lambda conn: history.find(conn, kind, now - KEPT)):  # noqa: B023
                    await db.write(lambda conn: history.forget(conn, kind, keys))  # noqa: B023


def _pages(conn: Connection) -> int:
    """Return how many pages the file has, less those of what is kept of past servers."""
    pages = int(conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    kept = conn.exec_driver_sql("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%past_servers%'").scalar_one()
    return pages - int(kept) // 4096


def _bytes_kept(conn: Connection) -> float:
    count = conn.exec_driver_sql("SELECT count(*) FROM past_servers").scalar_one()
    kept = conn.exec_driver_sql("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%past_servers%'").scalar_one()
    return int(kept) / int(count)


async def test_the_file_does_not_grow_with_the_servers_that_came_and_went(db: Database) -> None:
    numbers = iter(range(10_000))
    await _cycles(db, numbers, 120)
    settled = db.read_now(_pages)
    await _cycles(db, numbers, 480)
    assert db.read_now(_pages) <= settled * 1.1 + 4
    assert db.read_now(_bytes_kept) < 500


async def test_what_is_found_by_an_index_is_not_searched_for(db: Database) -> None:
    """A round that finds nothing has to cost nothing, however many rows there are."""

    def plans(conn: Connection) -> dict[str, list[str]]:
        found = {}
        for name in ("SERVERS", "ACTIONS", "IMAGES", "PAST", "REVOKED", "KEYS"):
            kind: Any = getattr(history, name)
            text = str(kind.subjects.limit(10).compile(conn, compile_kwargs={"literal_binds": False}))
            rows = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", tuple(range(text.count("?")))).all()
            found[name] = [row[3] for row in rows]
        return found

    for name, plan in (await asyncio.to_thread(db.read_now, plans)).items():
        assert not [step for step in plan if step.startswith("SCAN") and step != "SCAN servers"], (name, plan)
        assert "USING" in plan[0], (name, plan)
