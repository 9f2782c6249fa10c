"""Every step of every workflow fails, runs twice, and is killed before, in and after; every undo fails, too.

The steps are read from the sagas. Each case asserts that it struck there, that the audit finds nothing afterwards, and
that the server is as promised. A step that is added comes in here by itself, a workflow with a line in `SCENES`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from databases import NewDatabase
from msgspec.structs import replace
from scripted_hosts import KIT
from strikes import FAILS, KILLED, TWICE, UNDO_FAILS, Strike, StruckDatabase, cases, writes

from floe.bus.local import LocalBus
from floe.cloud import (
    flavors,
    networks,
    server_interfaces,
    server_power,
    server_rebuild,
    server_rescue,
    server_resize,
    shelving,
    snapshots,
    soft_deletes,
    subnets,
    unmade_images,
)
from floe.cloud.audit import check_rows
from floe.conductor.conductor import Conductor
from floe.conductor.registry import sagas
from floe.conductor.saga import Saga
from floe.core import guest_actions, server_states
from floe.core.context import Context
from floe.core.images import ACTIVE, PUBLIC, Image
from floe.core.messages import ChangeNics, ChangePower, Command, Destroy, Failed, Result, Spawn, SpawnAll
from floe.core.nics import PlannedNic
from floe.core.server_rebuild import NewMake, Rebuild
from floe.core.server_resize import Asked, Resize
from floe.core.servers import ServerFlavor
from floe.core.snapshot_commands import TakeSnapshot
from floe.store import actions as action_rows
from floe.store import audit, images
from floe.store import ports as port_rows
from floe.store.engine import Connection
from floe.store.hosts import hosts as host_rows
from floe.store.images import change
from floe.store.images import images as image_rows
from floe.store.schema import create_all

BROKEN = Failed(kind="host_failure", message="It broke.", stage="disk")

IMAGE: dict[str, Any] = {
    "id": "11111111-1111-4111-8111-111111111111",
    "name": "tiny",
    "owner": None,
    "visibility": PUBLIC,
    "status": ACTIVE,
    "disk_format": "raw",
    "container_format": "bare",
    "size": 1,
    "virtual_size": 1,
    "sha512": "0" * 128,
}
"""What a server is rebuilt from."""

SCENES = {
    "create": "active",
    "delete": "deleted",
    "start": "active",
    "stop": "stopped",
    "reboot": "active",
    "pause": "paused",
    "unpause": "active",
    "suspend": "suspended",
    "resume": "active",
    "trigger_crash_dump": "active",
    "soft_delete": "soft-delete",
    "restore": "active",
    "attach_interface": "active",
    "detach_interface": "active",
    "rebuild": "active",
    "rescue": "rescued",
    "unrescue": "active",
    "shelve": "shelved",
    "shelveOffload": "shelved_offloaded",
    "unshelve": "active",
    "resize": "resized",
    "migrate": "resized",
    "confirmResize": "active",
    "revertResize": "active",
    "createImage": "active",
    "createBackup": "active",
}
"""What becomes of a server by each workflow, whatever strikes; a change of power alone fails with its host."""

BEFORE_IT = {"start": guest_actions.STOP, "unpause": guest_actions.PAUSE, "resume": guest_actions.SUSPEND}
"""What is done with a server first, so that a workflow may begin."""

MOVES = {"resize", "migrate"}
"""What has a server be on another host; a resize only where its own has no room."""
ON_ONE_HOST = 10
"""How often an undo fails at most that has one host alone: the rest is the sweep's."""
OF_MOVES = {"stop", "send", "send-ephemeral", "move", "spawn", "undo spawn", "begin", "destroy", "start"}
"""The steps that are taken of a server that moves, or has moved."""

SHELVED = {"shelveOffload", "unshelve"}
"""What begins with a server that is shelved."""

