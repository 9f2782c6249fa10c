"""Servers that move to another host: by a resize that has no room at home, and by an administrator's `migrate`."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sites import SERVERS, Site, furnished, refused

from floe.agent.agent import Agent
from floe.cloud import server_passwords, server_ports, server_resize
from floe.core.errors import HostFailure
from floe.core.guest_passwords import PasswordPosted
from floe.core.images import MOVED_BY, Image
from floe.hypervisors.fake import FakeHypervisor
from floe.store import host_networks as network_rows
from floe.store import images as image_rows
from floe.store import servers
from floe.store.hosts import hosts
from floe.testing import EmbeddedCloud

HIGHEST = "2.96"
WRITTEN = b"what the guest wrote on its second disk"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud of two hosts with a server on one of them, and a flavor that only the other one has room for."""
    async with furnished(embedded) as made:
        await populate(made)
        yield made


@pytest.fixture
async def wide(first_start: Path, started_database: str, tmp_path: Path) -> AsyncIterator[Site]:
    """Give the same with a host more."""
    cloud = EmbeddedCloud(tmp_path / "wide", hosts=3, template=first_start, database=started_database)
    async with cloud, furnished(cloud) as made:
        await populate(made)
        yield made


async def populate(made: Site) -> None:
    for name, ram in (("small", 128), ("large", 256)):
        flavor = {"flavor": {"name": name, "ram": ram, "vcpus": 1, "disk": 1}}
        reply = await made.ask("POST", "/compute/v2.1/flavors", flavor, "admin")
        made.ids[name] = reply.json()["flavor"]["id"]
    asked = {
        "name": "one",
        "imageRef": made.ids["image"],
        "flavorRef": made.ids["small"],
        "networks": [{"uuid": made.ids["inner"]}],
    }
    reply = await made.ask("POST", SERVERS, {"server": asked}, "demo", HIGHEST)
    await made.cloud.settled()
    made.ids["server"] = reply.json()["server"]["id"]


async def act(site: Site, action: str, body: Any = None, who: str = "demo", version: str = HIGHEST) -> Any:
    path = f"{SERVERS}/{site.ids['server']}/action"
    reply = await site.ask("POST", path, {action: body}, who, version)
    await site.cloud.settled()
    return reply


async def shown(site: Site) -> dict[str, Any]:
    path = f"{SERVERS}/{site.ids['server']}"
    found: dict[str, Any] = (await site.ask("GET", path, None, "admin", HIGHEST)).json()["server"]
    return found


async def place(site: Site) -> str:
    return str((await shown(site))["OS-EXT-SRV-ATTR:host"])


def agent(site: Site, host: str) -> Agent:
    return next(agent for agent in site.cloud.node.agents if agent.host == host)


def other(site: Site, host: str) -> str:
    return next(agent.host for agent in site.cloud.node.agents if agent.host != host)


def folder(site: Site, host: str) -> Path:
    return agent(site, host)._guests_dir / site.ids["server"]


def guests(site: Site) -> dict[str, str]:
    """Return what guests of the server there are, by their hosts."""
    found = {}
    for each in site.cloud.node.agents:
        assert isinstance(each._hypervisor, FakeHypervisor)
        if (state := each._hypervisor.host.guests.get(site.ids["server"])) is not None:
            found[each.host] = state.name
    return found


def root(site: Site, host: str) -> Path:
    (path,) = folder(site, host).glob("*.qcow2")
    return path


async def no_room(site: Site, host: str) -> None:
    """Have a host be full but for the servers that are there."""

    def fill(conn: Any) -> None:
        conn.execute(hosts.update().where(hosts.c.name == host).values(memory_capacity=hosts.c.memory_used + 64))

    await site.cloud.node.cloud.db.write(fill)


async def audit(site: Site) -> list[Any]:
    return list((await site.ask("GET", "/floe/v1/audit", None, "admin")).json()["violations"])


async def images(site: Site) -> list[Any]:
    found = (await site.ask("GET", "/image/v2/images?os_hidden=true", None, "admin")).json()["images"]
    return list(found)


async def claims(site: Site) -> list[dict[str, int]]:
    path = f"/placement/allocations/{site.ids['server']}"
    found = (await site.ask("GET", path, None, "admin")).json()["allocations"]
    return [each["resources"] for each in found.values()]


