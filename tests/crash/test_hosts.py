"""A host's agent, alone or with the whole process, is killed before, inside and after each of its commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from floe.cloud import audits, host_networks
from floe.core.errors import Unavailable
from floe.core.host_uptime import ReadUptime
from floe.core.messages import Report

KILLED_IN = {
    "Spawn": {
        "clear": ("destroy", "remove_folder"),
        "image": ("_check", "_copy_in_kernel", "_digests", "demand_signed", "adopt_image", "_install"),
        "disk": ("create_overlay", "write"),
        "ports": ("apply",),
        "guest": ("start",),
    },
    "SpawnAll": {"disk": ("create_overlay", "write"), "guest": ("start",)},
    "Destroy": {"guest": ("destroy",), "ports": ("apply",), "disk": ("remove_folder",)},
    "ChangePower": {"end": ("end",), "start": ("start",)},
    "Rebuild": {
        "disk": ("create_overlay", "write", "remove"),
        "end": ("end",),
        "guest": ("begin_anew",),
        "start": ("start",),
        "tidy": ("sync", "tidy"),
    },
    "Resize": {
        "end": ("shut_down",),
        "disk": ("remove",),
        "copy": ("clone_disk", "copy_variables"),
        "start": ("start",),
        "tidy": ("sync", "tidy"),
    },
    "ChangeNics": {"ports": ("apply",), "guest": ("attach_nic", "detach_nic")},
    "TakeSnapshot": {"copy": ("end_copy", "copy_disk"), "upload": ("send",)},
    "ApplyNetwork": {},
    "ChangeRouters": {},
    "ChangeMembers": {},
    "UpdateMetadata": {},
    "ReadConsole": {},
    "SetPassword": {"guest": ("set_password",)},
    "ReadDiagnostics": {},
    "ReadUptime": {},
    "ListGuests": {},
    "Inspect": {},
    "Report": {},
}
"""Every command, with its steps, and what the agent asks others to do in each: it dies before and after all of it."""

ANEW = ("Rebuild", "Resize")
"""Those by which a guest becomes another one: each has a life of its own, as each death costs a whole life."""
MOST = 240
_PARTS = 2
"""Tests that share the points at which somebody dies: they wait more than they compute, and so beside each other."""


class Life:
    """A server's life from create to delete, in which a host (or all) dies at the n-th point, and recovers."""

    def __init__(self, town: Any, life: Any, dies_at: int, whole_process: bool, again: int, anew: str) -> None:
        self.town, self.life, self.dies_at, self.anew = town, life, dies_at, anew
        self.whole_process, self.again = whole_process, again
        self.member: Any = None
        self.pair: list[Any] = []
        self.kept = False
        """Whether its guest was told that its password is kept."""

    async def live(self) -> bool:
        """Return whether anything died."""
        town = self.town
        await town.boot(self.life)
        neighbour = await town.create(host="h2", name="neighbour")
        await town.settled()
        self.life.dies_at = self.dies_at
        server = await town.create(host="h1")
        town.leave_files("h1", server)
        for phase in self.turns(server) if self.anew else self.days(server):
            await phase()
            await self.ended()
            if self.life.dead.is_set():
                break
        if self.life.dead.is_set():
            await self.recover(server)
        await town.settled()
        if town.server(server.id).rescue is not None:  # it died at the rescue, which was done all the same
            self.life.dies_at = -1
            await town.unrescue(server)
            await town.settled()
        await self.decide(server)
        await town.settled()
        self.must_run(server)
        if not self.life.dead.is_set():
            await town.delete(server)
            await self.ended()
            if self.life.dead.is_set():
                await self.recover(server)
        else:
            await town.delete(server)
        self.life.dies_at = -1
        for other in [*self.pair, *([self.member] if self.member else [])]:
            await town.delete(other)
        await town.settled()
        assert town.server(server.id).vm_state == "deleted"
        assert set(town.images()) <= {"active"}
        assert town.machines["h1"].guests == {}
        assert town.planes["h1"].applied.ports == ()
        assert list(town.machines["h2"].guests) == [neighbour.id]
        return bool(self.life.dead.is_set())

    def days(self, server: Any) -> list[Callable[[], Awaitable[None]]]:
        """Return what is done while the guest is what it was made as."""
        town = self.town
        return [
            self.nothing,
            town.open_port,
            lambda: town.note(server),
            lambda: town.read_console(server),
            lambda: town.ask_guest(server),
            lambda: town.ask("h1", ReadUptime()),
            self.list_guests,
            self.inspect,
            self.report,
            self.new_member,
            town.join_router,
            lambda: self.post(server),
            lambda: town.reboot(server),
            lambda: town.give_nic(server),
            lambda: town.take_nic(server),
            lambda: town.copy(server),
            self.two_at_once,
        ]

    def turns(self, server: Any) -> list[Callable[[], Awaitable[None]]]:
        """Return what makes another guest of it."""
        town = self.town
        if self.anew == "Resize":
            return [self.nothing, lambda: town.resize(server), lambda: self.decide(server)]
        ways = town.rebuild, town.rescue, town.unrescue
        return [self.nothing, lambda: self.post(server), *(partial(way, server) for way in ways)]

    async def nothing(self) -> None:
        """The create is under way already."""

    async def new_member(self) -> None:
        """A server more in the group of both, elsewhere."""
        self.member = await self.town.create(host="h2", name="member")

    async def decide(self, server: Any) -> None:
        """Keep what a resize made, or take it back, if the server waits for that."""
        if self.town.server(server.id).vm_state == "resized":
            await self.town.keep_or_take_back(server, keep=self.dies_at % 2 == 0)

    async def two_at_once(self) -> None:
        """Two servers that the host is asked for in one message."""
        names = ("one", "other")
        self.pair = await asyncio.gather(*(self.town.create(host="h1", name=name) for name in names))

    async def post(self, server: Any) -> None:
        """Its guest posts a password, which stays from the answer on."""

        async def asked() -> None:
            await self.town.agents["h1"].post_password(server.id, "secret")
            self.kept = not self.life.dead.is_set()

        work = self.life.hang(asked())
        dead = asyncio.ensure_future(self.life.dead.wait())
        await asyncio.wait({work, dead}, return_when=asyncio.FIRST_COMPLETED)
        dead.cancel()

    async def list_guests(self) -> None:
        await self.town.conductor.events.check("h1")

    async def inspect(self) -> None:
        await audits.inspect(self.town.cloud, "h1")

    async def report(self) -> None:
        """The host is asked to say anew what it has."""
        with suppress(Unavailable):
            await self.town.bus.request("h1", Report(), timeout=60)

    async def ended(self) -> None:
        idle = asyncio.ensure_future(self.town.idle())
        dead = asyncio.ensure_future(self.life.dead.wait())
        await asyncio.wait({idle, dead}, return_when=asyncio.FIRST_COMPLETED)
        for task in (idle, dead):
            task.cancel()
        await asyncio.gather(idle, dead, return_exceptions=True)

    async def recover(self, server: Any) -> None:
        """Start what died; with `again`, it dies once more at that point of its new life."""
        town = self.town
        for dies_at in (self.again, -1) if self.again else (-1,):
            second = type(self.life)()
            second.dies_at = dies_at
            if self.whole_process:
                await town.lose_process()
                start = town.boot(second)
            else:
                await town.lose_agent("h1")
                start = town.start_agent("h1", second)
            begun = second.hang(start)
            dead = asyncio.ensure_future(second.dead.wait())
            await asyncio.wait({begun, dead}, return_when=asyncio.FIRST_COMPLETED)
            if dies_at >= 0 and not second.dead.is_set():
                await self.either(dead)
            dead.cancel()
            if not second.dead.is_set():
                second.dies_at = -1
                await begun
                return

    async def either(self, dead: asyncio.Future[bool]) -> None:
        """Wait until it is dead, or has nothing more to do."""
        idle = asyncio.ensure_future(self.town.idle())
        await asyncio.wait({idle, dead}, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        await asyncio.gather(idle, return_exceptions=True)

    def must_run(self, server: Any) -> None:
        """It is ACTIVE, with one guest that has its ports, and may read what it was told; so are those besides it."""
        town = self.town
        found = town.server(server.id)
        assert (found.vm_state, found.task_state, found.host) == ("active", None, "h1")
        assert found.password == "secret" or not self.kept
        here = [server.id, *(other.id for other in self.pair)]
        assert sorted(town.machines["h1"].guests) == sorted(here)
        ports = {port.port_id for port in town.planes["h1"].applied.ports}
        assert ports == {port for ident in here for port in town.ports(ident)}
        assert town.machines["h1"].nics == {ident: set(town.ports(ident)) for ident in here}
        assert list((town.folder / "h1").rglob("snapshot.*")) == []
        assert town.machines["h1"].boots.get(server.id, 1) == found.boots
        whole = town.cloud.db.read_now(lambda conn: host_networks.whole(conn, "h1", town.cloud.settings.dns_domain))
        assert town.planes["h1"].applied.groups == whole.groups
        assert town.planes["h1"].applied.routers == whole.routers
        command, point = self.life.passed[-1] if self.life.dead.is_set() else ("", "")
        if command == "Spawn" and point != "before":
            told = [remark for ident in here for remark in town.remarks(ident)]
            assert told, "a recovery leaves no trace in the server's history"
            assert any("asked" in remark for remark in told)


@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("anew", ["", *ANEW])
@pytest.mark.parametrize(
    ("whole_process", "again"),
    [(False, False), (True, False), (True, True)],
    ids=["the agent", "the whole process", "the whole process, twice"],
)
async def test_a_death_at_any_point_of_any_command_leaves_nothing_stuck_and_nothing_behind(
    new_town: Callable[[], Any], lifeline: Callable[[], Any], whole_process: bool, again: bool, anew: str, part: int
) -> None:
    step = 3 if again else 1  # those who die once die everywhere
    passed = set[tuple[str, str]]()  # in any life: whether two spawns go in one message is chance
    for dies_at in range(1 + part * step, MOST, _PARTS * step):
        town, life = new_town(), lifeline()
        try:
            died = await Life(town, life, dies_at, whole_process, dies_at % 11 + 1 if again else 0, anew).live()
        except AssertionError as error:
            raise AssertionError(f"it died at {life.passed[-1:]}: {error}") from error
        finally:
            await town.close()
        passed |= {(command, point.split()[-1]) for command, point in life.passed}
        if not died:
            rare = {"SpawnAll"} if again else set()  # few lives are of those who die twice
            for command in [anew] if anew else KILLED_IN.keys() - set(ANEW) - rare:
                steps = KILLED_IN[command]
                assert {(command, "before"), (command, "after")} <= passed
                missing = {call for calls in steps.values() for call in calls if (command, call) not in passed}
                assert missing == set(), f"{command} does not ask for it any more"
            return
    raise AssertionError("a life without end")
