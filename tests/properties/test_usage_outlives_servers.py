"""What a project used is told the same before its servers' history is purged and after."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core.servers import ACTIVE, Server, ServerFlavor
from floe.core.usages import UsedServer, use_of
from floe.store import history, servers, usages
from floe.store.memory import MemoryStore

START = datetime(2030, 1, 1, tzinfo=UTC)
STORE = MemoryStore()
HOURS = st.floats(0, 200, allow_nan=False)
LIVES = st.lists(
    st.tuples(st.sampled_from("pq"), st.none() | HOURS, st.none() | HOURS, st.integers(1, 9), st.integers(0, 99)),
    min_size=1,
    max_size=14,
)
"""Of each server: project, hours until it was launched (None: never), hours until it was deleted, vCPUs, disk."""


def _at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def _server(number: int, project: str, launched: float | None, vcpus: int, disk: int) -> Server:
    return Server(
        id=f"{number * 7919 % 100:036}",
        number=0,
        project_id=project,
        user_id="u",
        name=f"n{number}",
        hostname="n",
        vm_state=ACTIVE,
        reservation_id="r",
        flavor=ServerFlavor(
            flavor_id="1", name=f"m{vcpus}", vcpus=vcpus, memory_mib=vcpus * 512, root_gib=disk, ephemeral_gib=number
        ),
        created_at=START,
        launched_at=None if launched is None else _at(launched),
    )


def _told(project: str | None, start: datetime, stop: datetime, pages: int) -> list[UsedServer]:
    found: list[UsedServer] = []
    while True:
        after = found[-1].id if found else None
        page = STORE.read(lambda conn: usages.between(conn, project, start, stop, after=after, limit=pages))  # noqa: B023
        found += page
        if pages < 0 or len(page) < pages:
            return found


def _purge(before: datetime) -> None:
    while keys := STORE.read(lambda conn: history.find(conn, history.SERVERS, before)):
        STORE.write(lambda conn: history.forget(conn, history.SERVERS, keys))


@settings(deadline=None)
@given(LIVES, HOURS, HOURS, st.sampled_from([None, "p", "q", "other"]), st.sampled_from([-1, 1, 3, 1000]), HOURS)
def test_use_of_the_past_is_told_the_same_before_and_after_a_purge(
    lives: list[tuple[str, float | None, float | None, int, int]],
    one: float,
    other: float,
    project: str | None,
    pages: int,
    purged: float,
) -> None:
    STORE.reset()
    start, stop = _at(min(one, other)), _at(max(one, other) + 1)
    for number, (owner, launched, deleted, vcpus, disk) in enumerate(lives):
        server = _server(number, owner, launched, vcpus, disk)
        STORE.write(lambda conn: servers.add(conn, server))  # noqa: B023
        if deleted is not None:
            gone = _at(max(deleted, launched or 0))
            STORE.write(lambda conn: servers.mark_deleted(conn, server.id, gone))  # noqa: B023
    before = _told(project, start, stop, pages)
    _purge(_at(purged))
    after = _told(project, start, stop, pages)
    assert after == before
    assert use_of("p", after, start, stop) == use_of("p", before, start, stop)


def test_a_purge_of_all_leaves_little_of_each_server() -> None:
    STORE.reset()
    for number in range(3):
        server = _server(number, "p", 1.0, 1, 1)
        STORE.write(lambda conn: servers.add(conn, replace(server, user_data="x" * 60_000)))  # noqa: B023
        STORE.write(lambda conn: servers.mark_deleted(conn, server.id, _at(2)))  # noqa: B023
    _purge(_at(3))
    assert STORE.read(lambda conn: conn.exec_driver_sql("SELECT count(*) FROM servers").scalar()) == 1
    kept = STORE.read(lambda conn: conn.exec_driver_sql("SELECT * FROM past_servers").all())
    assert len(kept) == 2
    assert all(sum(len(str(value)) for value in row) < 200 for row in kept)
