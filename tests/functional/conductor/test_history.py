"""What is over is kept for a while and then forgotten, in slices, whoever dies meanwhile; and nothing else is."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs
from msgspec.structs import replace

from floe.cloud import history
from floe.conductor.conductor import Conductor
from floe.core.actions import Step
from floe.core.errors import Unavailable
from floe.core.idempotency import KEPT
from floe.core.messages import Destroy, Failed
from floe.core.servers import Server
from floe.store import actions, audit, conductors, idempotency, images, past_servers, tokens
from floe.store import history as rows
from floe.store import servers as server_rows
from floe.store.schema import metadata

pytestmark = pytest.mark.once

DAY = 86_400.0


def _count(site: Any, *tables: str) -> dict[str, int]:
    def read(conn: Any) -> dict[str, int]:
        chosen = (metadata.tables[name] for name in tables)
        return {table.name: conn.scalar(sa.select(sa.func.count()).select_from(table)) for table in chosen}

    return site.cloud.db.read_now(read)


async def _cycle(site: Any, **values: Any) -> Server:
    server = await site.post(**values)
    await site.settle()
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).deleted_at is not None
    return server


async def _later(site: Any, days: int) -> None:
    """Let days go by; who writes now and then all the while has a session that is no history."""
    site.cloud.clock.advance(days * DAY)
    await site.cloud.db.write(lambda _conn: None)


async def _purge(site: Any, slices: int | None = None, pauses: list[float] | None = None) -> history.Purge:
    async def pause(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)
        await asyncio.sleep(0)

    return await history.purge(site.cloud, history.horizon(site.cloud), pause=pause, slices=slices)


async def test_a_deleted_server_is_kept_for_its_days_and_then_goes_with_all_that_hangs_on_it(site: Any) -> None:
    await site.add_host("h1")
    server = await _cycle(site)
    await site.cloud.db.write(lambda conn: server_rows.set_tags(conn, server.id, ("a", "b")))
    await _cycle(site)
    site.cloud.clock.advance(89 * DAY)
    assert (await _purge(site)).rows == {}
    site.cloud.clock.advance(2 * DAY)
    made = await _purge(site)
    assert made.rows["servers"] == 1
    assert made.rows["server_tags"] == 2
    assert made.rows["actions"] == 2
    assert made.rows["action_steps"] > 4
    assert site.cloud.db.read_now(lambda conn: server_rows.get(conn, server.id, deleted=True)) is None
    assert site.actions(server.id) == []
    assert site.cloud.db.read_now(lambda conn: past_servers.numbers(conn, [server.id])) == {server.id: server.number}
    assert site.cloud.db.read_now(audit.instant) == []
    assert site.cloud.counters.total(history.PURGED, "servers") == 1


async def test_what_is_kept_for_ever_is_not_purged(site: Any) -> None:
    await site.add_host("h1")
    await _cycle(site)
    await _cycle(site)
    site.conductor.sweeps._cloud = replace(
        site.cloud, settings=replace(site.cloud.settings, history_days=0.0, usage_days=0.0)
    )
    site.cloud.clock.advance(36_000 * DAY)
    await site.conductor.sweeps.purge()
    assert _count(site, "servers", "actions") == {"servers": 2, "actions": 4}


async def test_a_number_that_a_guest_was_named_by_is_not_given_again(site: Any) -> None:
    await site.add_host("h1")
    last = await _cycle(site)
    site.cloud.clock.advance(100 * DAY)
    await _purge(site)
    assert (await site.post()).number > last.number


async def test_a_server_at_which_somebody_is_at_work_or_that_holds_something_is_not_purged(site: Any) -> None:
    await site.add_host("h1")
    servers = [await _cycle(site) for _ in range(4)]
    site.cloud.clock.advance(100 * DAY)
    await site.delete(servers[0], nudge=False)  # an open action, however it came to be
    held = {"server_id": servers[1].id, "host": "h1", "project_id": "p", "user_id": "u"}
    held |= {"vcpus": 1, "memory_mib": 1, "disk_gib": 1, "created_at": site.cloud.clock.now()}
    await site.cloud.db.write(lambda conn: conn.execute(metadata.tables["allocations"].insert().values(held)))
    assert (await _purge(site)).rows["servers"] == 1
    left = {row["id"] for row in _all(site, "servers")}
    assert [server.id in left for server in servers] == [True, True, False, True]


async def test_of_a_server_that_is_there_old_actions_go_and_how_it_came_to_be_stays(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    (created,), now = site.actions(server.id), site.cloud.clock.now()

    def failed_delete(conn: Any) -> None:
        action = dataclasses.replace(created, id=site.cloud.new_id(), kind="delete", state="running", finished_at=None)
        actions.add(conn, action)
        actions.close(conn, action.id, "failed", "It broke.", now)
        actions.note(conn, Step(action_id=action.id, seq=0, name="failure", state="failed", started_at=now))

    for _ in range(3):
        await site.cloud.db.write(failed_delete)
    site.cloud.clock.advance(91 * DAY)
    assert (await _purge(site)).rows == {"actions": 3, "action_steps": 3}
    assert [action.kind for action in site.actions(server.id)] == ["create"]
    await site.delete(server)
    await site.settle()
    assert site.server(server.id).deleted_at is not None
    assert host.guests == {}


async def test_a_purge_goes_by_slices_between_which_others_write(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.add_host("h1")
    for _ in range(7):
        await _cycle(site)
    await _later(site, 100)
    monkeypatch.setattr(history.rows, "SERVERS", replace(rows.SERVERS, most=2))
    before, pauses = site.cloud.db.commits, []
    made = await _purge(site, pauses=pauses)
    assert made.rows["servers"] == 6
    assert site.cloud.db.commits - before == 3
    assert pauses == [history.BREATH] * 3


async def test_what_a_call_leaves_the_next_ones_forget(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.add_host("h1")
    for _ in range(6):
        await _cycle(site)
    await _later(site, 100)
    monkeypatch.setattr(history.rows, "SERVERS", replace(rows.SERVERS, most=2))
    calls = [await _purge(site, slices=1)]
    while not calls[-1].finished:
        calls.append(await _purge(site, slices=1))
    assert sum(call.rows.get("servers", 0) for call in calls) == 5
    assert len(calls) == 3


async def test_what_another_purge_was_quicker_to_forget_is_no_slice(site: Any) -> None:
    await site.add_host("h1")
    for _ in range(3):
        await _cycle(site)
    await site.cloud.db.write(lambda conn: tokens.revoke(conn, "t", site.cloud.clock.now()))
    await _later(site, 100)
    real = site.cloud.db.scan

    async def late(fn: Any) -> Any:
        found = await real(fn)
        await site.cloud.db.write(lambda conn: conn.execute(tokens.revoked.delete()))
        return found

    slow = replace(site.cloud, db=_With(site.cloud.db, scan=late))
    made = await history.purge(slow, history.horizon(slow), pause=asyncio.sleep, slices=1)
    assert made.rows["servers"] == 2
    assert "revoked_tokens" not in made.rows


async def test_a_purge_that_dies_at_any_slice_is_finished_by_the_next(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.add_host("h1")
    servers = [await _cycle(site) for _ in range(6)]
    await _later(site, 100)
    monkeypatch.setattr(history.rows, "SERVERS", replace(rows.SERVERS, most=1))
    real, writes = site.cloud.db.write, []

    async def dies(fn: Any) -> Any:
        writes.append(fn)
        if len(writes) % 2:
            raise Unavailable("The database could not write.")
        await real(fn)
        raise asyncio.CancelledError  # it was written, and nobody heard of it

    dying = replace(site.cloud, db=_With(site.cloud.db, write=dies))
    for _ in range(20):
        with pytest.raises((Unavailable, asyncio.CancelledError)):
            await history.purge(dying, history.horizon(dying), pause=asyncio.sleep)
        if _count(site, "servers") == {"servers": 1}:
            break
    assert _count(site, "servers", "past_servers") == {"servers": 1, "past_servers": 5}
    assert {step["action_id"] for step in _all(site, "action_steps")} == {a.id for a in site.actions(servers[-1].id)}


async def test_two_conductors_that_purge_at_once_do_no_harm(site: Any) -> None:
    await site.add_host("h1")
    for _ in range(12):
        await _cycle(site)
    site.cloud.clock.advance(100 * DAY)
    made = await asyncio.gather(*(_purge(site) for _ in range(4)))
    assert sum(each.rows.get("servers", 0) for each in made) == 11
    assert _count(site, "servers", "past_servers") == {"servers": 1, "past_servers": 11}


async def test_a_host_that_comes_back_after_the_purge_is_rid_of_what_it_still_has(site: Any) -> None:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    await site.take_down(host)
    await site.delete(server)
    await site.settle()
    other = await site.add_host("h2")
    await _cycle(site)
    site.cloud.clock.advance(100 * DAY)
    assert (await _purge(site)).rows["servers"] == 1
    assert server.id in host.guests
    await site.cloud.bus.serve("h1", host.handle)
    await site.announce(host)
    async with asyncio.timeout(20):
        while host.guests:
            await asyncio.sleep(0.001)
    (destroy,) = [command for command in host.sent(Destroy) if command.server_id == server.id]
    assert destroy.final
    assert destroy.guest_name == server.guest_name
    assert other.guests == {}


async def test_what_has_a_term_of_its_own_goes_when_that_is_over(site: Any) -> None:
    now = site.cloud.clock.now()

    def write(conn: Any) -> None:
        tokens.revoke(conn, "short", now + timedelta(hours=1))
        tokens.revoke(conn, "long", now + timedelta(days=9))
        idempotency.add(conn, "p", "old", idempotency.Answered("f", "x"), now)
        idempotency.add(conn, "p", "new", idempotency.Answered("f", "x"), now + timedelta(hours=12))

    await site.cloud.db.write(write)
    site.cloud.clock.advance(KEPT.total_seconds() + 1)
    site.conductor.sweeps._cloud = replace(site.cloud, settings=replace(site.cloud.settings, history_days=0.0))
    await site.conductor.sweeps.purge()
    assert [row["audit_id"] for row in _all(site, "revoked_tokens")] == ["long"]
    assert [row["key"] for row in _all(site, "idempotency_keys")] == ["new"]


async def test_an_image_id_is_history_when_no_server_is_known_that_was_made_of_it(site: Any) -> None:
    await site.add_host("h1")
    now = site.cloud.clock.now()
    model = images.Image(id="", name="i", owner="p", status="active", created_at=now, updated_at=now)

    def write(conn: Any) -> None:
        for ident in ("used", "unused", "there"):
            images.insert(conn, structs.replace(model, id=ident))
        for ident in ("used", "unused"):
            images.delete(conn, ident, now)

    await site.cloud.db.write(write)
    server = await site.post(image_id="used")
    await site.settle()
    site.cloud.clock.advance(91 * DAY)
    assert (await _purge(site)).rows == {"images": 1}
    assert {row["id"] for row in _all(site, "images")} == {"used", "there"}
    await site.delete(server)
    await site.settle()
    await _cycle(site)
    site.cloud.clock.advance(91 * DAY)
    assert (await _purge(site)).rows["images"] == 1


async def test_conductors_that_are_heard_of_no_more_go_and_no_number_is_given_twice(site: Any) -> None:
    for name in ("old", "newest"):
        await site.cloud.db.write(lambda conn, host=name: conductors.put(conn, host, site.cloud.clock.now()))
    site.cloud.clock.advance(91 * DAY)
    await site.conductor.sweeps.write_seen()
    assert (await _purge(site)).rows == {"conductors": 1}
    assert {row["host"] for row in _all(site, "conductors")} == {"localhost", "newest"}


async def test_use_of_long_ago_goes_after_its_own_days(site: Any) -> None:
    await site.add_host("h1")
    await _cycle(site)
    await _cycle(site)
    site.cloud.clock.advance(91 * DAY)
    await _purge(site)
    site.cloud.clock.advance(600 * DAY)
    assert "past_servers" not in (await _purge(site)).rows
    site.cloud.clock.advance(40 * DAY)
    assert (await _purge(site)).rows["past_servers"] == 1


async def test_a_trial_counts_what_a_purge_then_forgets(site: Any) -> None:
    await site.add_host("h1")
    for _ in range(5):
        await _cycle(site)
    await site.cloud.db.write(lambda conn: tokens.revoke(conn, "t", site.cloud.clock.now()))
    await site.cloud.db.write(
        lambda conn: idempotency.add(conn, "p", "k", idempotency.Answered("f", "x"), site.cloud.clock.now())
    )
    await _later(site, 100)
    tried = await history.trial(site.cloud, history.horizon(site.cloud))
    assert tried.rows["servers"] == 4
    assert (await _purge(site)).rows == tried.rows


async def test_what_steps_returned_goes_with_the_end_of_their_action_and_what_failed_stays(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(Failed(kind="host_failure", message="The disk is full.", stage="disk", detail="/dev/x"))
    server = await site.post()
    await site.settle()
    (action,) = site.actions(server.id)
    journal = site.cloud.db.read_now(lambda conn: actions.journal(conn, action.id))
    kept = {step.name: step.output for step in journal if step.output is not None}
    assert set(kept) <= {"spawn", "failure"}
    assert kept["spawn"]["detail"] == "/dev/x"
    assert any(step.name == "schedule" for step in journal)


async def test_the_sweeps_purge_without_being_asked(site: Any) -> None:
    await site.add_host("h1")
    for _ in range(3):
        await _cycle(site)
    site.cloud.clock.advance(100 * DAY)
    another = Conductor(site.cloud, settings=replace(site.conductor.fleet.settings, purge=0.01))
    await another.start()
    async with asyncio.timeout(20):
        while _count(site, "servers") != {"servers": 1}:
            await asyncio.sleep(0.001)
    await another.stop()


def _all(site: Any, table: str) -> list[dict[str, Any]]:
    found = site.cloud.db.read_now(lambda conn: conn.execute(sa.select(metadata.tables[table])).all())
    return [dict(row._mapping) for row in found]


class _With:
    """Another database, but for some of what it does."""

    def __init__(self, real: Any, **instead: Any) -> None:
        self._real = real
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