LEFT_BY = {
    **dict.fromkeys((("shelve", "stop"), ("shelve", "snapshot")), "active"),
    ("shelve", "end"): "suspended",
    ("unshelve", "start"): "shelved",
    ("unshelve", "undo spawn"): "shelved_offloaded",
    **dict.fromkeys(
        ((kind, step) for kind in MOVES for step in ("stop", "send", "send-ephemeral", "spawn", "undo spawn")), "active"
    ),
    ("revertResize", "start"): "stopped",
}
"""What a server stays, or is again, whose host failed at one of several steps."""

LEFT = {
    "start": "stopped",
    "unpause": "paused",
    "resume": "suspended",
    "unrescue": "rescued",
    "restore": "soft-delete",
    "confirmResize": "resized",
    "revertResize": "resized",
}
"""What a server stays, if not active, whose host could not do it."""

EPHEMERAL = {
    "flavor": ServerFlavor(flavor_id="1", name="m1", vcpus=1, memory_mib=1024, root_gib=1, ephemeral_gib=1),
}
"""Of what flavor a server is that has a disk more."""

RESIZES: Mapping[str, Callable[[Any, Context, str], Awaitable[None]] | None] = {
    "resize": None,
    "migrate": None,
    "confirmResize": server_resize.confirm,
    "revertResize": server_resize.revert,
}
"""What begins them, of those that end one."""


def struck(handle: Callable[[Command], Awaitable[Result]], strike: Strike) -> Callable[[Command], Awaitable[Result]]:
    """Return a host that fails, or is told twice, where it is to."""

    async def handler(command: Command) -> Result:
        if (
            isinstance(command, Spawn | SpawnAll | Destroy | ChangePower | ChangeNics | Rebuild | Resize | TakeSnapshot)
            and not strike.in_database
        ):
            if strike.here(FAILS) or any(strike.here(what) for what in UNDO_FAILS):
                return BROKEN
            if strike.here(TWICE):
                await handle(command)
        return await handle(command)

    return handler


def sent(cloud: Any) -> Callable[[str, str], Awaitable[None]]:
    """Return what has the rows say that an image is there."""

    def work(conn: Connection, action_id: str, role: str) -> None:
        action = action_rows.get(conn, action_id)
        assert action is not None
        change(conn, unmade_images.images_of(action)[role], {"status": "active", "size": 0})

    return lambda action_id, role: cloud.db.write(lambda conn: work(conn, action_id, role))


def plans() -> Mapping[str, Saga]:
    """Return all workflows by kind."""
    nothing: Any = None
    return sagas(nothing, nothing, KIT.SETTINGS)


async def start(cloud: Any, hosts: dict[str, Any], strike: Strike | None, sleep: Any) -> Any:
    """Start a conductor that something may happen to."""
    settings = replace(KIT.SETTINGS, start_grace=3000.0)
    if strike is not None:
        cloud = replace(cloud, db=StruckDatabase(cloud.db, strike))
        conductor = Conductor(cloud, settings=settings, place="here", sleep=sleep, observer=strike.observe)
    else:
        conductor = Conductor(cloud, settings=settings, place="here", sleep=sleep)
    for host in hosts.values():
        await cloud.bus.serve(host.name, struck(host.handle, strike) if strike else host.handle)
    await conductor.start()
    for host in hosts.values():
        await cloud.bus.publish(host.up())
        await KIT.until(lambda host=host: not conductor.fleet.awaited(host.name) and conductor.fleet.alive(host.name))
    return KIT.Site(cloud, conductor, hosts)


async def impatient(seconds: float) -> None:
    """Sleep not at all where a step waits, and for ever where a sweep does."""
    await asyncio.sleep(0 if seconds <= 40 else 3600)


async def settle(site: Any, *, slow: bool) -> None:
    """Do what the quick sweep does, and, where something was given up, what the slow one does."""
    await site.conductor.runner.sweep()
    await site.settle()
    for host in site.hosts if slow else ():
        await site.conductor.events.check(host)
    await site.settle()


