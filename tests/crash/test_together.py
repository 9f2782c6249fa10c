"""The conductor is killed at every point of a create of several servers: as many as fit are there in the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from databases import LentDatabases, NewDatabase
from lifelines import Lifeline, Watched
from msgspec.structs import replace
from scripted_hosts import KIT, loaded

from floe.bus.local import LocalBus
from floe.core.guests import PowerState
from floe.core.resources import Resources
from floe.store import allocations, hosts
from floe.store.schema import create_all

ONE = loaded(Path(__file__).parent / "test_create_and_delete.py")


async def life_of(path: Path, new_database: NewDatabase, dies_at: int, *, least: int) -> bool:
    """Ask for up to four servers where three fit, with a conductor that dies at a point; return whether it died."""
    cloud = KIT.make_cloud(path, new_database)
    await cloud.db.write(create_all)
    made = {name: KIT.ScriptedHost(name, memory_mib=memory) for name, memory in (("h1", 2048), ("h2", 1024))}
    life = Lifeline(-1)
    doomed = await ONE.start(replace(cloud, db=Watched(cloud.db, life.point, "write")), made)
    life.points, life.dies_at = 0, dies_at
    for host in made.values():
        await cloud.bus.serve(host.name, ONE.watched(host.handle, life))
    servers = await KIT.Site(cloud, doomed).post_together(least, 4)
    await ONE.ended(doomed, life)
    await ONE.kill(doomed)
    await cloud.bus.close()
    next_cloud = replace(cloud, bus=LocalBus())
    heir = await ONE.start(next_cloud, made)
    await heir.runner.sweep()
    await heir.idle()
    check(KIT.Site(next_cloud, heir), [server.id for server in servers], made, fit=3 if least <= 3 else 0)
    await heir.stop()
    await next_cloud.bus.close()
    cloud.db.close()
    return bool(life.dead.is_set())


def check(site: Any, idents: list[str], made: dict[str, Any], *, fit: int) -> None:
    found = [site.server(ident) for ident in idents]
    rest = "deleted" if fit else "error"
    states = ["active"] * fit + [rest] * (4 - fit)
    assert [server.vm_state for server in found] == states, [server.fault for server in found]
    assert all(server.task_state is None for server in found)
    ended = {"succeeded", "failed", "cancelled"}
    assert all(action.state in ended for ident in idents for action in site.actions(ident))
    held = site.cloud.db.read_now(lambda conn: [allocations.of_server(conn, ident) for ident in idents])
    assert [len(each) for each in held] == [1] * fit + [0] * (4 - fit)
    used = site.cloud.db.read_now(lambda conn: {host.name: host.used for host in hosts.every(conn)})
    for name, host in made.items():
        here = [server.id for server in found if server.host == name]
        assert host.guests == dict.fromkeys(here, PowerState.RUNNING)
        assert used[name] == Resources(len(here), len(here) * 1024, len(here))


@pytest.mark.parametrize("least", [1, 3, 4])
async def test_servers_of_one_request_are_placed_together_whenever_the_conductor_dies(
    tmp_path: Path, lent_databases: LentDatabases, least: int
) -> None:
    for dies_at in range(1, 80):
        path = tmp_path / str(dies_at)
        path.mkdir()
        with lent_databases() as new_database:
            died = await life_of(path, new_database, dies_at, least=least)
        if not died:
            assert dies_at > (6 if least <= 3 else 2), "the life of servers has more points than this"
            return
    raise AssertionError("a life without end")
