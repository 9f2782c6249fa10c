"""What routers, floating IPs and port forwardings cost the database does not grow with how many a project has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
import sqlalchemy as sa

from floe.cloud.cloud import Cloud
from floe.core.listing import Listing
from floe.store import floating_ips, port_forwardings, routers
from floe.store.addresses import port_addresses
from floe.store.ports import ports

ANNS = "a" * 32
FEW, MANY = 100, 6000
_EVERY = 10
"""Steps of SQLite's machine that are counted at once."""

pytestmark = [pytest.mark.sqlite("it counts the steps of SQLite's machine"), pytest.mark.once]


@pytest.fixture
def work() -> Iterator[Counter[str]]:
    """Count the steps that SQLite takes."""
    done: Counter[str] = Counter()

    def step() -> int:
        done["steps"] += _EVERY
        return 0

    def watch(connection: Any, _record: Any) -> None:
        connection.set_progress_handler(step, _EVERY)

    sa.event.listen(sa.Engine, "connect", watch)
    yield done
    sa.event.remove(sa.Engine, "connect", watch)


def _like(conn: sa.Connection, table: sa.Table, ident: str, rows: list[dict[str, Any]]) -> None:
    """Add rows that are as one that is there but for what is given of each."""
    like = dict(conn.execute(sa.select(table).where(table.c.id == ident)).mappings().one())
    conn.execute(table.insert(), [{**like, **row} for row in rows])


class Crowd:
    """A project with a router, a floating IP to a port, one with a port forwarding, and more and more like them."""

    def __init__(self, cloud: Cloud, client: Any, make: Any) -> None:
        self.cloud, self.client, self.make = cloud, client, make
        self.there = 0

    async def begin(self) -> None:
        unlimited = dict.fromkeys(("router", "floatingip", "port", "network", "subnet"), -1)
        quota = {"quota": unlimited}
        assert (await self.client("root").put(f"/v2.0/quotas/{ANNS}", json=quota)).status_code == 200
        self.public = await self.make("root", "network", **{"router:external": True})
        self.outer = await self.make("root", "subnet", network_id=self.public["id"], cidr="10.64.0.0/12")
        self.inner = await self.make("ann", "network")
        self.subnet = await self.make("ann", "subnet", network_id=self.inner["id"], cidr="10.1.0.0/16")
        gateway = {"network_id": self.public["id"]}
        self.router = await self.make("ann", "router", external_gateway_info=gateway)
        await self.join(self.router, self.subnet)
        self.port = await self.make("ann", "port", network_id=self.inner["id"])
        self.floating = await self.floated(port_id=self.port["id"])
        self.above, self.behind = await self.floated(), await self.make("ann", "port", network_id=self.inner["id"])
        self.forwarding = await self.forward(1)

    async def floated(self, **fields: Any) -> Any:
        return await self.make("ann", "floatingip", floating_network_id=self.public["id"], **fields)

    async def join(self, router: Any, subnet: Any) -> None:
        path = f"/v2.0/routers/{router['id']}/add_router_interface"
        done(await self.client("ann").put(path, json={"subnet_id": subnet["id"]}))

    async def leave(self, router: Any, subnet: Any) -> None:
        path = f"/v2.0/routers/{router['id']}/remove_router_interface"
        done(await self.client("ann").put(path, json={"subnet_id": subnet["id"]}))

    async def forward(self, port: int) -> Any:
        body = {"protocol": "tcp", "external_port": port, "internal_port": port, "internal_port_id": self.behind["id"]}
        path = f"/v2.0/floatingips/{self.above['id']}/port_forwardings"
        reply = await self.client("ann").post(path, json={"port_forwarding": body})
        assert reply.status_code == 201, reply.text
        return reply.json()["port_forwarding"]

    async def grow(self, many: int) -> None:
        numbers = range(self.there, many)
        self.there = many

        def add(conn: sa.Connection) -> None:
            own = [{"id": f"own-{n}", "mac": f"o{n}", "device_id": f"f-{n}"} for n in numbers]
            (held,) = conn.execute(
                sa.select(floating_ips.floating_ips.c.own_port_id).where(
                    floating_ips.floating_ips.c.id == self.floating["id"]
                )
            ).one()
            _like(conn, ports, held, own)
            inner = [{"id": f"in-{n}", "mac": f"i{n}", "device_id": ""} for n in numbers]
            _like(conn, ports, self.port["id"], inner)
            first = int(IPv4Address("10.70.0.0"))
            outer = {"network_id": self.public["id"], "subnet_id": self.outer["id"]}
            conn.execute(
                port_addresses.insert(), [{**outer, "port_id": f"own-{n}", "address": first + n} for n in numbers]
            )
            named = [{"id": f"r-{n}", "name": f"r{n}", "description": f"d{n}"} for n in numbers]
            _like(conn, routers.routers, self.router["id"], named)
            led = [
                {
                    "id": f"f-{n}", "own_port_id": f"own-{n}", "address": str(IPv4Address(first + n)),
                    "port_id": f"in-{n}", "fixed_address": f"x{n}", "description": f"d{n}",
                    "router_id": self.router["id"],
                }
                for n in numbers
            ]  # fmt: skip
            _like(conn, floating_ips.floating_ips, self.floating["id"], led)
            # Each floating IP that leads nowhere may have its own.
            lone = [
                {
                    "id": f"a-{n}", "own_port_id": f"own2-{n}", "address": str(IPv4Address(first + 10000 + n)),
                    "port_id": None, "fixed_address": None,
                }
                for n in numbers
            ]  # fmt: skip
            _like(conn, ports, held, [{"id": f"own2-{n}", "mac": f"p{n}", "device_id": f"a-{n}"} for n in numbers])
            _like(conn, floating_ips.floating_ips, self.above["id"], lone)
            conn.execute(
                port_addresses.insert(),
                [{**outer, "port_id": f"own2-{n}", "address": first + 10000 + n} for n in numbers],
            )
            forwarded = [{"id": f"pf-{n}", "floating_id": f"a-{n}", "port_id": f"in-{n}"} for n in numbers]
            _like(conn, port_forwardings.port_forwardings, self.forwarding["id"], forwarded)

        await self.cloud.db.write(add)


