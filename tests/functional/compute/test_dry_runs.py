"""A create on trial says what the create would come to, and leaves the database as it was."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from floe.cloud.cloud import Cloud
from floe.core.hosts import Host
from floe.core.resources import Inventory
from floe.store import hosts
from floe.store.engine import Connection
from floe.store.schema import metadata

IMAGE = "11111111-1111-4111-8111-111111111111"
UNKNOWN = "99999999-9999-4999-8999-999999999999"
DRY = "/servers?dry_run=1"


def body(*, hints: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    known = {"name": "web", "flavorRef": "0", "imageRef": IMAGE, "networks": "none"}
    return {"server": {**known, **values}, "os:scheduler_hints": hints or {}}


@pytest.fixture(autouse=True)
async def two_hosts(compute_cloud: Cloud) -> None:
    now = compute_cloud.clock.now()
    for name, memory in (("small", 256), ("large", 1024)):
        amounts = (("VCPU", 8), ("MEMORY_MB", memory), ("DISK_GB", 100))
        host = Host(
            name=name,
            inventories=tuple(Inventory(resource_class=kind, total=total) for kind, total in amounts),
            created_at=now,
            updated_at=now,
            started_at=now,
            last_seen=now,
        )
        await compute_cloud.db.write(lambda conn, host=host: hosts.put(conn, host))  # type: ignore[misc]


async def everything(cloud: Cloud) -> dict[str, list[Any]]:
    def read(conn: Connection) -> dict[str, list[Any]]:
        return {name: sorted(map(repr, conn.execute(sa.select(table)))) for name, table in metadata.tables.items()}

    return await cloud.db.read(read)


async def test_a_dry_run_names_the_host_to_administrators_and_changes_nothing(
    client: Any, compute_cloud: Cloud, network_id: str
) -> None:
    before = await everything(compute_cloud)
    reply = await client("root").post(
        DRY, json=body(networks=[{"uuid": network_id}]), headers={"idempotency-key": "once"}
    )
    assert reply.status_code == 200, reply.text
    assert reply.json() == {
        "dry_run": {"possible": True, "count": 1, "hosts": ["large"], "alternates": ["small"]},
    }
    reply = await client("ann").post(DRY, json=body(hints={"colour": "red"}))
    assert reply.json()["dry_run"] == {
        "possible": True,
        "count": 1,
        "warning": "without effect here: hint colour='red'",
    }
    assert await everything(compute_cloud) == before


async def test_several_are_placed_one_after_the_other(client: Any, compute_cloud: Cloud) -> None:
    root = client("root")
    apart = {"server_group": {"name": "g", "policy": "anti-affinity"}}
    group = (await root.post("/os-server-groups", json=apart)).json()["server_group"]
    asked = body(hints={"group": group["id"]}, min_count=1, max_count=3)
    found = (await root.post(DRY, json=asked)).json()["dry_run"]
    assert (found["possible"], found["count"], sorted(found["hosts"])) == (True, 2, ["large", "small"])
    assert "the server group's policy anti-affinity" in found["message"] and set(found["reasons"]) == {"large", "small"}
    asked["server"]["min_count"] = 3
    found = (await root.post(DRY, json=asked)).json()["dry_run"]
    assert (found["possible"], found["count"]) == (False, 0)


async def test_every_reason_is_told_by_host_to_administrators_in_counts_to_others(client: Any) -> None:
    asked = body(hints={"query": '[">", "$free_ram_mb", 9999]'})
    found = (await client("ann").post(DRY, json=asked)).json()["dry_run"]
    message = "No valid host: 2 hosts considered; 2 are ruled out by the hint query."
    assert found == {"possible": False, "count": 0, "message": message}
    found = (await client("root").post(DRY, json=asked)).json()["dry_run"]
    assert found["reasons"]["small"] == "hint query: it does not hold; $free_ram_mb is 256"


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"flavorRef": "none"}, 400), ({"imageRef": UNKNOWN}, 400), ({"name": ""}, 400), ({"key_name": "none"}, 400)],
)
async def test_what_the_create_refuses_the_dry_run_refuses(client: Any, wrong: dict[str, Any], status: int) -> None:
    dry = await client("ann").post(DRY, json=body(**wrong))
    wet = await client("ann").post("/servers", json=body(**wrong))
    assert dry.status_code == wet.status_code == status
    assert dry.json() == wet.json()


async def test_quota_is_looked_at_and_a_reader_may_not_even_try(client: Any) -> None:
    await client("root").put(f"/os-quota-sets/{'a' * 32}", json={"quota_set": {"instances": 0}})
    reply = await client("ann").post(DRY, json=body())
    assert reply.status_code == 403 and "instances" in reply.text
    assert (await client("eve").post(DRY, json=body())).status_code == 403


@pytest.mark.parametrize(("query", "status"), [("dry_run=0", 202), ("dry_run=maybe", 400), ("dry-run=1", 400)])
async def test_no_other_parameter_is_taken_for_it(client: Any, query: str, status: int) -> None:
    assert (await client("ann").post(f"/servers?{query}", json=body())).status_code == status
