"""The last of something, raced for by eight writers of two processes: as many have it as there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace
from tests.contract.store.conftest import raced

from floe.bus import keys
from floe.cloud import host_keys, networks, ports, subnets
from floe.cloud.cloud import Cloud, CloudSettings
from floe.cloud.host_keys import Redeemed
from floe.core.actions import RUNNING, Action
from floe.core.context import Context
from floe.core.errors import Conflict, FloeError, Unauthenticated
from floe.core.host_keys import HostKey, signed_words
from floe.core.hosts import Allocation, Host
from floe.core.resources import Inventory, Resources
from floe.core.server_groups import ServerGroup
from floe.store import actions, allocations, hosts, quota_usages, quotas
from floe.store.engine import Connection, Isolation
from floe.store.postgres import RERUN

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ANN = Context(request_id="", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))


async def test_the_last_of_a_quota(two: list[Cloud]) -> None:
    await two[0].db.write(lambda conn: quotas.put(conn, "a" * 32, {"network": 5}))
    made = await raced([networks.create(two[n % 2], ANN, [{"name": f"n{n}"}]) for n in range(24)], FloeError)
    assert len(made) == 5
    count = await two[0].db.read(lambda conn: quota_usages.of(conn, "a" * 32))
    assert count["network"] == 5
    (removed, *_), *_ = made
    await raced([networks.delete(two[n % 2], ANN, removed.id) for n in range(8)], FloeError)
    again = await raced([networks.create(two[n % 2], ANN, [{"name": f"m{n}"}]) for n in range(8)], FloeError)
    assert len(again) == 1


async def test_one_address_that_all_want_and_the_last_of_a_pool(two: list[Cloud]) -> None:
    ((network),) = await networks.create(two[0], ANN, [{"name": "n"}])
    pool = [("10.0.0.6", "10.0.0.12")]
    (subnet,) = await subnets.create(two[0], ANN, [{"network_id": network.id, "cidr": "10.0.0.0/24", "pools": pool}])
    one = {"network_id": network.id, "fixed_ips": [(subnet.id, "10.0.0.7")]}
    assert len(await raced([ports.create(two[n % 2], ANN, [one]) for n in range(16)], FloeError)) == 1
    any_ = {"network_id": network.id}
    made = await raced([ports.create(two[n % 2], ANN, [any_]) for n in range(16)], FloeError)
    found = [address for (port,) in made for _, address in port.fixed_ips]
    assert len(found) == len(set(found)) == 5


async def test_one_token_that_all_want_to_redeem_and_one_key_that_wants_all_names(two: list[Cloud]) -> None:
    two = [replace(cloud, settings=CloudSettings(host_bus="nats://h:1", login_attempts=0)) for cloud in two]

    def tries(host: str, token: str, *seeds: str) -> list[Awaitable[HostKey]]:
        words = signed_words(host, token)
        said = [(keys.public_key(seed), keys.sign(seed, words)) for seed in seeds]
        return [
            host_keys.redeem(
                two[n % 2], Redeemed(host=host, token=token, public_key=key, signature=signature), f"10.0.0.{n}"
            )
            for n, (key, signature) in enumerate(said)
        ]

    token, _ = await host_keys.create_token(two[0], "h1", new_key=False)
    seeds = [keys.new_seed() for _ in range(16)]
    (won,) = await raced(tries("h1", token, *seeds), Conflict)
    assert [key.public_key for key in await host_keys.bound(two[1])] == [won.public_key]
    tokens = {f"k{n}": (await host_keys.create_token(two[n % 2], f"k{n}", new_key=False))[0] for n in range(12)}
    seed = keys.new_seed()
    (one,) = await raced([each for host, token in tokens.items() for each in tries(host, token, seed)], Conflict)
    assert {key.host for key in await host_keys.bound(two[0])} == {"h1", one.host}
    # Tokens of one name, made at once: the last one is good, none of the others.
    made = await asyncio.gather(*(host_keys.create_token(two[n % 2], "m", new_key=False) for n in range(8)))
    redeemed = await raced([each for token, _ in made for each in tries("m", token, keys.new_seed())], Unauthenticated)
    assert len(redeemed) == 1


def a_host(name: str, vcpus: int) -> Host:
    inventories = (
        Inventory(resource_class="VCPU", total=vcpus),
        Inventory(resource_class="MEMORY_MB", total=100_000),
        Inventory(resource_class="DISK_GB", total=1000),
    )
    return Host(name=name, inventories=inventories, created_at=NOW, updated_at=NOW, started_at=NOW, last_seen=NOW)


@pytest.mark.parametrize("second", [0, 1])
async def test_what_two_conductors_heard_of_a_host_is_written_once(two: list[Cloud], second: int) -> None:
    names, fresh = [f"h{number}" for number in range(300)], timedelta(seconds=12)
    await two[0].db.write(lambda conn: [hosts.put(conn, a_host(name, 5)) for name in names])

    async def hear(cloud: Cloud, seconds: float) -> set[datetime]:
        times = {name: NOW + timedelta(seconds=seconds, milliseconds=index) for index, name in enumerate(names)}
        await cloud.db.write(lambda conn: hosts.seen(conn, times, fresh), Isolation.READ_COMMITTED)
        return {host.last_seen - NOW for host in await cloud.db.read(hosts.every)}

    assert await hear(two[0], 20) == {timedelta(seconds=20)}
    assert await hear(two[second], 31) == {timedelta(seconds=20)}
    assert await hear(two[second], 33) == {timedelta(seconds=33)}
    await asyncio.gather(*(hear(two[n % 2], 50 + n) for n in range(8)))
    assert len(await hear(two[0], 50)) == 1


async def test_a_host_that_said_that_it_stops_is_not_connected_by_what_was_heard_before(two: list[Cloud]) -> None:
    stopped = NOW + timedelta(seconds=30)

    def stop(conn: Connection) -> None:
        hosts.put(conn, a_host("h1", 5))
        hosts.change(conn, "h1", stopped, connected=False)

    async def connected_after(seconds: float) -> bool:
        times = {"h1": stopped + timedelta(seconds=seconds)}
        await two[1].db.write(lambda conn: hosts.seen(conn, times, timedelta(seconds=12)), Isolation.READ_COMMITTED)
        (host,) = await two[0].db.read(hosts.every)
        return host.connected

    await two[0].db.write(stop)
    assert [await connected_after(seconds) for seconds in (-9, 0, 2, -3)] == [False, False, True, True]


def claim(server: str, host: str, group: ServerGroup | None = None) -> Any:
    """Return what claims one CPU of a host for a server."""
    wanted = Allocation(
        server_id=server,
        host=host,
        project_id=f"project of {server}",
        user_id="u",
        resources=Resources(1, 10, 1),
        group_id=group and group.id,
        created_at=NOW,
    )
    return lambda conn: allocations.claim(conn, wanted, group=group)


async def test_the_last_of_a_host(two: list[Cloud]) -> None:
    await two[0].db.write(lambda conn: [hosts.put(conn, a_host(name, 5)) for name in ("h1", "h2")])
    tries = [two[n % 2].db.write(claim(f"s{n}", f"h{n % 3 % 2 + 1}")) for n in range(32)]
    assert len(await raced(tries, allocations.NotClaimed)) == 10
    for name in ("h1", "h2"):
        host: Any = await two[0].db.read(lambda conn, name=name: hosts.get(conn, name))
        assert host.used == Resources(5, 50, 5)
    await asyncio.gather(
        *(two[n % 2].db.write(lambda conn, n=n: allocations.release(conn, f"s{n}", NOW)) for n in range(32))
    )
    for name in ("h1", "h2"):
        host = await two[0].db.read(lambda conn, name=name: hosts.get(conn, name))
        assert host.used == Resources()


@pytest.mark.parametrize(("policy", "most", "placed"), [("anti-affinity", None, 2), ("anti-affinity", 2, 4)])
async def test_the_last_of_a_group_s_places(two: list[Cloud], policy: str, most: int | None, placed: int) -> None:
    group = ServerGroup(id="g", project_id="p", user_id="u", name="g", policy=policy, max_per_host=most, created_at=NOW)
    await two[0].db.write(lambda conn: [hosts.put(conn, a_host(name, 50)) for name in ("h1", "h2")])
    tries = [two[n % 2].db.write(claim(f"s{n}", f"h{n // 2 % 2 + 1}", group)) for n in range(16)]
    assert len(await raced(tries, allocations.NotClaimed)) == placed


async def test_servers_of_an_affinity_group_come_to_one_host(two: list[Cloud]) -> None:
    group = ServerGroup(
        id="g", project_id="p", user_id="u", name="g", policy="affinity", max_per_host=None, created_at=NOW
    )
    await two[0].db.write(lambda conn: [hosts.put(conn, a_host(name, 50)) for name in ("h1", "h2")])
    tries = [two[n % 2].db.write(claim(f"s{n}", f"h{n // 2 % 2 + 1}", group)) for n in range(16)]
    assert len(await raced(tries, allocations.NotClaimed)) == 8
    used = [await two[0].db.read(lambda conn, name=name: hosts.get(conn, name)) for name in ("h1", "h2")]
    assert sorted(host.used.vcpus for host in used if host) == [0, 8]


async def test_an_action_that_eight_would_take_is_one_s(two: list[Cloud]) -> None:
    action = Action(
        id="a1", kind="create", version=2, subject_id="s1", project_id="p", user_id="u", request_id="r", created_at=NOW
    )
    await two[0].db.write(lambda conn: actions.add(conn, action))

    def take(owner: int) -> Any:
        def write(conn: Connection) -> bool:
            return actions.take(conn, action, 0, f"c{owner}", RUNNING, NOW, NOW + timedelta(minutes=1))

        return write

    assert sum(await asyncio.gather(*(two[n % 2].db.write(take(n)) for n in range(16)))) == 1


async def test_claims_are_seldom_in_each_other_s_way(two: list[Cloud]) -> None:
    """With eight writers fewer than one in ten is run again, on a machine that lets them be at it together."""
    await two[0].db.write(lambda conn: [hosts.put(conn, a_host(f"h{n}", 50)) for n in range(300)])
    await two[0].db.write(lambda conn: [claim(f"first{n}", f"h{n}")(conn) for n in range(300)])
    seen = [0]
    for turn in range(4):  # in the first one each learns that it is not alone
        tries = [two[n % 2].db.write(claim(f"s{turn}-{n}", f"h{n * 37 % 300}")) for n in range(300)]
        assert len(await raced(tries, allocations.NotClaimed)) == 300
        seen.append(sum(cloud.counters.total(RERUN) for cloud in two))
    reruns = min(after - before for before, after in pairwise(seen[1:]))
    assert reruns < 30, f"{reruns} of 300 claims were run again"
