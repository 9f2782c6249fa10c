"""Each write of what is done with routers, floating IPs, port forwardings, topologies and bound ports.

The process is killed before it, in it and after it, or the write runs twice, whether it is the request's, or one that a
conductor makes because of it. Then all starts again: what was asked for is done whole or not at all, hosts have what
the rows say, and who asks again is served or told that it is done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import structs

from floe.cloud import (
    audit_repair,
    auto_allocated,
    floating_ips,
    networks,
    port_forwardings,
    ports,
    router_interfaces,
    routers,
    server_addresses,
    servers,
    subnetpools,
    subnets,
)
from floe.core.context import Context
from floe.core.errors import FloeError
from floe.core.listing import Listing
from floe.core.new_servers import NewServer
from floe.core.routers import Gateway
from floe.simulation.planes import dangling, misplugged, misrouted
from floe.store import auto_allocated as topologies
from floe.store import floating_ips as floating_rows
from floe.store import port_forwardings as forwarding_rows
from floe.store import ports as port_rows
from floe.store import routers as router_rows
from floe.store import servers as server_rows
from floe.store import subnets as subnet_rows
from floe.store.engine import Connection

from .conftest import ANN, IMAGE, Town, until

BEFORE, IN, AFTER, TWICE = "killed before", "killed in", "killed after", "runs twice"
ROOT = structs.replace(ANN, project_id="c" * 32, roles=ANN.roles | {"admin"})
BOB = Context(request_id="r", user_id="bob", project_id="b" * 32, roles=frozenset({"member", "reader"}))
"""A user whose project has no network."""


class _RolledBack(Exception):
    """A transaction was rolled back."""


@dataclass
class Doomed:
    """A database at the `at`th write of which, once it is armed, something happens."""

    db: Any
    what: str
    at: int
    armed: bool = False
    writes: int = 0
    struck: asyncio.Event = field(default_factory=asyncio.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    async def write(self, fn: Callable[[Any], Any], *isolation: Any) -> Any:
        self.writes += self.armed
        if not self.armed or self.writes != self.at:
            if self.struck.is_set() and self.what != TWICE:
                await asyncio.Event().wait()  # it is dead
            return await self.db.write(fn, *isolation)
        if self.what in {IN, TWICE}:
            with contextlib.suppress(_RolledBack):
                await self.db.write(_rolled_back(fn), *isolation)
        result = await self.db.write(fn, *isolation) if self.what in {AFTER, TWICE} else None
        self.struck.set()
        if self.what != TWICE:
            await asyncio.Event().wait()
        return result


def _rolled_back(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def run(conn: Any) -> Any:
        fn(conn)
        raise _RolledBack

    return run


@dataclass
class Place:
    """A town with a way out, and a server that is led to."""

    town: Town
    ids: dict[str, str] = field(default_factory=dict)

    async def build(self) -> None:
        cloud, ids = self.town.cloud, self.ids
        for name, cidr in (("public", "203.0.113.0/28"), ("other", "203.0.113.16/28")):
            (made,) = await networks.create(
                cloud, ROOT, [{"name": name, "external": True, "default": name == "public"}]
            )
            await subnets.create(cloud, ROOT, [{"network_id": made.id, "cidr": cidr, "dhcp": False}])
            ids[name] = made.id
        pool = {"prefixes": ["10.9.0.0/24"], "default": True, "shared": True, "default_length": 28}
        await subnetpools.create(cloud, ROOT, [pool])
        server = await self.town.create("h1")
        await self.town.idle()
        ids["server"] = server.id
        port = self.read(lambda conn: port_rows.of_server(conn, server.id))[0]
        ids |= {
            "port": port.id,
            "subnet": port.fixed_ips[0][0],
            "fixed": port.fixed_ips[0][1],
            "inner": port.network_id,
        }
        router, spare = await routers.create(cloud, ANN, [{"gateway": Gateway(network_id=ids["public"])}, {}])
        await router_interfaces.add(cloud, ANN, router.id, {"subnet_id": ids["subnet"]})
        (one,) = await floating_ips.create(cloud, ANN, [{"network_id": ids["public"], "port_id": port.id}])
        two, three = await floating_ips.create(cloud, ANN, [{"network_id": ids["public"]}] * 2)
        (free,) = await ports.create(cloud, ANN, [{"network_id": ids["inner"]}])
        (pinned,) = await ports.create(
            cloud, ROOT, [{"network_id": ids["inner"], "host": "h2", "project_id": ANN.project_id}]
        )
        ids |= {"router": router.id, "spare": spare.id, "one": one.id, "two": two.id, "three": three.id}
        ids |= {"free": free.id, "pinned": pinned.id}
        (forwarding,) = await port_forwardings.create(cloud, ANN, [self.forward("two", "pinned")])
        ids["forwarding"] = forwarding.id
        await self.town.settled()

    def forward(self, floating: str, port: str) -> dict[str, Any]:
        """Return what is asked for of a port forwarding."""
        asked = {"floating_id": self.ids[floating], "port_id": self.ids[port], "protocol": "tcp"}
        return {**asked, "external_port": 80, "internal_port": 80}

    def read(self, fn: Callable[[Connection], Any]) -> Any:
        return self.town.db.read_now(fn)

    def floating(self, name: str) -> Any:
        return self.read(lambda conn: floating_rows.get(conn, self.ids[name]))

    def router(self, name: str) -> Any:
        return self.read(lambda conn: router_rows.get(conn, self.ids[name]))

    def port(self, name: str) -> Any:
        return self.read(lambda conn: port_rows.get(conn, self.ids[name]))

    def joined(self, name: str) -> bool:
        legs = self.read(lambda conn: router_rows.interfaces(conn, [self.ids[name]]))
        return any(leg.subnet_id == self.ids["subnet"] for leg in legs)

    def topology(self) -> Any:
        return self.read(lambda conn: topologies.get(conn, BOB.project_id or ""))

    def count(self, rows: Any) -> int:
        return len(self.read(lambda conn: rows.find(conn, None, Listing())))

    def servers(self) -> int:
        return len(self.read(lambda conn: conn.execute(server_rows.servers.select()).all()))

    def violations(self) -> list[Any]:
        """Hold the hosts against the rows by a way of the simulation's own."""
        planes = {name: plane.applied for name, plane in self.town.planes.items()}
        return [
            *dangling(planes),
            *self.read(lambda conn: [*misrouted(conn, planes), *misplugged(conn, planes)]),
        ]


