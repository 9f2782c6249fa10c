"""The compute API is for tokens that are scoped to a project, whatever role they carry."""

from __future__ import annotations

from typing import Any

import pytest

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqeeh3KaUsVNkxrNhlgYZ4qdLBXx5iZNYTLeZ9ZPqzv"
CALLS: list[tuple[str, str, Any]] = [
    ("GET", "/servers", None),
    ("GET", "/servers/detail?all_tenants=1", None),
    ("GET", "/os-keypairs", None),
    ("POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": KEY}}),
    ("GET", "/os-keypairs?user_id=ann", None),
    ("GET", "/os-hypervisors", None),
    ("GET", "/os-availability-zone", None),
    ("GET", f"/os-quota-sets/{'a' * 32}", None),
    ("PUT", f"/os-quota-sets/{'a' * 32}", {"quota_set": {"cores": 1}}),
    ("GET", "/limits", None),
]


@pytest.mark.parametrize("who", ["unscoped", "domain", "system"])
@pytest.mark.parametrize(("method", "path", "body"), CALLS)
async def test_a_token_of_another_scope_is_refused(client: Any, who: str, method: str, path: str, body: Any) -> None:
    reply = await client(who).request(method, path, json=body)
    assert reply.status_code == 403
    assert "scope" in reply.json()["forbidden"]["message"]


@pytest.mark.parametrize("who", ["unscoped", "domain", "system"])
async def test_flavors_are_shown_to_any_token_and_their_extra_specs_to_those_of_a_project(
    client: Any, who: str
) -> None:
    for path in ("/flavors", "/flavors/detail", "/flavors/0", "/"):
        assert (await client(who).get(path)).status_code == 200
    assert "extra_specs" not in (await client(who).get("/flavors/0")).json()["flavor"]
    assert (await client("eve").get("/flavors/0")).json()["flavor"]["extra_specs"] == {}


async def test_private_flavors_are_shown_to_administrators_of_a_project_alone(client: Any) -> None:
    body = {
        "flavor": {
            "id": "hidden",
            "name": "hidden",
            "ram": 64,
            "vcpus": 1,
            "disk": 1,
            "os-flavor-access:is_public": False,
        }
    }
    assert (await client("root").post("/flavors", json=body)).status_code == 200

    async def seen(who: str) -> tuple[int, bool]:
        listed = (await client(who).get("/flavors?is_public=none")).json()["flavors"]
        return (await client(who).get("/flavors/hidden")).status_code, "hidden" in {each["id"] for each in listed}

    assert await seen("root") == (200, True)
    for who in ("unscoped", "domain", "system", "ann"):
        assert await seen(who) == (404, False)