async def kill(conductor: Conductor) -> None:
    """End all that a conductor does, without a word to the database."""
    tasks = [*conductor.runner._tasks.values(), *conductor.sweeps._tasks, *conductor.events._tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(("kind", "step", "what"), [case for saga in plans().values() for case in cases(saga)])
async def test_whatever_strikes_a_step_all_is_in_order_afterwards(
    tmp_path: Path, new_database: NewDatabase, kind: str, step: str, what: str
) -> None:
    most = ON_ONE_HOST if kind in MOVES else 100
    strike = Strike(step, what, writes(plans()[kind], step), min(UNDO_FAILS.get(what, 1), most))
    cloud = KIT.make_cloud(tmp_path, new_database)
    cloud = replace(cloud, settings=replace(cloud.settings, shelved_offload_time=-1.0))
    await cloud.db.write(create_all)
    hosts = {name: KIT.ScriptedHost(name, sends=sent(cloud)) for name in ("h1", "h2")}
    site = await start(cloud, hosts, strike, impatient)
    if step.startswith("undo ") and kind == "create":
        break_spawns(hosts)
    strike.armed = kind == "create"
    server = await site.post(**(EPHEMERAL if kind in RESIZES else {}))
    if kind != "create":
        await site.settle()
        if step.startswith("undo "):
            break_spawns(hosts)
        await begin(site, server.id, kind, strike)
    async with asyncio.timeout(30):
        await site.settle()
    assert strike.struck, f"{what} did not strike {step}"
    assert set(strike.struck) == {step}
    if what in KILLED:
        await kill(site.conductor)
        await site.cloud.bus.close()
        site = await start(replace(cloud, bus=LocalBus()), hosts, None, impatient)
    await settle(site, slow=what == "undo fails for a while")
    assert strike.times == 0, f"{what} struck less often than it should"
    left = LEFT.get(kind, "active") if what == FAILS and step == kind else None
    left = LEFT_BY.get((kind, step), left) if what == FAILS or step.startswith("undo ") else left
    check(site, server.id, "error" if step.startswith("undo ") and kind == "create" else left or SCENES[kind])
    await site.conductor.stop()
    await site.cloud.bus.close()
    cloud.db.close()


def break_spawns(hosts: Mapping[str, Any]) -> None:
    """Have no host spawn anything, so that it is undone."""
    for host in hosts.values():
        host.script.extend([BROKEN] * 5)


async def begin(site: Any, server_id: str, kind: str, strike: Strike) -> None:
    """Begin a workflow on a server that is there, and arm the strike."""
    if kind == "delete":
        strike.armed = True
        await site.delete(site.server(server_id))
        return
    user = Context(request_id="r", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))
    cloud = site.cloud
    if kind in BEFORE_IT:
        await server_power.change(cloud, user, server_id, BEFORE_IT[kind])
        await site.settle()
    if kind == "unrescue":
        await server_rescue.rescue(cloud, user, server_id)
        await site.settle()
    if kind in {"soft_delete", "restore"}:
        cloud = replace(cloud, settings=replace(cloud.settings, reclaim_instance_interval=3600.0))
    if kind == "restore":
        await soft_deletes.delete(cloud, user, server_id)
    if kind in RESIZES:
        await resize(site, user, server_id, kind, strike)
        return
    nic = PlannedNic(network_id=await network(cloud, user)) if kind.endswith("_interface") else None
    port = await server_interfaces.attach(cloud, user, server_id, nic) if kind == "detach_interface" else None
    await site.settle()
    await shelve_before(site, user, server_id, kind, strike.step)
    strike.armed = True
    cloud = replace(cloud, db=getattr(cloud.db, "db", cloud.db))  # it is the conductor that is struck
    if kind == "shelve":
        await shelving.shelve(cloud, user, server_id)
    elif kind == "shelveOffload":
        await shelving.offload(cloud, user, server_id)
    elif kind == "unshelve":
        await shelving.unshelve(cloud, user, server_id, shelving.Destination())
    elif kind == "rebuild":
        image = Image(**IMAGE, created_at=cloud.clock.now(), updated_at=cloud.clock.now())
        await cloud.db.write(lambda conn: images.insert(conn, image))
        await server_rebuild.rebuild(cloud, user, server_id, NewMake(image_id=image.id, changes={"name": "anew"}))
    elif kind == "rescue":
        await server_rescue.rescue(cloud, user, server_id)
    elif kind == "unrescue":
        await server_rescue.unrescue(cloud, user, server_id)
    elif port is not None:
        await server_interfaces.detach(cloud, user, server_id, port.port_id)
    elif kind in unmade_images.KINDS:
        backup = "daily" if kind == "createBackup" else ""
        await snapshots.create(cloud, user, server_id, snapshots.Asked(name="i", backup=backup, rotation=1))
    elif kind == "soft_delete":
        await soft_deletes.delete(cloud, user, server_id)
    elif kind == "restore":
        await soft_deletes.restore(cloud, user, server_id)
    elif nic is not None:
        await server_interfaces.attach(cloud, user, server_id, nic)
    else:
        await server_power.change(cloud, user, server_id, guest_actions.BY_KIND[kind])


