"""What a create costs the database does not grow with what is in the same group or network, as far as that can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
import sqlalchemy as sa

from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.listing import Listing
from floe.store import ports as rows
from floe.store.addresses import port_addresses
from floe.store.ports import ports

_EVERY = 10
"""Steps of SQLite's machine that are counted at once."""

pytestmark = pytest.mark.sqlite("it counts the steps of SQLite's machine")


@pytest.fixture
def work() -> Iterator[Counter[str]]:
    """Count the steps that SQLite takes, and collect the statements that it is given."""
    done: Counter[str] = Counter()

    def step() -> int:
        done["steps"] += _EVERY
        return 0

    def note(text: str) -> None:
        done[text] += 1

    def watch(connection: Any, _record: Any) -> None:
        connection.set_progress_handler(step, _EVERY)
        connection.set_trace_callback(note)

    sa.event.listen(sa.Engine, "connect", watch)
    yield done
    sa.event.remove(sa.Engine, "connect", watch)


@pytest.mark.once
async def test_a_rule_costs_as_much_in_a_group_of_many_as_in_one_of_few(
    work: Counter[str], client: Any, make: Any
) -> None:
    quota = {"quota": {"security_group_rule": 1000}}
    assert (await client("root").put(f"/v2.0/quotas/{'a' * 32}", json=quota)).status_code == 200
    group = await make("ann", "security_group", name="web")

    async def cost(port: int) -> int:
        before = work["steps"]
        await make("ann", "security_group_rule", **_rule(group, port))
        return work["steps"] - before

    few = max([await cost(port) for port in range(1, 6)])
    for start in (1000, 1150, 1300):
        rules = {"security_group_rules": [_rule(group, start + number) for number in range(150)]}
        assert (await client("ann").post("/v2.0/security-group-rules", json=rules)).status_code == 201
    many = min([await cost(port) for port in range(11, 16)])
    assert 0 < many < 2 * few, (few, many)


@pytest.mark.once
async def test_a_subnet_reads_of_those_beside_it_where_they_are_and_no_more(
    work: Counter[str], client: Any, make: Any
) -> None:
    network = await make("ann", "network")
    await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    work.clear()
    await make("ann", "subnet", network_id=network["id"], cidr="10.2.0.0/24")
    read = [text for text in work if "subnets.cidr" in text]
    assert read
    assert not [text for text in read if "subnets.pools" in text]


@pytest.mark.once
async def test_ports_are_found_by_address_at_the_cost_of_ones_own(
    work: Counter[str], callers: dict[str, Context], cloud: Cloud, make: Any
) -> None:
    ours, theirs = await make("ann", "network"), await make("bob", "network")
    subnet = await make("ann", "subnet", network_id=ours["id"], cidr="10.1.0.0/24")
    other = await make("bob", "subnet", network_id=theirs["id"], cidr="10.0.0.0/15")
    port = await make("ann", "port", network_id=ours["id"], fixed_ips=[{"ip_address": "10.1.0.7"}])
    queries: list[dict[str, list[Any]]] = [
        {"part": ["10.1.0"]}, {"part": ["10.1.0.7", "192"]}, {"address": [int(IPv4Address("10.1.0.7"))]},
        {"subnet_id": [subnet["id"]]}, {"part": ["10"], "subnet_id": [subnet["id"]]},
    ]  # fmt: skip

    async def costs() -> list[int]:
        return [await cost(query) for query in queries]

    async def cost(query: dict[str, list[Any]]) -> int:
        before, listing = work["steps"], Listing(also={"fixed_ips": query})
        found = await cloud.db.write(lambda conn: rows.find(conn, callers["ann"].project_id, listing))
        assert port["id"] in [each.id for each in found]
        return work["steps"] - before

    few = await costs()
    await cloud.db.write(lambda conn: _crowd(conn, theirs["id"], other["id"], 3000))
    many = await costs()
    assert all(0 < after < 2 * before + 200 for before, after in zip(few, many, strict=True)), (few, many)


def _crowd(conn: sa.Connection, network_id: str, subnet_id: str, many: int) -> None:
    """Give another project this many ports, each with an address like ours."""
    (like,) = conn.execute(sa.select(ports.c.id).where(ports.c.network_id == network_id)).one()
    columns = {column.name: column for column in ports.c}
    first = int(IPv4Address("10.0.0.3"))
    for number in range(many):
        own = {"id": sa.literal(f"crowd-{number}"), "mac": sa.literal(f"{number}"), "device_owner": sa.literal("")}
        row = sa.select(*(own.get(name, column) for name, column in columns.items())).where(ports.c.id == like)
        conn.execute(ports.insert().from_select(list(columns), row))
    conn.execute(
        port_addresses.insert(),
        [
            {"network_id": network_id, "subnet_id": subnet_id, "port_id": f"crowd-{number}", "address": first + number}
            for number in range(many)
        ],
    )


def _rule(group: dict[str, Any], port: int) -> dict[str, Any]:
    ports = {"port_range_min": port, "port_range_max": port}
    return {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", **ports}