async def events(site: Site) -> list[tuple[str, str | None]]:
    path = f"{SERVERS}/{site.ids['server']}/os-instance-actions"
    found = (await site.ask("GET", path, None, "admin", HIGHEST)).json()
    return [(each["action"], each["message"]) for each in reversed(found["instanceActions"])]


async def test_a_resize_that_has_no_room_at_home_goes_elsewhere(site: Site) -> None:
    home = await place(site)
    away = other(site, home)
    with root(site, home).open("ab") as file:
        file.write(b"what the guest wrote")
    await no_room(site, home)
    reply = await act(site, "resize", {"flavorRef": site.ids["large"]})
    assert reply.status_code == 202, reply.text
    now = await shown(site)
    assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", away), now
    assert guests(site) == {home: "SHUTDOWN", away: "RUNNING"}
    assert len(await claims(site)) == 2, "one of each host"
    assert await audit(site) == []
    assert await images(site) == [], "what it travelled as is gone"
    assert (await act(site, "confirmResize")).status_code == 204
    now = await shown(site)
    assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", away)
    assert now["flavor"]["original_name"] == "large"
    assert guests(site) == {away: "RUNNING"}
    assert not folder(site, home).exists()
    assert await claims(site) == [{"VCPU": 1, "MEMORY_MB": 256, "DISK_GB": 1}]
    assert await audit(site) == []


async def test_what_a_server_travelled_as_is_missed_by_nobody_once_its_move_has_ended(site: Site) -> None:
    reply = await site.ask("POST", "/image/v2/images", {"name": "mine", "os_hidden": True}, "demo")
    mine = reply.json()["id"]
    refused = await site.ask("POST", "/image/v2/images", {"name": "its", MOVED_BY: "x"}, "admin")
    assert refused.status_code == 403, "nobody can say so of an image"
    now = site.cloud.node.cloud.clock.now()
    left = Image(
        id=str(uuid.uuid4()), name=None, owner=None, created_at=now, updated_at=now, properties={MOVED_BY: "x"}
    )
    await site.cloud.node.cloud.db.write(lambda conn: image_rows.insert(conn, left))
    assert [(found["rule"], found["subject"]) for found in await audit(site)] == [
        ("what a server travelled as is left", left.id)
    ]
    repaired = (await site.ask("POST", "/floe/v1/audit/repair", None, "admin")).json()
    assert (repaired["count"], [found["subject"] for found in repaired["mended"]]) == (0, [left.id])
    assert [image["id"] for image in await images(site)] == [mine]


async def test_a_server_that_was_migrated_may_go_back_as_it_was(site: Site) -> None:
    home, before = await place(site), await shown(site)
    away = other(site, home)
    old = root(site, home)
    content = old.read_bytes()
    reply = await act(site, "migrate", None, "admin")
    assert reply.status_code == 202, reply.text
    assert await place(site) == away
    assert (await act(site, "revertResize", None, "admin")).status_code == 202
    now = await shown(site)
    assert {name for name in now if now[name] != before[name]} <= {"updated"}
    assert (guests(site), old.read_bytes()) == ({home: "RUNNING"}, content)
    assert not folder(site, away).exists()
    assert await audit(site) == []
    assert [action for action, _ in await events(site)] == ["create", "migrate", "revertResize"]


async def test_an_administrator_may_say_where_a_server_goes(site: Site) -> None:
    home = await place(site)
    refused(await act(site, "migrate", {"host": home}, "admin"), 400, "it is there")
    refused(await act(site, "migrate", {"host": "nowhere"}, "admin"), 400, "could not be found")
    assert (await act(site, "migrate", None, "demo")).status_code == 403
    assert (await act(site, "migrate", {"host": other(site, home)}, "admin", "2.56")).status_code == 202
    assert await place(site) == other(site, home)
    assert (await act(site, "confirmResize", None, "admin")).status_code == 204
    assert (await act(site, "migrate", {"host": None}, "admin", "2.56")).status_code == 202, "wherever"
    assert (await act(site, "revertResize", None, "admin")).status_code == 202
    assert (await act(site, "migrate", {"host": home}, "admin")).status_code == 202
    assert (await act(site, "confirmResize", None, "admin")).status_code == 204
    assert guests(site) == {home: "RUNNING"}, "there and back again"
    assert await audit(site) == []


