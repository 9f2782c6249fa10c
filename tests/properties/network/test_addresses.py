"""Addresses: never two alike, never outside a pool, never refused while one is free; under any order and any race."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.core import addresses as rules
from floe.core.clock import FixedClock
from floe.core.networks import Network
from floe.core.ports import Port
from floe.core.subnets import Subnet
from floe.store import addresses, networks, ports, subnets
from floe.store.engine import Database
from floe.store.schema import metadata

NOW = FixedClock().now()
FIRST = rules.number_of("10.0.0.2")


def create_tables(conn: sa.Connection) -> None:
    """Make the tables that addresses need."""
    needed = {"networks", "subnets", "ports", "port_addresses", "port_groups", "security_groups"}
    needed |= {"routers", "subnetpools", "address_scopes"}
    metadata.create_all(conn, tables=[metadata.tables[name] for name in sorted(needed)])


def prepare(conn: sa.Connection, cidr: str, pools: tuple[tuple[int, int], ...]) -> None:
    """Make the network `n` with the subnet `s`."""
    network = Network(id="n", project_id="p", mtu=1450, tag=1, created_at=NOW, updated_at=NOW)
    networks.insert(conn, network)
    subnets.insert(
        conn, Subnet(id="s", network_id="n", project_id="p", cidr=cidr, pools=pools, created_at=NOW, updated_at=NOW)
    )


def add_port(conn: sa.Connection, port_id: str) -> None:
    """Make a port without an address."""
    port = Port(id=port_id, network_id="n", project_id="p", mac=rules.mac_for(port_id), created_at=NOW, updated_at=NOW)
    assert ports.insert(conn, port)


POOLS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 6)), min_size=1, max_size=3, unique_by=lambda pool: pool[0] // 10
).map(lambda found: tuple((FIRST + start // 10 * 10, FIRST + start // 10 * 10 + size) for start, size in found))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("allocate"), st.just(0)),
        st.tuples(st.just("claim"), st.integers(0, 50)),
        st.tuples(st.just("release"), st.integers(0, 100)),
    ),
    max_size=60,
)


@given(pools=POOLS, steps=STEPS)
@settings(max_examples=100, deadline=None)
def test_an_address_is_free_in_a_pool_and_had_by_one(
    pools: tuple[tuple[int, int], ...], steps: list[tuple[str, int]]
) -> None:
    engine = sa.create_engine("sqlite://")
    inside = {address for start, end in pools for address in range(start, end + 1)}
    held: dict[str, int] = {}
    with engine.connect() as conn:
        create_tables(conn)
        prepare(conn, "10.0.0.0/24", pools)
        for index, (verb, value) in enumerate(steps):
            port_id = f"port-{index}"
            if verb == "release":
                if held:
                    gone = sorted(held)[value % len(held)]
                    addresses.release(conn, gone)
                    del held[gone]
                continue
            add_port(conn, port_id)
            free = inside - set(held.values())
            if verb == "allocate":
                got = addresses.allocate(conn, "n", "s", port_id, pools)
                assert (got in free) if free else (got is None)
                if got is not None:
                    held[port_id] = got
            else:
                wanted = FIRST + value
                lacking = wanted not in held.values()
                assert addresses.claim(conn, "n", "s", port_id, wanted) == lacking
                if lacking:
                    held[port_id] = wanted
        rows = conn.execute(sa.select(addresses.port_addresses.c.port_id, addresses.port_addresses.c.address))
        assert {row[0]: row[1] for row in rows} == held
    engine.dispose()


@given(prefix=st.integers(8, 32), base=st.integers(0, 2**24 - 1), where=st.integers(0, 2**24))
def test_default_pools_hold_every_host_but_the_gateway(prefix: int, base: int, where: int) -> None:
    cidr = IPv4Network(((10 << 24) | base, prefix), strict=False)
    first, last = rules.hosts_of(cidr)
    gateway = first + where % (last - first + 1)
    pools = rules.default_pools(cidr, gateway)
    assert sum(end - start + 1 for start, end in pools) == last - first
    rules.check_pools(cidr, pools, gateway)


def test_a_large_subnet_costs_no_more_than_a_small_one() -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as conn:
        create_tables(conn)
        pools = rules.default_pools(IPv4Network("10.0.0.0/8"), None)
        prepare(conn, "10.0.0.0/8", pools)
        ran: list[str] = []
        driver: Any = conn.connection.driver_connection
        driver.set_trace_callback(ran.append)
        for index in range(3):
            add_port(conn, f"p{index}")
        ran.clear()
        got = [addresses.allocate(conn, "n", "s", f"p{index}", pools) for index in range(3)]
        assert len({number for number in got if number is not None}) == 3
        assert len(ran) == 3
    engine.dispose()


def take(path: Path, worker: int, count: int) -> None:
    """Over a connection of its own: add ports one by one, each in a transaction."""
    db = Database(path)
    db.open()

    async def run() -> None:
        for index in range(count):
            port_id = f"w{worker}-{index}"

            def make(conn: sa.Connection, port_id: str = port_id) -> None:
                add_port(conn, port_id)
                assert addresses.allocate(conn, "n", "s", port_id, ((FIRST, FIRST + 999),)) is not None

            await db.write(make)

    asyncio.run(run())
    db.close()


def test_writers_that_race_on_one_file_never_share_an_address(tmp_path: Path) -> None:
    path, workers, count = tmp_path / "floe.db", 4, 25
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        create_tables(conn)
        prepare(conn, "10.0.0.0/16", ((FIRST, FIRST + 999),))
    first = Database(path)
    first.open()  # who opens it first changes how it is written, and has it alone for that
    first.close()
    with ThreadPoolExecutor(workers) as pool:
        for done in [pool.submit(take, path, worker, count) for worker in range(workers)]:
            done.result()
    with engine.connect() as conn:
        rows = conn.execute(sa.select(addresses.port_addresses.c.address)).scalars().all()
    engine.dispose()
    assert len(set(rows)) == len(rows) == workers * count
    assert set(rows) <= set(range(FIRST, FIRST + 1000))


def test_who_loses_an_address_to_another_takes_one_that_is_left() -> None:
    engine = sa.create_engine("sqlite://")
    pools = ((FIRST, FIRST + 1),)
    with engine.connect() as conn:
        create_tables(conn)
        prepare(conn, "10.0.0.0/24", pools)
        for name in ("a", "b", "c"):
            add_port(conn, name)
        assert addresses.claim(conn, "n", "s", "a", FIRST)
        assert not addresses.claim(conn, "n", "s", "b", FIRST)
        assert addresses.allocate(conn, "n", "s", "b", pools) == FIRST + 1
        assert addresses.allocate(conn, "n", "s", "c", pools) is None
    engine.dispose()


@given(
    pools=st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=4).map(
        lambda found: tuple(
            (100 * index + first, 100 * index + first + more) for index, (first, more) in enumerate(found)
        )
    ),
    seed=st.text(max_size=8),
)
def test_candidates_are_of_the_pools_and_the_same_for_the_same_port(pools: tuple[rules.Pool, ...], seed: str) -> None:
    found = list(rules.candidates(seed, pools, 8))
    assert len(found) == (8 if pools else 0)
    assert all(any(first <= number <= last for first, last in pools) for number in found)
    assert found == list(rules.candidates(seed, pools, 8))


def test_ports_made_at_the_same_time_seldom_want_the_same_address() -> None:
    pools = rules.default_pools(IPv4Network("10.0.0.0/16"), None)
    firsts = [next(rules.candidates(f"port {index}", pools, 8)) for index in range(1000)]
    assert len(set(firsts)) > 980
