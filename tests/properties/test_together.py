"""Of the servers that one request makes, as many are built as fit; where the least do not fit, none is."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from databases import LentDatabases
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scripted_hosts import KIT

from floe.conductor.conductor import Conductor
from floe.core.actions import OPEN_STATES
from floe.core.resources import Resources
from floe.core.server_groups import ANTI_AFFINITY, ServerGroup
from floe.store import allocations, hosts, server_groups
from floe.store.schema import create_all

MIB = 1024


@settings(max_examples=40, deadline=None)
@given(
    room=st.lists(st.integers(0, 3), max_size=3),
    least=st.integers(1, 7),
    more=st.integers(0, 6),
    apart=st.booleans(),
    backwards=st.booleans(),
)
async def test_as_many_are_built_as_fit_and_none_below_the_least(
    lent_databases: LentDatabases, room: list[int], least: int, more: int, apart: bool, backwards: bool
) -> None:
    fit = min(sum(min(each, 1) if apart else each for each in room), least + more)
    with tempfile.TemporaryDirectory() as folder, lent_databases() as new_database:
        cloud = KIT.make_cloud(Path(folder), new_database)
        states, used, claims, faults = await _build(cloud, room, least, least + more, apart, backwards)
    wanted = fit if fit >= least else 0
    assert states.count("active") == wanted
    assert states[:wanted] == ["active"] * wanted, "the first ones are those that are made"
    rest = "deleted" if wanted else "error"
    assert states[wanted:] == [rest] * (least + more - wanted)
    assert claims == wanted
    assert used == Resources(wanted, wanted * MIB, wanted)
    assert len(faults) == (0 if wanted else 1)
    for fault in faults:
        assert fault.startswith("No valid host: ")


async def _build(
    cloud: Any, room: list[int], least: int, most: int, apart: bool, backwards: bool
) -> tuple[list[str], Resources, int, set[str]]:
    await cloud.db.write(create_all)
    group = ServerGroup(
        id=cloud.new_id(),
        project_id="p" * 32,
        user_id="u" * 32,
        name="g",
        policy=ANTI_AFFINITY,
        created_at=cloud.clock.now(),
    )
    conductor = Conductor(cloud, settings=replace(KIT.SETTINGS, sweep=0.01))
    await conductor.start()
    site = KIT.Site(cloud, conductor)
    for number, each in enumerate(room):
        await site.add_host(f"h{number}", memory_mib=max(1, each * MIB))
    values: dict[str, Any] = {}
    if apart:
        await cloud.db.write(lambda conn: server_groups.insert(conn, group))
        values["group_id"] = group.id
    made = await site.post_together(least, most, nudge=False, **values)
    for server in reversed(made) if backwards else made:
        (action,) = site.actions(server.id)
        await site.cloud.nudge(action.id)
    async with asyncio.timeout(20):
        await site.settle()
        while any(action.state in OPEN_STATES for server in made for action in site.actions(server.id)):
            await asyncio.sleep(0.01)  # it was let go of, and is taken up again by the next sweep
            await site.settle()
    found = [site.server(server.id) for server in made]
    held = [cloud.db.read_now(lambda conn, i=server.id: allocations.of_server(conn, i)) for server in made]
    used = Resources()
    for host in cloud.db.read_now(hosts.every):
        used = Resources(
            used.vcpus + host.used.vcpus, used.memory_mib + host.used.memory_mib, used.disk_gib + host.used.disk_gib
        )
    await conductor.stop()
    await cloud.bus.close()
    cloud.db.close()
    faults = {server.fault.message for server in found if server.fault}
    return [server.vm_state for server in found], used, sum(map(len, held)), faults