async def test_a_server_that_is_off_arrives_off_and_starts_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    home = await place(site)
    await act(site, "os-stop")
    there, meanwhile = agent(site, other(site, home))._hypervisor, list[Any]()
    create_overlay = there.create_overlay

    async def looked_at(*asked: Any, **more: Any) -> Any:
        found = await shown(site)
        meanwhile.append([found[name] for name in ("status", "OS-EXT-STS:task_state", "OS-EXT-SRV-ATTR:host")])
        return await create_overlay(*asked, **more)

    monkeypatch.setattr(there, "create_overlay", looked_at)
    assert (await act(site, "migrate", None, "admin")).status_code == 202
    assert meanwhile == [["RESIZE", "resize_finish", other(site, home)]], "while its disks are made there"
    assert guests(site) == {home: "SHUTDOWN", other(site, home): "SHUTDOWN"}
    assert (await act(site, "confirmResize", None, "admin")).status_code == 204
    assert (await shown(site))["status"] == "SHUTOFF"
    assert await audit(site) == []
    await act(site, "os-start")
    assert guests(site) == {other(site, home): "RUNNING"}


@pytest.mark.parametrize(
    ("where", "operation", "off"),
    [
        ("home", "shut_down", False),
        ("home", "copy_disk", False),
        ("away", "create_overlay", False),
        ("away", "start", False),
        ("home", "copy_disk", True),
        ("away", "start", True),
    ],
)
async def test_a_move_that_fails_leaves_the_server_as_it_was(site: Site, where: str, operation: str, off: bool) -> None:
    if off:
        await act(site, "os-stop")
    home, before = await place(site), await shown(site)
    host = home if where == "home" else other(site, home)
    hypervisor = agent(site, host)._hypervisor
    assert isinstance(hypervisor, FakeHypervisor)
    hypervisor.host.fail(operation, HostFailure("It broke.", stage="guest"))
    await act(site, "migrate", None, "admin")
    now = await shown(site)
    assert {name for name in now if now[name] != before[name]} <= {"updated", "fault"}, now
    assert guests(site) == {home: "SHUTDOWN" if off else "RUNNING"}
    assert ("migrate", "It broke.") in await events(site)
    assert await images(site) == []
    assert await audit(site) == []


async def test_where_a_move_fails_and_the_guest_does_not_start_at_home_either_the_server_is_off(site: Site) -> None:
    """Nobody looks at its home while the row says that it is on its way."""
    home = await place(site)
    away, here = (agent(site, host)._hypervisor for host in (other(site, home), home))
    assert isinstance(away, FakeHypervisor)
    assert isinstance(here, FakeHypervisor)
    away.host.fail("create_overlay", HostFailure("It broke.", stage="guest"))
    here.host.fail("start", HostFailure("It broke, too.", stage="guest"))
    await act(site, "migrate", None, "admin")
    now = await shown(site)
    assert (now["status"], now["OS-EXT-STS:power_state"], await place(site)) == ("SHUTOFF", 4, home)
    assert ("start", "It broke, too.") in await events(site)
    await act(site, "os-start")
    assert (await shown(site))["status"] == "ACTIVE"


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_host_that_dies_while_it_makes_the_guest_of_a_move_leaves_one_guest(
    site: Site, comes_back: bool
) -> None:
    home = await place(site)
    away, started, never = other(site, home), asyncio.Event(), asyncio.Event()
    hypervisor = agent(site, away)._hypervisor
    assert isinstance(hypervisor, FakeHypervisor)

    async def stand_still(_seconds: float) -> None:
        started.set()
        await never.wait()

    hypervisor._delay, hypervisor._sleep = 1.0, stand_still
    path = f"{SERVERS}/{site.ids['server']}/action"
    assert (await site.ask("POST", path, {"migrate": None}, "admin", HIGHEST)).status_code == 202
    await asyncio.wait_for(started.wait(), 20)
    await agent(site, away).crash()
    hypervisor._delay = 0.0
    if not comes_back:
        site.cloud.node.conductor.fleet.lost(away)
        await site.cloud.settled()
        assert guests(site) == {home: "RUNNING"}
    await agent(site, away).start()
    await site.cloud.settled()
    await compared(site, away)
    now = await shown(site)
    if comes_back:
        assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", away), now
        assert guests(site) == {home: "SHUTDOWN", away: "RUNNING"}
    else:
        assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", home), now
        assert guests(site) == {home: "RUNNING"}
        assert not folder(site, away).exists()
    assert await audit(site) == []


