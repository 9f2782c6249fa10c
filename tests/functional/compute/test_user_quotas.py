"""Quotas of single users within a project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from floe.cloud import departures
from floe.cloud.audit import check_rows
from floe.cloud.cloud import Cloud
from floe.store import audit, quota_usages, user_quotas
from floe.store import servers as rows

A = "a" * 32
ANNS = f"/os-quota-sets/{A}?user_id=ann"
IMAGE = "11111111-1111-4111-8111-111111111111"
As = Callable[..., Any]


async def create(client: As, **more: Any) -> Any:
    given = {"name": "web", "imageRef": IMAGE, "flavorRef": "0", "networks": "none", **more}
    return await client("ann", "2.55").post("/servers", json={"server": given})


async def limit(client: As, **limits: Any) -> Any:
    return await client("root", "2.35").put(ANNS, json={"quota_set": limits})


async def in_use(client: As) -> dict[str, int]:
    shown = (await client("root").get(f"/os-quota-sets/{A}/detail?user_id=ann")).json()["quota_set"]
    return {name: shown[name]["in_use"] for name in ("instances", "cores", "server_groups", "key_pairs")}


async def amiss(cloud: Cloud) -> set[str]:
    """Return what the audit finds of quotas."""
    found = check_rows(await cloud.db.read(audit.rows), quiet=True)
    return {each.rule for each in found if "user" in each.rule or "quota" in each.rule or "counts" in each.rule}


async def test_a_user_has_what_is_lower_and_what_was_there_before_counts(client: As, compute_cloud: Cloud) -> None:
    assert (await create(client)).status_code == 202
    await client("ann", "2.35").post("/os-keypairs", json={"keypair": {"name": "k"}})
    assert (await limit(client, instances=2, key_pairs=1)).json()["quota_set"]["instances"] == 2
    assert (await in_use(client)) == {"instances": 1, "cores": 1, "server_groups": 0, "key_pairs": 1}
    made = await create(client, min_count=1, max_count=5)
    assert made.status_code == 202
    assert (await in_use(client))["instances"] == 2, "as many as there is room for"
    refused = await create(client)
    assert refused.status_code == 403
    assert "Quota of this user exceeded for instances: requested 1, already used 2, limit 2" in refused.text
    assert (await client("ann", "2.35").post("/os-keypairs", json={"keypair": {"name": "l"}})).status_code == 403
    assert await amiss(compute_cloud) == set()


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"instances": 11}, "Quota limit 11 for instances must be less than or equal to 10."),
        ({"instances": -1}, "Quota limit -1 for instances must be less than or equal to 10."),
        ({"instances": 0}, "Quota limit 0 for instances must be at least 1"),
        ({"security_groups": 5}, "whole project's"),
    ],
)
async def test_what_no_user_can_have_is_refused(client: As, asked: dict[str, int], text: str) -> None:
    await create(client)
    refused = await limit(client, **asked)
    assert (refused.status_code, text in refused.text) == (400, True), refused.text
    assert (await client("root").get(ANNS)).json()["quota_set"]["instances"] == 10


async def test_by_force_a_limit_is_below_what_is_there_and_nothing_comes(client: As) -> None:
    await create(client)
    assert (await limit(client, instances=0, force=True)).status_code == 200
    assert (await create(client)).status_code == 403


async def test_other_limits_of_a_user_hold_too(client: As) -> None:
    await limit(client, metadata_items=1, injected_files=0, server_groups=1)
    assert (await create(client, metadata={"a": "1", "b": "2"})).status_code == 403
    assert (await create(client, personality=[{"path": "/a", "contents": "YQ=="}])).status_code == 403
    made = (await create(client, metadata={"a": "1"})).json()["server"]["id"]
    ann = client("ann", "2.55")
    assert (await ann.post(f"/servers/{made}/metadata", json={"metadata": {"b": "2"}})).status_code == 403
    group = {"server_group": {"name": "g", "policies": ["affinity"]}}
    assert (await ann.post("/os-server-groups", json=group)).status_code == 200
    assert (await ann.post("/os-server-groups", json=group)).status_code == 403


async def test_without_limits_again_nothing_is_counted_for_a_user(client: As, compute_cloud: Cloud) -> None:
    await limit(client, instances=1)
    await create(client)
    whose = user_quotas.owner(A, "ann")
    assert (await compute_cloud.db.read(lambda conn: quota_usages.of(conn, whose)))["instances"] == 1
    assert (await client("root").delete(ANNS)).status_code == 202
    assert await compute_cloud.db.read(lambda conn: quota_usages.of(conn, whose)) == {}
    assert (await create(client)).status_code == 202
    await limit(client, instances=2)
    await compute_cloud.db.write(lambda conn: departures.user(conn, "ann"))
    assert (await create(client)).status_code == 202
    assert await amiss(compute_cloud) == set()


async def test_a_project_has_its_own_limits_all_the_while(client: As) -> None:
    await limit(client, instances=1)
    root = client("root")
    assert (await root.get(f"/os-quota-sets/{A}")).json()["quota_set"]["instances"] == 10
    assert (await client("ann").get("/limits")).json()["limits"]["absolute"]["maxTotalInstances"] == 10
    assert (await client("ann").get(ANNS)).json()["quota_set"]["instances"] == 1
    assert (await client("ann").put(ANNS, json={"quota_set": {"instances": 2}})).status_code == 403
    assert (await root.get(f"/os-quota-sets/{A}?user_id=a%20b")).status_code == 400


async def test_the_audit_finds_what_is_not_counted_for_a_user_and_what_is_too_much(
    client: As, compute_cloud: Cloud
) -> None:
    await limit(client, instances=1)
    made = (await create(client)).json()["server"]["id"]
    await compute_cloud.db.write(lambda conn: rows.change(conn, made, quota_owner=None))
    assert await amiss(compute_cloud) == {"a server is not counted for its user, who is limited"}
    compute_cloud.clock.advance(1)  # type: ignore[attr-defined]
    other = (await create(client)).json()["server"]["id"]
    whose = user_quotas.owner(A, "ann")
    await compute_cloud.db.write(lambda conn: rows.change(conn, made, quota_owner=whose))
    assert other != made
    assert await amiss(compute_cloud) == {"the quota of instances is exceeded of user"}