Do = Callable[[Place], Awaitable[Any]]


@dataclass(frozen=True)
class Deed:
    """Something that is asked for, and whether it is done; `before` makes it possible, `again` asks once more."""

    do: Do
    done: Callable[[Place], bool]
    before: Do | None = None
    again: bool = True


async def _server_of_bob(place: Place) -> None:
    new = NewServer(name="a", flavor_id="0", image_id=IMAGE, networks="auto")
    await servers.create(place.town.cloud, BOB, new)


async def _broken(place: Place) -> None:
    """Have something amiss that a repair mends in several writes."""
    ids = place.ids

    def spoil(conn: Connection) -> None:
        floating_rows.update(conn, ids["one"], {"router_id": ids["spare"]}, place.town.clock.now())
        subnet_rows.update(conn, ids["subnet"], {"pool_id": None}, place.town.clock.now())

    await place.town.db.write(spoil)
    gate = place.read(lambda conn: router_rows.port_of(conn, ids["spare"], "network:router_gateway"))
    assert gate == []


async def _at_once(_seconds: float) -> None:
    return None


def _of(call: Callable[..., Awaitable[Any]], *names: str, who: Context = ANN, **asked: Any) -> Do:
    """Return what calls a function of the cloud, with the ids of what is named; `asked` may name ids, too."""

    async def do(place: Place) -> None:
        given = {key: place.ids.get(value, value) if isinstance(value, str) else value for key, value in asked.items()}
        await call(place.town.cloud, who, *(place.ids[name] for name in names), *([given] if given else []))

    return do