def others_fail(site: Site, home: str, failures: int) -> None:
    """Have that many starts of guests fail, on whichever hosts but one they are."""
    errors: deque[Exception | None] = deque(HostFailure("It broke.", stage="guest") for _ in range(failures))
    for each in site.cloud.node.agents:
        if each.host != home:
            assert isinstance(each._hypervisor, FakeHypervisor)
            each._hypervisor.host.faults["start"] = errors


async def places(site: Site, action: str) -> list[tuple[str, str, str, str | None]]:
    """Return where the server was to go in its latest action of a kind: the steps, how each ended, and what it says."""
    path = f"{SERVERS}/{site.ids['server']}/os-instance-actions"
    found = (await site.ask("GET", path, None, "admin", HIGHEST)).json()["instanceActions"]
    request = next(each["request_id"] for each in found if each["action"] == action)
    told = (await site.ask("GET", f"{path}/{request}", None, "admin", HIGHEST)).json()["instanceAction"]
    events = sorted(told["events"], key=lambda each: each["start_time"])
    return [
        (each["event"], each["host"], each["result"], each["details"])
        for each in events
        if each["event"] in {"move", "spawn"}
    ]


async def test_a_host_that_fails_at_a_move_is_followed_by_another_one(wide: Site) -> None:
    home = await place(wide)
    others_fail(wide, home, 1)
    assert (await act(wide, "migrate", None, "admin")).status_code == 202
    now = await shown(wide)
    away = now["OS-EXT-SRV-ATTR:host"]
    (failed,) = {each.host for each in wide.cloud.node.agents} - {home, away}
    assert now["status"] == "VERIFY_RESIZE"
    assert guests(wide) == {home: "SHUTDOWN", away: "RUNNING"}
    assert len(await claims(wide)) == 2, "one of each host"
    assert not folder(wide, failed).exists()
    assert await places(wide, "migrate") == [
        ("move", failed, "Success", None),
        ("spawn", failed, "Error", "It broke."),
        ("move", away, "Success", f"in place of {failed}, which failed"),
        ("spawn", away, "Success", None),
    ]
    assert await audit(wide) == []
    assert (await act(wide, "revertResize", None, "admin")).status_code == 202
    assert guests(wide) == {home: "RUNNING"}
    assert await audit(wide) == []


async def test_a_host_that_dies_at_a_move_is_followed_by_another_one_and_removes_what_it_has(wide: Site) -> None:
    home, dying = await place(wide), asyncio.get_running_loop().create_future()
    never = asyncio.Event()

    def begin(host: str, hypervisor: FakeHypervisor) -> None:
        async def stand_still(_seconds: float) -> None:
            if not dying.done():
                dying.set_result(host)
                await never.wait()

        hypervisor._delay, hypervisor._sleep = 1.0, stand_still

    for each in wide.cloud.node.agents:
        assert isinstance(each._hypervisor, FakeHypervisor)
        begin(each.host, each._hypervisor)
    path = f"{SERVERS}/{wide.ids['server']}/action"
    assert (await wide.ask("POST", path, {"migrate": None}, "admin", HIGHEST)).status_code == 202
    dead = await asyncio.wait_for(dying, 20)
    await agent(wide, dead).crash()
    wide.cloud.node.conductor.fleet.lost(dead)
    await wide.cloud.settled()
    away = await place(wide)
    assert guests(wide) == {home: "SHUTDOWN", away: "RUNNING"}
    assert away not in {home, dead}
    await agent(wide, dead).start()
    await wide.cloud.settled()
    await compared(wide, dead)
    assert not folder(wide, dead).exists()
    assert await audit(wide) == []