async def shelve_before(site: Any, user: Context, server_id: str, kind: str, step: str) -> None:
    """Bring a server to where a workflow with shelved servers takes that step."""
    if step == "end":
        await server_power.change(site.cloud, user, server_id, guest_actions.SUSPEND)
    if kind in SHELVED:
        await shelving.shelve(site.cloud, user, server_id)
    await site.settle()
    if kind == "unshelve" and step != "start":
        await shelving.offload(site.cloud, user, server_id)
        await site.settle()


async def resize(site: Any, user: Context, server_id: str, kind: str, strike: Strike) -> None:
    """Begin a resize, or what ends one, and arm the strike."""
    large = {"flavor_id": "large", "name": "large", "vcpus": 1, "memory_mib": 256, "root_gib": 40, "ephemeral_gib": 1}
    await flavors.create(site.cloud, user, [large])
    cloud, ends, moves = site.cloud, RESIZES[kind], strike.step in OF_MOVES
    if ends is not None and moves:
        await server_resize.migrate(cloud, user, server_id)
        await site.settle()
    elif ends is not None:
        await server_resize.resize(cloud, user, server_id, Asked(flavor_id="large"))
        await site.settle()
    elif moves:
        home, used = host_rows.c.name == site.server(server_id).host, host_rows.c.memory_used
        await cloud.db.write(lambda conn: conn.execute(host_rows.update().where(home).values(memory_capacity=used)))
    strike.armed = True
    cloud = replace(cloud, db=getattr(cloud.db, "db", cloud.db))
    if ends is not None:
        await ends(cloud, user, server_id)
    elif kind == "migrate":
        await server_resize.migrate(cloud, user, server_id)
    else:
        await server_resize.resize(cloud, user, server_id, Asked(flavor_id="large"))


async def network(cloud: Any, user: Context) -> str:
    """Return a network of a user's, with a subnet."""
    (made,) = await networks.create(cloud, user, [{"name": "net"}])
    await subnets.create(cloud, user, [{"network_id": made.id, "cidr": "10.0.0.0/24"}])
    return made.id


def check(site: Any, server_id: str, wanted: str) -> None:
    """See that the server is as promised, and everything else in order."""
    server = site.server(server_id)
    there = {host.name: set(host.guests) for host in site.hosts.values() if host.guests}
    assert (server.vm_state, server.task_state) == (wanted, None)
    nowhere = wanted in {"error", "deleted", "shelved_offloaded"}
    assert there == ({} if nowhere else {host: {server_id} for host in (server.host, server.left) if host})
    ports = {port.id for port in site.cloud.db.read_now(lambda conn: port_rows.of_server(conn, server_id))}
    if there:
        assert site.hosts[server.host].nics.get(server_id, set()) == ports
    for host in (host for host in site.hosts.values() if host.name != server.left):
        for state in host.guests.values():
            assert server_states.agrees(server.vm_state, server.power_state, state)
    assert all(action.finished_at is not None for action in site.actions(server_id))
    made = site.cloud.db.read_now(lambda conn: conn.execute(image_rows.select()).all())
    assert {image.status for image in made} <= {"active", "deleted"}, "an image is neither whole nor gone"
    assert check_rows(site.cloud.db.read_now(audit.rows), quiet=True) == []
