"""Claims and releases in any order: never more taken than there is, never a sum that drifts, never a policy broken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from databases import LentDatabases, NewDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floe.core.hosts import Allocation, Host
from floe.core.resources import Inventory, Resources
from floe.core.server_groups import ServerGroup
from floe.store import allocations, audit, hosts
from floe.store.engine import Connection, Transactions
from floe.store.schema import create_all

NOW = datetime(2030, 1, 1, tzinfo=UTC)
NAMES = ("h1", "h2", "h3")


@pytest.fixture
def db(tmp_path: Path, new_database: NewDatabase) -> Iterator[Transactions]:
    made = new_database(tmp_path / "floe.db")
    made.open()
    yield made
    made.close()


def a_host(name: str) -> Host:
    return Host(
        name=name,
        inventories=(
            Inventory(resource_class="VCPU", total=4, allocation_ratio=2.0),
            Inventory(resource_class="MEMORY_MB", total=1000, reserved=100),
            Inventory(resource_class="DISK_GB", total=20),
        ),
        created_at=NOW,
        updated_at=NOW,
        started_at=NOW,
        last_seen=NOW,
    )


def a_group(ident: str, policy: str, max_per_host: int | None = None) -> ServerGroup:
    return ServerGroup(
        id=ident, project_id="p", user_id="u", name="g", policy=policy, max_per_host=max_per_host, created_at=NOW
    )


GROUPS = {
    group.id: group
    for group in (
        a_group("affinity", "affinity"),
        a_group("anti-affinity", "anti-affinity"),
        a_group("two on a host", "anti-affinity", 2),
    )
}
_STEP = st.tuples(
    st.sampled_from(["claim", "release", "claim together"]),
    st.integers(0, 9),
    st.sampled_from(NAMES),
    st.builds(Resources, st.integers(0, 4), st.integers(0, 500), st.integers(0, 10)),
    st.sampled_from([None, *GROUPS]),
)


def _check(conn: Connection, groups: dict[str, str | None]) -> None:
    placed: dict[str, list[str]] = {}
    for name in NAMES:
        host = hosts.get(conn, name)
        assert host is not None
        total = Resources()
        for item in allocations.of_host(conn, name):
            total = total + item.resources
            group = groups[item.server_id]
            if group:
                placed.setdefault(group, []).append(name)
        assert host.used == total
        assert total.vcpus <= 8
        assert total.memory_mib <= 900
        assert total.disk_gib <= 20
    assert len(set(placed.get("affinity", []))) <= 1
    assert all(count == 1 for count in Counter(placed.get("anti-affinity", [])).values())
    assert all(count <= 2 for count in Counter(placed.get("two on a host", [])).values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEP, max_size=25))
async def test_no_order_of_claims_breaks_a_limit(
    tmp_path_factory: pytest.TempPathFactory,
    lent_databases: LentDatabases,
    steps: list[tuple[str, int, str, Resources, str | None]],
) -> None:
    import asyncio

    async def play(new_database: NewDatabase) -> None:
        db = new_database(tmp_path_factory.mktemp("claims") / "floe.db")
        db.open()
        groups: dict[str, str | None] = {}
        try:
            await db.write(create_all)
            await db.write(lambda conn: [hosts.put(conn, a_host(name)) for name in NAMES])
            waiting = []
            for kind, number, host, amount, group in steps:
                server = f"s{number}"
                groups.setdefault(server, group)

                def claim(conn: Connection, server: str = server, host: str = host, amount: Resources = amount) -> None:
                    allocations.release(conn, server, NOW)
                    wanted = Allocation(
                        server_id=server,
                        host=host,
                        project_id="p",
                        user_id="u",
                        resources=amount,
                        group_id=groups[server],
                        created_at=NOW,
                    )
                    allocations.claim(conn, wanted, group=GROUPS.get(groups[server] or ""))

                def release(conn: Connection, server: str = server) -> None:
                    allocations.release(conn, server, NOW)

                waiting.append(db.write(release if kind == "release" else claim))
                if kind != "claim together":
                    for result in await asyncio.gather(*waiting, return_exceptions=True):
                        assert result is None or isinstance(result, allocations.NotClaimed)
                    waiting = []
                    db.read_now(lambda conn: _check(conn, groups))
            await asyncio.gather(*waiting, return_exceptions=True)
            db.read_now(lambda conn: _check(conn, groups))
        finally:
            db.close()

    with lent_databases() as new_database:
        await play(new_database)


_MOVE = st.tuples(st.sampled_from(["claim", "release", "claim together"]), st.integers(0, 7), st.sampled_from(NAMES))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 3), st.lists(_MOVE, max_size=30))
async def test_a_host_gets_as_many_of_a_group_as_its_rule_allows_and_not_one_more(
    tmp_path_factory: pytest.TempPathFactory,
    lent_databases: LentDatabases,
    most: int,
    moves: list[tuple[str, int, str]],
) -> None:
    """Room is not what they lack here: a claim is refused where the host has its share of the group, and only there."""
    import asyncio

    group = a_group("g", "anti-affinity", most)

    async def play(new_database: NewDatabase) -> None:
        db = new_database(tmp_path_factory.mktemp("groups") / "floe.db")
        db.open()
        places: dict[str, str] = {}
        try:
            await db.write(create_all)
            await db.write(lambda conn: [hosts.put(conn, a_host(name)) for name in NAMES])
            waiting, expected = [], []
            for kind, number, host in moves:
                server, allowed = f"s{number}", True
                before = places.pop(server, None)
                if kind != "release":
                    allowed = list(places.values()).count(host) < most
                    if allowed:
                        places[server] = host
                    elif before is not None:
                        places[server] = before  # the transaction is undone, and with it the release

                def work(conn: Connection, server: str = server, host: str = host, kind: str = kind) -> None:
                    allocations.release(conn, server, NOW)
                    if kind != "release":
                        wanted = Allocation(
                            server_id=server,
                            host=host,
                            project_id="p",
                            user_id="u",
                            resources=Resources(1, 1, 1),
                            group_id=group.id,
                            created_at=NOW,
                        )
                        allocations.claim(conn, wanted, group=group)

                waiting.append(db.write(work))
                expected.append(allowed)
                if kind != "claim together":
                    results = await asyncio.gather(*waiting, return_exceptions=True)
                    assert [result is None for result in results] == expected
                    assert all(result is None or isinstance(result, allocations.NotClaimed) for result in results)
                    waiting, expected = [], []
                    assert db.read_now(lambda conn: allocations.members(conn, group.id)) == Counter(places.values())
            await asyncio.gather(*waiting, return_exceptions=True)
            found = db.read_now(lambda conn: allocations.members(conn, group.id))
            assert found == Counter(places.values())
            assert all(count <= most for count in found.values())
        finally:
            db.close()

    with lent_databases() as new_database:
        await play(new_database)


async def test_the_last_slot_goes_to_one_of_those_who_race_for_it(db: Transactions) -> None:
    import asyncio

    await db.write(create_all)
    await db.write(lambda conn: hosts.put(conn, a_host("h1")))

    def claim(number: int) -> Allocation:
        return Allocation(
            server_id=f"s{number}",
            host="h1",
            project_id="p",
            user_id="u",
            resources=Resources(8, 1, 1),
            created_at=NOW,
        )

    results = await asyncio.gather(
        *(db.write(lambda conn, number=number: allocations.claim(conn, claim(number))) for number in range(20)),  # type: ignore[misc]
        return_exceptions=True,
    )
    assert results.count(None) == 1
    assert sum(isinstance(result, allocations.NotClaimed) for result in results) == 19


async def test_a_disabled_host_gives_nothing_unless_it_was_asked_for(db: Transactions) -> None:
    await db.write(create_all)
    await db.write(lambda conn: hosts.put(conn, a_host("h1")))
    await db.write(lambda conn: hosts.change(conn, "h1", NOW, enabled=False))
    wanted = Allocation(
        server_id="s", host="h1", project_id="p", user_id="u", resources=Resources(1, 1, 1), created_at=NOW
    )
    with pytest.raises(allocations.NotClaimed):
        await db.write(lambda conn: allocations.claim(conn, wanted))
    await db.write(lambda conn: allocations.claim(conn, wanted, forced=True))
    assert db.read_now(lambda conn: [item.host for item in allocations.of_server(conn, "s")]) == ["h1"]


PURPOSES = ("running", "second")
_TAKE = st.tuples(
    st.sampled_from(["claim", "release", "release of a host", "release for a purpose", "release of one"]),
    st.sampled_from(["s0", "s1"]),
    st.sampled_from(NAMES),
    st.sampled_from(PURPOSES),
    st.integers(1, 4),
)


def taken_by(server: str, host: str, purpose: str, vcpus: int, group_id: str | None = None) -> Allocation:
    return Allocation(
        server_id=server,
        host=host,
        purpose=purpose,
        project_id="p",
        user_id="u",
        resources=Resources(vcpus, 1, 0),
        group_id=group_id,
        created_at=NOW,
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_TAKE, max_size=25))
async def test_what_a_server_takes_of_a_host_for_one_purpose_is_taken_and_given_back_by_itself(
    tmp_path_factory: pytest.TempPathFactory, lent_databases: LentDatabases, moves: list[tuple[str, str, str, str, int]]
) -> None:
    async def play(new_database: NewDatabase) -> None:
        db = new_database(tmp_path_factory.mktemp("purposes") / "floe.db")
        db.open()
        model: dict[tuple[str, str, str], int] = {}
        try:
            await db.write(create_all)
            await db.write(lambda conn: [hosts.put(conn, a_host(name)) for name in NAMES])
            for kind, server, host, purpose, vcpus in moves:
                key = (server, host, purpose)
                if kind == "claim":
                    if key in model:
                        continue
                    wanted = taken_by(*key, vcpus)
                    fits = vcpus + sum(amount for (_, on, _), amount in model.items() if on == host) <= 8
                    try:
                        await db.write(lambda conn, wanted=wanted: allocations.claim(conn, wanted))  # type: ignore[misc]
                    except allocations.NotClaimed:
                        assert not fits
                    else:
                        assert fits
                        model[key] = vcpus
                else:
                    only: dict[str, str] = {}
                    if kind in {"release of a host", "release of one"}:
                        only["host"] = host
                    if kind in {"release for a purpose", "release of one"}:
                        only["purpose"] = purpose
                    gone = {
                        key for key in model
                        if key[0] == server and key[1] == only.get("host", key[1])
                        and key[2] == only.get("purpose", key[2])
                    }  # fmt: skip
                    for _ in range(2):  # a release that is repeated gives nothing back again
                        given_back = await db.write(
                            lambda conn, server=server, only=only: allocations.release(conn, server, NOW, **only)  # type: ignore[misc]
                        )
                        assert {(item.server_id, item.host, item.purpose) for item in given_back} == gone
                        model = {key: amount for key, amount in model.items() if key not in gone}
                        gone = set()
                for name in NAMES:
                    held = db.read_now(lambda conn, name=name: allocations.of_host(conn, name))  # type: ignore[misc]
                    found = {(item.server_id, item.host, item.purpose): item.resources.vcpus for item in held}
                    assert found == {key: amount for key, amount in model.items() if key[1] == name}
                    known = db.read_now(lambda conn, name=name: hosts.get(conn, name))  # type: ignore[misc]
                    assert known is not None
                    assert known.used.vcpus == sum(found.values())
        finally:
            db.close()

    with lent_databases() as new_database:
        await play(new_database)


async def test_a_member_of_a_group_that_holds_two_hosts_is_one_member_on_each(db: Transactions) -> None:
    await db.write(create_all)
    await db.write(lambda conn: [hosts.put(conn, a_host(name)) for name in NAMES])
    apart = GROUPS["two on a host"]

    def claims(conn: Connection) -> None:
        for host, purpose in (("h1", "running"), ("h1", "second"), ("h2", "second")):
            allocations.claim(conn, taken_by("s", host, purpose, 1, apart.id), group=apart)

    await db.write(claims)
    assert db.read_now(lambda conn: allocations.members(conn, apart.id)) == {"h1": 1, "h2": 1}
    assert db.read_now(lambda conn: allocations.hosts_of(conn, ["s"])) == {"s": "h1"}
    assert db.read_now(lambda conn: allocations.usage(conn, "p")) == (Resources(3, 3, 0), 1)
    assert db.read_now(audit.instant) == []