@pytest.mark.parametrize(("named", "failures"), [(False, 2), (True, 1)])
async def test_a_move_that_finds_no_host_ends_at_home(wide: Site, named: bool, failures: int) -> None:
    home = await place(wide)
    others_fail(wide, home, failures)
    asked = {"host": other(wide, home)} if named else None
    await act(wide, "migrate", asked, "admin")
    assert (await place(wide), guests(wide)) == (home, {home: "RUNNING"})
    assert ("migrate", "It broke.") in await events(wide)
    tried = [host for step, host, _, _ in await places(wide, "migrate") if step == "spawn"]
    assert len(set(tried)) == failures
    assert (await images(wide), await audit(wide)) == ([], [])


async def test_where_no_other_host_has_room_the_server_stays(site: Site) -> None:
    home = await place(site)
    body = {"status": "disabled"}
    found = (await site.ask("GET", "/compute/v2.1/os-services", None, "admin", HIGHEST)).json()["services"]
    for service in found:
        if service["host"] == other(site, home):
            await site.ask("PUT", f"/compute/v2.1/os-services/{service['id']}", body, "admin", HIGHEST)
    await act(site, "migrate", None, "admin")
    now = await shown(site)
    assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", home)
    assert guests(site) == {home: "RUNNING"}
    assert await audit(site) == []


@pytest.mark.parametrize("ended", [False, True])
async def test_both_halves_go_with_a_server_that_is_deleted(site: Site, ended: bool) -> None:
    home = await place(site)
    await act(site, "migrate", None, "admin")
    if ended:
        await act(site, "revertResize", None, "admin")
    await site.ask("DELETE", f"{SERVERS}/{site.ids['server']}", None, "demo", HIGHEST)
    await site.cloud.settled()
    assert guests(site) == {}
    assert not folder(site, home).exists()
    assert not folder(site, other(site, home)).exists()
    assert await audit(site) == []


async def compared(site: Site, *names: str) -> None:
    """Have hosts be compared with the rows, and what that has begun be done."""
    for name in names:
        await site.cloud.node.conductor.events.check(name)
    await site.cloud.settled()


async def test_a_half_is_kept_by_a_host_that_starts_anew_and_goes_back_from_there(site: Site) -> None:
    home = await place(site)
    away, content = other(site, home), root(site, home).read_bytes()
    await act(site, "migrate", None, "admin")
    await agent(site, home).crash()
    await agent(site, home).start()
    await site.cloud.settled()
    await compared(site, home, away)
    assert guests(site) == {home: "SHUTDOWN", away: "RUNNING"}
    reply = await site.ask("DELETE", f"/floe/v1/hosts/{home}", None, "admin")
    assert reply.status_code == 409, reply.text
    assert "keeps what they were" in reply.text
    assert (await act(site, "revertResize", None, "admin")).status_code == 202
    assert (guests(site), root(site, home).read_bytes()) == ({home: "RUNNING"}, content)
    assert await audit(site) == []


