"""What a create costs the database does not grow with what is in the same group or network, as far as that can be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

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


def _rule(group: dict[str, Any], port: int) -> dict[str, Any]:
    ports = {"port_range_min": port, "port_range_max": port}
    return {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", **ports}