@pytest.fixture
async def crowd(work: Counter[str], cloud: Cloud, client: Any, make: Any) -> Crowd:
    made = Crowd(cloud, client, make)
    await made.begin()
    return made


class Deeds:
    """What is done once with few and once with many, each deed with what the one before it made."""

    def __init__(self, crowd: Crowd, network: int) -> None:
        self.crowd, self.ann, self.network = crowd, crowd.client("ann"), network

    async def floating(self) -> None:
        self.made = await self.crowd.floated()

    async def lead(self) -> None:
        port = {"port_id": self.port["id"]}
        done(await self.ann.put(f"/v2.0/floatingips/{self.made['id']}", json={"floatingip": port}))

    async def give_back(self) -> None:
        done(await self.ann.delete(f"/v2.0/floatingips/{self.made['id']}"))

    async def forward(self) -> None:
        self.forwarded = await self.crowd.forward(1000 + self.network)

    async def forward_no_more(self) -> None:
        above = self.crowd.above["id"]
        done(await self.ann.delete(f"/v2.0/floatingips/{above}/port_forwardings/{self.forwarded['id']}"))

    async def router(self) -> None:
        gateway = {"network_id": self.crowd.public["id"]}
        self.way = await self.crowd.make("ann", "router", external_gateway_info=gateway)

    async def join(self) -> None:
        await self.crowd.join(self.way, self.subnet)

    async def leave(self) -> None:
        await self.crowd.leave(self.way, self.subnet)

    async def delete(self) -> None:
        done(await self.ann.delete(f"/v2.0/routers/{self.way['id']}"))

    async def costs(self, work: Counter[str]) -> dict[str, int]:
        """Do it all; return the steps of each."""
        self.port = await self.crowd.make("ann", "port", network_id=self.crowd.inner["id"])
        below = await self.crowd.make("ann", "network")
        cidr = f"10.{100 + self.network}.0.0/24"
        self.subnet = await self.crowd.make("ann", "subnet", network_id=below["id"], cidr=cidr)
        found = {}
        for deed in (
            self.floating, self.lead, self.give_back, self.forward, self.forward_no_more, self.router, self.join,
            self.leave, self.delete,
        ):  # fmt: skip
            before = work["steps"]
            await deed()
            found[deed.__name__] = work["steps"] - before
        return found


def done(reply: Any) -> None:
    assert reply.status_code in {200, 204}, reply.text


async def test_what_is_done_with_one_costs_as_much_among_many_as_among_few(work: Counter[str], crowd: Crowd) -> None:
    await crowd.grow(FEW)
    few = await Deeds(crowd, 1).costs(work)
    await crowd.grow(MANY)
    many = await Deeds(crowd, 2).costs(work)
    assert all(0 < many[name] < 2 * few[name] + 200 for name in few), (few, many)


async def test_an_interface_goes_at_the_cost_of_its_subnet_and_not_of_all_that_the_router_carries(
    work: Counter[str], crowd: Crowd
) -> None:
    """Of a router with thousands of floating IPs and port forwardings, for a subnet that none of them leads to."""
    below = await crowd.make("ann", "network")
    subnet = await crowd.make("ann", "subnet", network_id=below["id"], cidr="10.101.0.0/24")

    async def cost() -> int:
        await crowd.join(crowd.router, subnet)
        before = work["steps"]
        found = await crowd.cloud.db.write(
            lambda conn: floating_ips.leads_within(conn, crowd.router["id"], subnet["id"])
        )
        assert not found
        asked = work["steps"] - before
        await crowd.leave(crowd.router, subnet)
        return asked

    await crowd.grow(FEW)
    few = await cost()
    await crowd.grow(MANY)
    assert await cost() < 2 * few + 200
    inner = {"id": crowd.subnet["id"]}
    path = f"/v2.0/routers/{crowd.router['id']}/remove_router_interface"
    reply = await crowd.client("ann").put(path, json={"subnet_id": inner["id"]})
    assert reply.json()["NeutronError"]["type"] == "RouterInterfaceInUseByFloatingIP"


async def test_one_of_many_is_found_by_its_id_and_forwardings_by_their_floating_ip(
    work: Counter[str], crowd: Crowd
) -> None:
    asked = [
        (floating_ips, {"id": [crowd.floating["id"]]}),
        (routers, {"id": ["r-5"]}),
        (port_forwardings, {"floating_id": [crowd.above["id"]]}),
    ]

    async def costs() -> list[int]:
        found = []
        for module, filters in asked:
            before = work["steps"]
            listing = Listing(filters=filters, limit=1000)
            listed = await crowd.cloud.db.write(lambda conn, m=module, how=listing: m.find(conn, ANNS, how))
            assert len(listed) == 1
            found.append(work["steps"] - before)
        return found

    await crowd.grow(FEW)
    few = await costs()
    await crowd.grow(MANY)
    many = await costs()
    assert all(0 < after < 2 * before + 200 for before, after in zip(few, many, strict=True)), (few, many)
