"""Routers, floating IPs and subnet pools that many writers change at once: no two have what one alone may have."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from tests.contract.store.conftest import raced

from floe.cloud import floating_ips, networks, ports, router_interfaces, routers, subnetpools, subnets
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import FloeError, NotFound
from floe.core.listing import Listing
from floe.core.routers import Gateway
from floe.store import floating_ips as floating_rows
from floe.store import ports as port_rows
from floe.store import quotas
from floe.store import routers as router_rows

A = "a" * 32
ANN = Context(request_id="", user_id="ann", project_id=A, roles=frozenset({"member", "reader"}))
ROOT = Context(request_id="", user_id="root", project_id=A, roles=frozenset({"member", "reader", "admin"}))


async def external(cloud: Cloud, last: str = "203.0.113.254") -> str:
    """Make an external network with addresses from .2 up to one; return its id."""
    (network,) = await networks.create(cloud, ROOT, [{"name": "public", "external": True}])
    pools = [("203.0.113.2", last)]
    asked = {"network_id": network.id, "cidr": "203.0.113.0/24", "pools": pools, "dhcp": False}
    await subnets.create(cloud, ROOT, [asked])
    return network.id


async def subnet(cloud: Cloud, cidr: str = "10.0.0.0/24") -> Any:
    """Make a network of one subnet; return that."""
    (network,) = await networks.create(cloud, ANN, [{"name": "n"}])
    (made,) = await subnets.create(cloud, ANN, [{"network_id": network.id, "cidr": cidr}])
    return made


async def router(cloud: Cloud, gateway: str | None = None) -> str:
    """Make a router; return its id."""
    asked = {"gateway": None if gateway is None else Gateway(network_id=gateway)}
    (made,) = await routers.create(cloud, ANN, [asked])
    return made.id


async def test_one_floating_address_that_all_want_and_the_last_of_the_outside(both: list[Cloud]) -> None:
    network_id = await external(both[0], "203.0.113.6")
    one = {"network_id": network_id, "address": "203.0.113.4"}
    won = await raced([floating_ips.create(both[n % 2], ROOT, [one]) for n in range(12)], FloeError)
    assert len(won) == 1
    any_, gateway = {"network_id": network_id}, {"gateway": Gateway(network_id=network_id)}
    tries: list[Awaitable[Any]] = [floating_ips.create(both[n % 2], ANN, [any_]) for n in range(8)]
    tries += [routers.create(both[n % 2], ANN, [gateway]) for n in range(8)]
    found = [each for (each,) in await raced(tries, FloeError)]
    held = [each.address if hasattr(each, "address") else each.gateway_ips[0][1] for each in found]
    assert sorted(held) == ["203.0.113.2", "203.0.113.3", "203.0.113.5", "203.0.113.6"]


async def test_one_port_that_all_floating_ips_want(both: list[Cloud]) -> None:
    network_id, below = await external(both[0]), await subnet(both[0])
    router_id = await router(both[0], network_id)
    await router_interfaces.add(both[0], ANN, router_id, {"subnet_id": below.id})
    (port,) = await ports.create(both[0], ANN, [{"network_id": below.network_id}])
    floating = await floating_ips.create(both[0], ANN, [{"network_id": network_id} for _ in range(6)])
    tries: list[Awaitable[Any]] = [
        floating_ips.update(both[n % 2], ANN, each.id, {"port_id": port.id}) for n, each in enumerate(floating)
    ]
    tries += [floating_ips.create(both[n % 2], ANN, [{"network_id": network_id, "port_id": port.id}]) for n in range(6)]
    assert len(await raced(tries, FloeError)) == 1
    leading = await both[0].db.read(lambda conn: floating_rows.of_ports(conn, [port.id]))
    assert [each.router_id for each in leading] == [router_id]


async def test_one_subnet_that_a_router_is_joined_to_in_every_way_at_once(both: list[Cloud]) -> None:
    router_id, below = await router(both[0]), await subnet(both[0])
    asked = [{"network_id": below.network_id} for _ in range(4)]
    own = await ports.create(both[0], ANN, asked)
    tries = [router_interfaces.add(both[n % 2], ANN, router_id, {"subnet_id": below.id}) for n in range(8)]
    tries += [router_interfaces.add(both[n % 2], ANN, router_id, {"port_id": port.id}) for n, port in enumerate(own)]
    assert len(await raced(tries, FloeError)) == 1
    assert len(await both[0].db.read(lambda conn: router_rows.interfaces(conn, [router_id]))) == 1


async def test_subnets_that_overlap_are_not_joined_by_one_router(both: list[Cloud]) -> None:
    router_id = await router(both[0])
    there = [await subnet(both[0], cidr) for cidr in ("10.0.0.0/24", "10.0.0.128/25", "10.0.0.0/16", "10.0.0.64/26")]
    tries = [router_interfaces.add(both[n % 2], ANN, router_id, {"subnet_id": each.id}) for n, each in enumerate(there)]
    assert len(await raced(tries, FloeError)) == 1


async def test_one_gateway_address_that_routers_want(both: list[Cloud]) -> None:
    below = await subnet(both[0])
    ids = [await router(both[0]) for _ in range(6)]
    tries: list[Awaitable[Any]] = [
        router_interfaces.add(both[n % 2], ANN, ident, {"subnet_id": below.id}) for n, ident in enumerate(ids)
    ]
    port = {"network_id": below.network_id, "fixed_ips": [(below.id, below.gateway)]}
    tries += [ports.create(both[n % 2], ANN, [port]) for n in range(6)]
    assert len(await raced(tries, FloeError)) == 1


async def test_a_router_is_deleted_or_joined_and_never_both(both: list[Cloud]) -> None:
    there = [await subnet(both[0]) for _ in range(4)]
    for _ in range(4):
        router_id = await router(both[0])
        tries: list[Awaitable[Any]] = [
            router_interfaces.add(both[n % 2], ANN, router_id, {"subnet_id": each.id}) for n, each in enumerate(there)
        ]
        tries.insert(1, routers.delete(both[1], ANN, router_id))
        await raced(tries, FloeError)
        left = await both[0].db.read(lambda conn, ident=router_id: router_rows.interfaces(conn, [ident]))
        try:
            await routers.show(both[0], ANN, router_id)
        except NotFound:
            assert left == []
        for each in left:
            await router_interfaces.remove(both[0], ANN, router_id, {"port_id": each.port_id})


async def test_a_gateway_is_closed_or_a_floating_ip_comes_in_by_it(both: list[Cloud]) -> None:
    network_id, below = await external(both[0]), await subnet(both[0])
    router_id = await router(both[0], network_id)
    await router_interfaces.add(both[0], ANN, router_id, {"subnet_id": below.id})
    made = await ports.create(both[0], ANN, [{"network_id": below.network_id} for _ in range(4)])
    tries: list[Awaitable[Any]] = [
        floating_ips.create(both[n % 2], ANN, [{"network_id": network_id, "port_id": port.id}])
        for n, port in enumerate(made)
    ]
    tries.insert(1, routers.update(both[1], ANN, router_id, {"gateway": None}))
    tries.insert(3, router_interfaces.remove(both[0], ANN, router_id, {"subnet_id": below.id}))
    tries.append(ports.delete(both[0], ANN, made[0].id))
    await raced(tries, FloeError)
    shown = await routers.show(both[0], ANN, router_id)
    leading = await both[0].db.read(lambda conn: floating_rows.of_routers(conn, [router_id]))
    assert shown.gateway_network_id == network_id or not leading


async def test_the_last_of_the_quotas_of_routers_and_floating_ips(both: list[Cloud]) -> None:
    await both[0].db.write(lambda conn: quotas.put(conn, A, {"router": 3, "floatingip": 2}))
    network_id = await external(both[0])
    made = await raced([routers.create(both[n % 2], ANN, [{}]) for n in range(12)], FloeError)
    assert len(made) == 3
    tries = [floating_ips.create(both[n % 2], ANN, [{"network_id": network_id}]) for n in range(12)]
    assert len(await raced(tries, FloeError)) == 2


async def test_what_a_pool_has_is_given_once(both: list[Cloud]) -> None:
    (pool,) = await subnetpools.create(both[0], ROOT, [{"prefixes": ["10.8.0.0/24"], "default_length": 26}])
    there = [(await networks.create(both[0], ROOT, [{"name": f"n{n}"}]))[0].id for n in range(10)]
    tries: list[Awaitable[Any]] = [
        subnets.create(both[n % 2], ROOT, [{"network_id": ident, "pool_id": pool.id}]) for n, ident in enumerate(there)
    ]
    tries.insert(2, subnetpools.delete(both[1], ROOT, pool.id))
    got = [made[0].cidr for made in await raced(tries, FloeError) if made]
    assert len(got) == len(set(got)) <= 4
    left = await subnetpools.find(both[0], ROOT, Listing())
    assert [each.id for each in left] == ([pool.id] if got else [])


async def test_one_default_of_what_there_is_one_default_of(both: list[Cloud]) -> None:
    made = await raced(
        [networks.create(both[n % 2], ROOT, [{"external": True, "default": True}]) for n in range(6)], FloeError
    )
    assert len(made) == 1
    pool = {"prefixes": ["10.8.0.0/24"], "default": True}
    assert len(await raced([subnetpools.create(both[n % 2], ROOT, [pool]) for n in range(6)], FloeError)) == 1


async def test_what_a_floating_ip_led_to_and_both_go_at_once(both: list[Cloud]) -> None:
    network_id, below = await external(both[0]), await subnet(both[0])
    router_id = await router(both[0], network_id)
    await router_interfaces.add(both[0], ANN, router_id, {"subnet_id": below.id})
    for _ in range(3):
        (port,) = await ports.create(both[0], ANN, [{"network_id": below.network_id}])
        (floating,) = await floating_ips.create(both[0], ANN, [{"network_id": network_id, "port_id": port.id}])
        tries = [
            ports.delete(both[0], ANN, port.id),
            floating_ips.delete(both[1], ANN, floating.id),
            floating_ips.delete(both[0], ANN, floating.id),
            ports.delete(both[1], ANN, port.id),
        ]
        assert len(await raced(tries, NotFound)) == 2
    left = await both[0].db.read(lambda conn: port_rows.find(conn, None, Listing()))
    assert sorted(each.device_owner for each in left) == [
        "network:dhcp", "network:router_gateway", "network:router_interface",
    ]  # fmt: skip
