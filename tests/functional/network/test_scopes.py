"""What tokens of no project, or without a role that reads, see: what is shared with all, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

LISTS = (
    "networks",
    "subnets",
    "ports",
    "security-groups",
    "security-group-rules",
    "agents",
    "network-ip-availabilities",
)


@pytest.fixture
async def shared(make: Any) -> str:
    """Give the id of a shared network; each list holds something for an administrator, but for agents."""
    network = await make("root", "network", name="all", shared=True)
    await make("root", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    mine = await make("ann", "network", name="mine")
    await make("ann", "subnet", network_id=mine["id"], cidr="10.2.0.0/24")
    await make("ann", "security_group", name="web")
    found: str = network["id"]
    return found


async def listed(client: Any, caller: str, name: str) -> list[dict[str, Any]]:
    reply = await client(caller).get(f"/v2.0/{name}")
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()[name.replace("-", "_")]
    return found


@pytest.mark.parametrize("caller", ["domain", "system"])
async def test_a_token_of_no_project_sees_nothing(client: Any, shared: str, caller: str) -> None:
    for name in LISTS:
        assert await listed(client, caller, name) == [], name
    reply = await client(caller).get(f"/v2.0/networks/{shared}")
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (404, "NetworkNotFound")


@pytest.mark.parametrize("caller", ["unscoped", "stranger"])
async def test_who_may_not_read_sees_what_is_shared_with_all(client: Any, shared: str, caller: str) -> None:
    assert [network["id"] for network in await listed(client, caller, "networks")] == [shared]
    assert [subnet["network_id"] for subnet in await listed(client, caller, "subnets")] == [shared]
    for name in LISTS[2:]:
        assert await listed(client, caller, name) == [], name
    assert (await client(caller).get(f"/v2.0/networks/{shared}")).status_code == 200


@pytest.mark.parametrize("caller", ["unscoped", "domain", "system", "stranger", "eve"])
async def test_nobody_writes_without_a_role_in_a_project(client: Any, shared: str, caller: str) -> None:
    them = client(caller)
    assert (await them.post("/v2.0/networks", json={"network": {"project_id": "a" * 32}})).status_code == 403
    assert (await them.put(f"/v2.0/networks/{shared}", json={"network": {"name": "x"}})).status_code == 403
    assert (await them.delete(f"/v2.0/networks/{shared}")).status_code == 403
    assert (await them.put(f"/v2.0/quotas/{'a' * 32}", json={"quota": {"port": 1}})).status_code == 403


async def test_a_project_sees_its_own_quota_and_who_it_is(client: Any) -> None:
    for caller in ("ann", "eve", "stranger", "root"):
        project = "0" * 32 if caller == "root" else "a" * 32
        assert (await client(caller).get(f"/v2.0/quotas/{project}")).status_code == 200
        assert (await client(caller).get("/v2.0/quotas/project")).json() == {"project": {"project_id": project}}
        assert (await client(caller).get("/v2.0/quotas/tenant.json")).json() == {"tenant": {"tenant_id": project}}
    for caller in ("bob", "domain", "system", "unscoped"):
        assert (await client(caller).get(f"/v2.0/quotas/{'a' * 32}")).status_code == 403