DEEDS = {
    "a topology is allocated": Deed(
        lambda place: auto_allocated.show(place.town.cloud, BOB, None),
        lambda place: place.topology() is not None and place.count(router_rows) == 3,
    ),
    "a topology is given back": Deed(
        lambda place: auto_allocated.delete(place.town.cloud, BOB, None),
        lambda place: place.topology() is None and place.count(router_rows) == 2,
        before=lambda place: auto_allocated.show(place.town.cloud, BOB, None),
    ),
    "a server is given a topology": Deed(
        _server_of_bob,
        lambda place: place.topology() is not None and place.servers() == 2,
        again=False,
    ),
    "a router is made with its way out": Deed(
        lambda place: routers.create(place.town.cloud, ANN, [{"gateway": Gateway(network_id=place.ids["public"])}]),
        lambda place: place.count(router_rows) == 3,
        again=False,
    ),
    "a router leads out elsewhere": Deed(
        lambda place: routers.update(
            place.town.cloud, ANN, place.ids["spare"], {"gateway": Gateway(network_id=place.ids["other"])}
        ),
        lambda place: place.router("spare").gateway_network_id == place.ids["other"],
        before=lambda place: routers.update(
            place.town.cloud, ANN, place.ids["spare"], {"gateway": Gateway(network_id=place.ids["public"])}
        ),
    ),
    "a router is given a route": Deed(
        lambda place: routers.add_routes(
            place.town.cloud,
            ANN,
            place.ids["router"],
            {"routes": [("192.0.2.0/24", f"{place.ids['fixed'].rpartition('.')[0]}.200")]},
        ),
        lambda place: len(place.router("router").routes) == 1,
    ),
    "a router is out of service": Deed(
        _of(routers.update, "router", up=False), lambda place: not place.router("router").up
    ),
    "a router is deleted": Deed(_of(routers.delete, "spare"), lambda place: place.router("spare") is None),
    "a floating IP is made and leads to a server": Deed(
        lambda place: floating_ips.create(
            place.town.cloud, ANN, [{"network_id": place.ids["public"], "port_id": place.ids["free"]}]
        ),
        lambda place: place.count(floating_rows) == 4,
        again=False,
    ),
    "a floating IP leads nowhere": Deed(
        _of(floating_ips.update, "one", port_id=None), lambda place: place.floating("one").port_id is None
    ),
    "a floating IP leads elsewhere": Deed(
        _of(floating_ips.update, "one", port_id="pinned"),
        lambda place: place.floating("one").port_id == place.ids["pinned"],
        before=lambda place: port_forwardings.delete(
            place.town.cloud, ANN, (place.ids["two"], place.ids["forwarding"])
        ),
    ),
    "a floating IP is deleted": Deed(_of(floating_ips.delete, "one"), lambda place: place.floating("one") is None),
    "a port is forwarded": Deed(
        lambda place: port_forwardings.create(place.town.cloud, ANN, [place.forward("three", "pinned")]),
        lambda place: place.floating("three").router_id == place.ids["router"],
        before=lambda place: port_forwardings.delete(
            place.town.cloud, ANN, (place.ids["two"], place.ids["forwarding"])
        ),
    ),
    "a port is forwarded no more": Deed(
        lambda place: port_forwardings.delete(place.town.cloud, ANN, (place.ids["two"], place.ids["forwarding"])),
        lambda place: place.count(forwarding_rows) == 0 and place.floating("two").router_id is None,
    ),
    "a port that is forwarded to goes": Deed(
        _of(ports.delete, "pinned"),
        lambda place: place.port("pinned") is None and place.floating("two").router_id is None,
    ),
    "a port is bound to another host": Deed(
        _of(ports.update, "pinned", who=ROOT, host="h1"), lambda place: place.port("pinned").host == "h1"
    ),
    "an address is taken from a server": Deed(
        lambda place: server_addresses.remove_fixed(place.town.cloud, ANN, place.ids["server"], place.ids["fixed"]),
        lambda place: place.port("port").fixed_ips == (),
        before=_of(floating_ips.update, "one", port_id=None),
    ),
    "a server that is led to is deleted": Deed(
        _of(servers.delete, "server"),
        lambda place: place.floating("one").router_id is None and not place.town.machines["h1"].guests,
    ),
    "what is amiss of floating IPs is mended": Deed(
        lambda place: audit_repair.repair(place.town.cloud, _at_once),
        lambda place: place.floating("one").router_id == place.ids["router"],
        before=_broken,
    ),
}
BY_AND_BY = {"a server that is led to is deleted", "what is amiss of floating IPs is mended"}
"""What is done in several writes: at the end it is, wherever it stopped."""


@pytest.mark.parametrize("what", [BEFORE, IN, AFTER, TWICE])
@pytest.mark.parametrize("name", DEEDS)
async def test_whatever_strikes_a_write_all_is_in_order_afterwards(
    new_town: Callable[[], Town], name: str, what: str
) -> None:
    for at in range(1, 20):
        if not await struck(new_town(), DEEDS[name], what, at, by_and_by=name in BY_AND_BY):
            assert at > 1, "it writes nothing"
            return
    raise AssertionError("writes without end")


async def struck(town: Town, deed: Deed, what: str, at: int, *, by_and_by: bool) -> bool:
    """Do something with a database that is struck at a write; say whether there was such a write."""
    place, sound = Place(town), town.db
    doomed: Any = Doomed(sound, what, at)
    try:
        town.db = doomed
        await town.boot()
        await place.build()
        if deed.before is not None:
            await deed.before(place)
            await town.idle()
        doomed.armed = True
        asked = asyncio.ensure_future(deed.do(place))
        await _ended(town, doomed, asked)
        if doomed.struck.is_set() and what != TWICE:
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            await town.lose_process()
            town.db = sound
            await town.boot()
        doomed.armed = False
        if not by_and_by:
            assert deed.done(place) == (at > 1 or what not in {BEFORE, IN})
        if deed.again or (by_and_by and not deed.done(place)):
            with contextlib.suppress(FloeError):
                await deed.do(place)
        await town.settled()
        await until(lambda: not place.violations())
        assert not deed.again or deed.done(place)
        return doomed.struck.is_set()
    finally:
        town.db = sound
        await town.close()


async def _ended(town: Town, doomed: Doomed, asked: asyncio.Future[Any]) -> None:
    """Wait until all is done, or somebody is dead."""

    async def settled() -> None:
        await asked
        await town.settled()

    waits = [asyncio.ensure_future(settled()), asyncio.ensure_future(doomed.struck.wait())]
    if doomed.what == TWICE:
        waits.pop().cancel()
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