@pytest.mark.parametrize("action", ["confirmResize", "revertResize"])
async def test_a_host_that_is_lost_holds_up_neither_end_of_a_move_and_owes_its_half(site: Site, action: str) -> None:
    home = await place(site)
    away = other(site, home)
    await act(site, "migrate", None, "admin")
    lost, stays = (home, away) if action == "confirmResize" else (away, home)
    await agent(site, lost).stop()
    await site.cloud.settled()
    await act(site, action, None, "admin")
    now = await shown(site)
    assert (now["status"], now["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", stays)
    await agent(site, lost).start()
    await site.cloud.settled()
    await compared(site, lost)
    assert guests(site) == {stays: "RUNNING"}
    assert not folder(site, lost).exists()
    assert await audit(site) == []


def ephemeral(site: Site, host: str) -> Path:
    (path,) = folder(site, host).glob("ephemeral*.raw")
    return path


async def with_ephemeral(site: Site) -> str:
    """Have the server be one with an ephemeral disk, on which its guest wrote something, and return its host."""
    for name, ram, gib in (("both", 128, 1), ("vast", 256, 2)):
        more = {"name": name, "ram": ram, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": gib, "swap": 64}
        reply = await site.ask("POST", "/compute/v2.1/flavors", {"flavor": more}, "admin")
        site.ids[name] = reply.json()["flavor"]["id"]
    asked = {"name": "two", "imageRef": site.ids["image"], "flavorRef": site.ids["both"], "networks": "none"}
    reply = await site.ask("POST", SERVERS, {"server": asked}, "demo", HIGHEST)
    await site.cloud.settled()
    site.ids["server"] = reply.json()["server"]["id"]
    home = await place(site)
    with ephemeral(site, home).open("r+b") as file:
        file.write(WRITTEN)
    return home


def has(disk: Path, gib: int) -> bool:
    """Say whether a disk has what was written on it, and is so large."""
    with disk.open("rb") as file:
        return file.read(len(WRITTEN)) == WRITTEN and disk.stat().st_size == gib * 1024**3


@pytest.mark.parametrize("action", ["migrate", "resize"])
async def test_what_is_on_an_ephemeral_disk_is_there_after_the_move(site: Site, action: str) -> None:
    home = await with_ephemeral(site)
    away = other(site, home)
    if action == "resize":
        await no_room(site, home)
        await act(site, "resize", {"flavorRef": site.ids["vast"]})
    else:
        assert (await act(site, "migrate", None, "admin")).status_code == 202
    assert await place(site) == away, await events(site)
    assert has(ephemeral(site, away), 2 if action == "resize" else 1)
    assert has(ephemeral(site, home), 1), "what it was stays"
    assert list((folder(site, away) / "images").glob("*.content")) == []
    assert (await images(site), await audit(site)) == ([], [])
    assert (await act(site, "confirmResize", None, "admin")).status_code == 204
    await act(site, "reboot", {"type": "HARD"})
    assert (guests(site), has(ephemeral(site, away), 2 if action == "resize" else 1)) == ({away: "RUNNING"}, True)
    assert not folder(site, home).exists()
    assert await audit(site) == []


@pytest.mark.parametrize("operation", ["copy_disk", "unpack_disk"])
async def test_an_ephemeral_disk_that_does_not_arrive_leaves_the_server_where_it_was(
    site: Site, operation: str
) -> None:
    home = await with_ephemeral(site)
    away = other(site, home)
    machine = agent(site, home if operation == "copy_disk" else away)._hypervisor
    assert isinstance(machine, FakeHypervisor)
    machine.host.fail(operation, HostFailure("It broke.", stage="disk"), after=operation == "copy_disk")
    await act(site, "migrate", None, "admin")
    assert (await place(site), guests(site)) == (home, {home: "RUNNING"})
    assert has(ephemeral(site, home), 1)
    assert not folder(site, away).exists()
    assert (await images(site), await audit(site)) == ([], [])


async def test_a_resize_elsewhere_makes_no_ephemeral_disk_smaller(site: Site) -> None:
    home = await with_ephemeral(site)
    refused(await act(site, "resize", {"flavorRef": site.ids["large"]}), 400, "cannot get smaller")
    assert has(ephemeral(site, home), 1)


@pytest.mark.parametrize("action", ["migrate", "resize"])
async def test_a_server_whose_host_is_down_is_neither_resized_nor_migrated(site: Site, action: str) -> None:
    home, before = await place(site), await shown(site)
    await agent(site, home).stop()
    await site.cloud.settled()
    asked = {"flavorRef": site.ids["large"]} if action == "resize" else None
    refused(await act(site, action, asked, "admin"), 409, "its host is down")
    now = await shown(site)
    assert {name for name in now if now[name] != before[name]} <= {"updated", "host_status"}
    assert len(await claims(site)) == 1
    await agent(site, home).start()
    await site.cloud.settled()
    assert (await act(site, action, asked, "admin")).status_code == 202
    assert (await shown(site))["status"] == "VERIFY_RESIZE"


async def test_a_host_that_goes_down_before_its_server_leaves_it_keeps_nothing_claimed_elsewhere(site: Site) -> None:
    home = await place(site)
    site.cloud.node.conductor.fleet.lost(home)  # of which its row does not tell yet
    await act(site, "migrate", None, "admin")
    assert ("migrate", f"Host {home!r} is down, so the server cannot leave it.") in await events(site)
    assert len(await claims(site)) == 1
    site.cloud.node.conductor.fleet.heard(home)
    await compared(site, home)
    await site.cloud.node.conductor.runner.sweep()
    await site.cloud.settled()
    now = await shown(site)
    assert (now["status"], now["OS-EXT-SRV-ATTR:host"], guests(site)) == ("ACTIVE", home, {home: "RUNNING"})
    assert await audit(site) == []


async def test_ports_that_come_home_are_told_of_there_though_no_command_brings_them(site: Site) -> None:
    """A guest that was off is not started again where its move failed."""
    home, cloud = await place(site), site.cloud.node.cloud
    await act(site, "os-stop")
    await act(site, "migrate", None, "admin")

    def come_home(conn: Any) -> tuple[int, int, list[str]]:
        before, server = network_rows.wanted(conn, home), servers.get(conn, site.ids["server"])
        assert server is not None
        server_resize.bring_home(conn, server, home, cloud.clock.now())
        return before, network_rows.wanted(conn, home), network_rows.stale(conn)

    before, after, stale = await cloud.db.write(come_home)
    assert after > before
    assert stale == sorted([home, other(site, home)]), "and where they were: what they left may have had them since"


@pytest.mark.parametrize("ahead", [True, False])
async def test_ports_that_leave_after_their_guest_was_removed_make_their_host_stale(site: Site, ahead: bool) -> None:
    """It may have been sent its whole network since, with these ports: no later command takes them off."""
    home, cloud = await place(site), site.cloud.node.cloud

    def unplug(conn: Any) -> list[str]:
        server_ports.unplug(conn, site.ids["server"], cloud.clock.now(), ahead=ahead)
        return network_rows.stale(conn)

    assert await cloud.db.write(unplug) == ([] if ahead else [home])


async def test_what_a_guest_posted_before_it_moved_is_taken_from_the_host_that_it_left(site: Site) -> None:
    home, cloud = await place(site), site.cloud.node.cloud
    await act(site, "migrate", None, "admin")
    said = PasswordPosted(host=home, server_id=site.ids["server"], password="secret", turn=1)
    await server_passwords.posted(cloud, replace(said, host="h9"))
    assert await cloud.db.read(lambda conn: servers.get(conn, site.ids["server"]).password) is None
    await server_passwords.posted(cloud, said)
    assert await cloud.db.read(lambda conn: servers.get(conn, site.ids["server"]).password) == "secret"
    ledger = agent(site, other(site, home))._ledger
    assert ledger is not None
    assert ledger.guests[site.ids["server"]].metadata.password == "secret", "where it is now, too"


@pytest.mark.parametrize("end", ["confirmResize", "revertResize"])
async def test_what_a_guest_posted_is_kept_though_its_half_is_removed_and_the_bus_lost_it(
    site: Site, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await place(site)
    if end == "revertResize":
        await act(site, "migrate", None, "admin")
    guest = agent(site, await place(site))
    monkeypatch.setattr(guest, "_publish_soon", lambda _event: None)
    await guest.post_password(site.ids["server"], "secret")
    if end == "confirmResize":
        await act(site, "migrate", None, "admin")
    assert (await act(site, end)).status_code in {202, 204}
    path = f"{SERVERS}/{site.ids['server']}/os-server-password"
    assert (await site.ask("GET", path)).json() == {"password": "secret"}
    assert await place(site) == (home if end == "revertResize" else other(site, home))
    assert await audit(site) == []


async def test_of_several_ephemeral_disks_no_image_is_left_after_the_move(site: Site) -> None:
    flavor = {"flavor": {"name": "wide", "ram": 64, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 3}}
    made = (await site.ask("POST", "/compute/v2.1/flavors", flavor, "admin")).json()["flavor"]["id"]
    blank = {"source_type": "blank", "destination_type": "local", "boot_index": -1, "volume_size": 1}
    root_disk = {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": site.ids["image"]}
    asked = {"name": "two", "flavorRef": made, "networks": "none", "block_device_mapping_v2": [root_disk, *[blank] * 3]}
    reply = await site.ask("POST", SERVERS, {"server": asked}, "demo", HIGHEST)
    await site.cloud.settled()
    site.ids["server"] = reply.json()["server"]["id"]
    assert (await act(site, "migrate", None, "admin")).status_code == 202
    assert (await shown(site))["status"] == "VERIFY_RESIZE"
    assert (await images(site), await audit(site)) == ([], [])
