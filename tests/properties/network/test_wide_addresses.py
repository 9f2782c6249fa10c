"""Addresses of both families side by side in the database: what is kept, in which order, and which are free."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.core import addresses as rules
from floe.core.clock import FixedClock
from floe.core.networks import Network
from floe.core.ports import Port
from floe.core.subnets import Subnet
from floe.store import addresses, group_members, networks, ports, subnets
from floe.store.address_columns import Address, teach
from floe.store.addresses import port_addresses
from floe.store.security_groups import security_group_rules

NOW = FixedClock().now()
ALL4, ALL6 = rules.IPV4_ALL, 2**128
EDGES = (0, 1, 2**31 - 1, 2**31, ALL4 - 1, ALL4, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**127, ALL6 - 1)
NUMBER = st.one_of(st.sampled_from(EDGES), st.integers(0, ALL4 - 1), st.integers(ALL4, ALL6 - 1))


def prepare(conn: sa.Connection) -> None:
    """Make a network, and a connection that knows how addresses are written."""
    conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
    driver: Any = conn.connection.driver_connection
    teach(driver)
    networks.insert(conn, Network(id="n", project_id="p", mtu=1450, tag=1, created_at=NOW, updated_at=NOW))


def add_port(conn: sa.Connection, ident: str, **values: Any) -> None:
    mac = rules.mac_for(ident)
    assert ports.insert(
        conn, Port(id=ident, network_id="n", project_id="p", mac=mac, created_at=NOW, updated_at=NOW, **values)
    )


@given(NUMBER)
def test_an_address_is_written_and_read_as_its_family_does(number: int) -> None:
    text = rules.text_of(number)
    expected = IPv4Address(number) if number < ALL4 else IPv6Address(number)
    assert ip_address(text) == expected
    assert rules.number_of_either(text) == number
    assert rules.number_of_either(expected.exploded) == number


@pytest.mark.parametrize(
    "text", ["::", "::1", "::10.0.0.1", "::ffff:ffff", "fe80::1%eth0", "10.0.0", "", "10.0.0.1/32"]
)
def test_what_nobody_may_be_given_has_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        rules.number_of_either(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(NUMBER, unique=True, min_size=1, max_size=12), NUMBER, NUMBER)
def test_addresses_come_back_in_order_and_are_compared_by_value(
    transaction: Any, numbers: list[int], one: int, other: int
) -> None:
    first, last = sorted((one, other))
    with transaction() as conn:
        prepare(conn)
        for at, number in enumerate(numbers):
            add_port(conn, f"p{at}")
            assert addresses.claim(conn, "n", "s", f"p{at}", number)
            assert not addresses.claim(conn, "n", "s", "another", number)
            assert addresses.taken(conn, "n", number)
            assert not addresses.taken(conn, "other", number)
        column = port_addresses.c.address
        assert conn.execute(sa.select(column).order_by(column)).scalars().all() == sorted(numbers)
        between = conn.execute(sa.select(column).where(column.between(first, last)).order_by(column)).scalars().all()
        assert between == sorted(number for number in numbers if first <= number <= last)
        older = conn.exec_driver_sql("SELECT address FROM port_addresses WHERE typeof(address) = 'integer'")
        assert set(older.scalars()) == {number for number in numbers if number < ALL4}  # as releases before kept it
        held = addresses.of_ports(conn, [f"p{at}" for at in range(len(numbers))])
        assert held == sorted(((f"p{at}", "s", number) for at, number in enumerate(numbers)), key=lambda row: row[2])
        for at, number in enumerate(numbers):
            port = ports.get(conn, f"p{at}")
            assert port is not None
            assert port.fixed_ips == (("s", rules.text_of(number)),)


@settings(max_examples=100, deadline=None)
@given(st.lists(NUMBER, unique=True, min_size=1, max_size=6), st.data())
def test_a_part_of_an_address_as_it_is_written_finds_it(transaction: Any, numbers: list[int], data: Any) -> None:
    text = rules.text_of(data.draw(st.sampled_from(numbers)))
    start = data.draw(st.integers(0, len(text) - 1))
    part = text[start : data.draw(st.integers(start + 1, len(text)))]
    with transaction() as conn:
        prepare(conn)
        for at, number in enumerate(numbers):
            addresses.claim(conn, "n", "s", f"p{at}", number)
        wanted = {f"p{at}" for at, number in enumerate(numbers) if part in rules.text_of(number)}
        for spelled in (part, part.upper()):
            assert holding(conn, {"part": [spelled]}) == wanted
        assert holding(conn, {"address": numbers[:1]}) == {"p0"}


def holding(conn: sa.Connection, wanted: dict[str, list[Any]]) -> set[str]:
    """Return the ports that have such addresses."""
    held = addresses.port_addresses.alias("held").c.port_id
    return set(conn.execute(sa.select(held).where(addresses.holding(held, wanted))).scalars())


POOLS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=3, unique_by=lambda pool: pool[0]
)


@settings(max_examples=100, deadline=None)
@given(
    pools=POOLS, base=st.sampled_from([0, ALL4 - 100, ALL4, 2**63 - 50, 2**64 - 50, 2**96, ALL6 - 100]), data=st.data()
)
def test_the_next_free_address_is_the_first_from_a_start_on(transaction: Any, pools: Any, base: int, data: Any) -> None:
    spans = tuple((base + 10 * tens, base + 10 * tens + size) for tens, size in pools)
    inside = [number for first, last in spans for number in range(first, last + 1)]
    taken = data.draw(st.sets(st.sampled_from(inside)))
    start = data.draw(st.one_of(st.none(), st.sampled_from(inside)))
    at = 0 if start is None else inside.index(start)
    expected = next((number for number in inside[at:] + inside[:at] if number not in taken), None)
    with transaction() as conn:
        prepare(conn)
        for number in taken:
            addresses.claim(conn, "n", "s", "p", number)
        assert addresses.next_free(conn, "n", spans, start) == expected
        got = addresses.allocate(conn, "n", "s", "q", spans)
        assert (got is None) == (expected is None)
        assert got is None or (got in inside and got not in taken)


def test_many_taken_addresses_are_passed_over(transaction: Any) -> None:
    with transaction() as conn:
        prepare(conn)
        first = int(IPv6Address("fd00::1:0"))
        values = {"network_id": "n", "subnet_id": "s", "port_id": "p"}
        conn.execute(sa.insert(port_addresses), [{**values, "address": first + at} for at in range(2500) if at != 2400])
        span = ((first, first + 2499),)
        assert addresses.next_free(conn, "n", span) == first + 2400
        assert addresses.next_free(conn, "n", span, first + 2401) == first + 2400
        assert addresses.claim(conn, "n", "s", "q", first + 2400)
        assert addresses.next_free(conn, "n", span, first + 7) is None


@given(st.text(min_size=1, max_size=8), st.integers(64, 128))
def test_candidates_of_a_wide_range_are_of_all_of_it(seed: str, bits: int) -> None:
    pools = ((2**126, 2**126 + 2**bits - 1), (2**40, 2**40 + 9))
    found = list(rules.candidates(seed, pools, 8))
    assert found == list(rules.candidates(seed, pools, 8))
    assert len(found) == 8
    assert all(any(first <= number <= last for first, last in pools) for number in found)
    assert len({number >> (bits - 4) for number in found if number >= 2**126}) > 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NUMBER, NUMBER).map(lambda pair: tuple(sorted(pair))), max_size=3))
def test_pools_of_both_families_come_back(transaction: Any, pools: list[tuple[int, int]]) -> None:
    with transaction() as conn:
        prepare(conn)
        times = {"created_at": NOW, "updated_at": NOW}
        subnets.insert(
            conn, Subnet(id="s", network_id="n", project_id="p", cidr="fd00::/64", pools=tuple(pools), **times)
        )
        assert [subnet.pools for subnet in subnets.of_networks(conn, ["n"])] == [tuple(pools)]
        kept = conn.exec_driver_sql("SELECT pools FROM subnets").scalar()
        if all(last < ALL4 for _, last in pools):  # what a release reads that knows IPv4 alone
            assert kept == str([[first, last] for first, last in pools]).replace(" ", "")


def test_members_of_both_families_are_told(transaction: Any) -> None:
    with transaction() as conn:
        prepare(conn)
        for at, text in enumerate(("10.0.0.5", "fd00::5")):
            add_port(conn, f"p{at}", host="h1", plugged=True, groups=("g",))
            addresses.claim(conn, "n", "s", f"p{at}", rules.number_of_either(text))
        rule = {
            "id": "r",
            "group_id": "g",
            "project_id": "p",
            "description": "",
            "fingerprint": "r",
            "remote_group": "g",
        }
        kind = {"direction": "ingress", "ethertype": "IPv6", "created_at": NOW, "updated_at": NOW, "revision": 0}
        conn.execute(sa.insert(security_group_rules).values(**rule, **kind))
        assert group_members.insert(conn, "h1", [("g", "fd00::5"), ("g", "10.0.0.5")])
        log = group_members.log(conn, 0)
        assert [rules.text_of(address) for _, _, address, _ in log] == ["10.0.0.5", "fd00::5"]
        numbers = [address for _, _, address, _ in log]
        assert group_members.hosts_of(conn, numbers) == {("g", number): {"h1"} for number in numbers}
        assert ports.members(conn, ["g"], "h2") == {"g": {"10.0.0.5", "fd00::5"}}


def test_postgresql_keeps_addresses_as_its_own_kind() -> None:
    from sqlalchemy.dialects import postgresql

    dialect = postgresql.dialect()
    kind: Any = Address().dialect_impl(dialect)
    assert str(sa.schema.CreateTable(port_addresses).compile(dialect=dialect)).count("address INET NOT NULL") == 1
    for number, text in ((5, "0.0.0.5"), (int(IPv6Address("fd00::5")), "fd00::5")):
        assert kind.bind_processor(dialect)(number) == text
        for told in (text, ip_address(text)):
            assert kind.result_processor(dialect, None)(told) == number
    assert "host(port_addresses.address)" in str(
        addresses.holding(sa.column("id"), {"part": ["5"]}).compile(dialect=dialect)
    )
