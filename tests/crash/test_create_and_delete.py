"""The conductor is killed at every point of a create and of a delete; the next one ends what it began."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from databases import LentDatabases, NewDatabase
from lifelines import Lifeline, Watched
from msgspec.structs import replace
from scripted_hosts import KIT

from floe.bus.local import LocalBus
from floe.conductor.conductor import Conductor
from floe.core.guests import PowerState
from floe.core.messages import Command, Destroy, Failed, Result, Spawn, SpawnAll
from floe.core.resources import Resources
from floe.store import actions, allocations, hosts
from floe.store.schema import create_all

KILLED_IN = {
    "create": ("schedule", "spawn", "active"),
    "delete": ("begin", "destroy", "gone"),
}
"""Every workflow and its steps; the conductor dies before and after the commit, and the command, of each."""


def watched(handle: Callable[[Command], Awaitable[Result]], life: Lifeline) -> Callable[[Command], Awaitable[Result]]:
    async def handler(command: Command) -> Result:
        if not isinstance(command, Spawn | SpawnAll | Destroy):
            return await handle(command)
        await life.point()
        result = await handle(command)
        await life.point()
        return result

    return handler


async def life_of(path: Path, new_database: NewDatabase, dies_at: int, *, deleted: bool, fails: bool) -> bool:
    """Create (and delete) a server with a conductor that dies at a point; return whether it died."""
    cloud = KIT.make_cloud(path, new_database)
    await cloud.db.write(create_all)
    made = {name: KIT.ScriptedHost(name) for name in ("h1", "h2")}
    if fails:
        for host in made.values():
            host.script.append(Failed(kind="host_failure", message="It broke.", stage="disk"))
    life = Lifeline(-1)
    doomed_cloud = replace(cloud, db=Watched(cloud.db, life.point, "write"))
    doomed = await start(doomed_cloud, made)
    life.points, life.dies_at = 0, dies_at
    for host in made.values():
        await cloud.bus.serve(host.name, watched(host.handle, life))
    site = KIT.Site(cloud, doomed)
    server = await site.post()
    await ended(doomed, life)
    if deleted:
        if not life.dead.is_set():
            await site.delete(server)
            await ended(doomed, life)
        else:
            await site.delete(server, nudge=False)
    await kill(doomed)
    await cloud.bus.close()
    next_cloud = replace(cloud, bus=LocalBus())
    heir = await start(next_cloud, made)
    await heir.runner.sweep()
    await heir.idle()
    check(KIT.Site(next_cloud, heir), server.id, made, deleted=deleted, fails=fails)
    await heir.stop()
    await next_cloud.bus.close()
    done = steps_of(cloud, server.id)
    cloud.db.close()
    if not life.dead.is_set() and not fails:
        kinds = KILLED_IN if deleted else {"create"}
        assert all(step in done[kind] for kind in kinds for step in KILLED_IN[kind])
    return life.dead.is_set()


def steps_of(cloud: Any, server_id: str) -> dict[str, set[str]]:
    """Return the names of the steps that were done with a server, by kind of action."""
    found = cloud.db.read_now(lambda conn: actions.of_server(conn, server_id))
    return {
        action.kind: {step.name for step in cloud.db.read_now(lambda conn, i=action.id: actions.journal(conn, i))}
        for action in found
    }


async def start(cloud: Any, made: dict[str, Any]) -> Conductor:
    conductor = Conductor(cloud, settings=replace(KIT.SETTINGS, start_grace=60.0), place="here")
    for host in made.values():
        await cloud.bus.serve(host.name, host.handle)
    await conductor.start()
    for host in made.values():
        await cloud.bus.publish(host.up())
        await KIT.until(lambda host=host: not conductor.fleet.awaited(host.name) and conductor.fleet.alive(host.name))
    return conductor


async def ended(conductor: Conductor, life: Lifeline) -> None:
    idle = asyncio.ensure_future(KIT.idle(conductor))
    dead = asyncio.ensure_future(life.dead.wait())
    await asyncio.wait({idle, dead}, return_when=asyncio.FIRST_COMPLETED)
    for task in (idle, dead):
        task.cancel()
    await asyncio.gather(idle, dead, return_exceptions=True)


async def kill(conductor: Conductor) -> None:
    """End all that the conductor does, without a word to the database."""
    tasks = [*conductor.runner._tasks.values(), *conductor.sweeps._tasks, *conductor.events._tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def check(site: Any, server_id: str, made: dict[str, Any], *, deleted: bool, fails: bool) -> None:
    server = site.server(server_id)
    held = site.cloud.db.read_now(lambda conn: allocations.of_server(conn, server_id))
    used = site.cloud.db.read_now(lambda conn: {host.name: host.used for host in hosts.every(conn)})
    guests = {name: host.guests for name, host in made.items() if host.guests}
    assert all(action.state in {"succeeded", "failed", "cancelled"} for action in site.actions(server_id))
    assert server.task_state is None
    if deleted or server.vm_state == "error":
        assert server.vm_state == ("deleted" if deleted else "error")
        assert held == []
        assert guests == {}
        assert set(used.values()) == {Resources()}
        if not deleted:
            assert fails
            assert server.fault.message == "It broke."
    else:
        assert server.vm_state == "active"
        assert guests == {server.host: {server_id: PowerState.RUNNING}}
        assert [item.host for item in held] == [server.host]
        assert used[server.host] == Resources(1, 1024, 1)


@pytest.mark.parametrize("fails", [False, True], ids=["works", "fails"])
@pytest.mark.parametrize("deleted", [False, True], ids=["create", "create+delete"])
async def test_a_killed_conductor_leaves_nothing_stuck_and_nothing_behind(
    tmp_path: Path, lent_databases: LentDatabases, deleted: bool, fails: bool
) -> None:
    for dies_at in range(1, 60):
        path = tmp_path / str(dies_at)
        path.mkdir()
        with lent_databases() as new_database:
            died = await life_of(path, new_database, dies_at, deleted=deleted, fails=fails)
        if not died:
            assert dies_at > 6, "the life of a server has more points than this"
            return
    raise AssertionError("a life without end")
