"""What holds for every API alike: request ids, envelopes of errors, and that nobody says in a header who he is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from .conftest import Login

# A list that needs a token, a path that is not there, a path to delete that is only to be read.
PATHS = {
    "identity": ("/identity/v3/users", "/identity/v3/nothing", "/identity/v3/users"),
    "compute": ("/compute/v2.1/servers", "/compute/v2.1/nothing", "/compute/v2.1/servers"),
    "image": ("/image/v2/images", "/image/v2/nothing", "/image/v2/images"),
    "network": ("/network/v2.0/ports", "/network/v2.0/nothing", "/network/v2.0/ports"),
    "placement": ("/placement/resource_providers", "/placement/nothing", "/placement/traits"),
}
PRETENCE = {
    "X-User-Id": "admin",
    "X-User": "admin",
    "X-User-Name": "admin",
    "X-Project-Id": "admin",
    "X-Tenant-Id": "admin",
    "X-Domain-Id": "default",
    "X-Roles": "admin",
    "X-Role": "admin",
    "X-Is-Admin-Project": "True",
    "X-Identity-Status": "Confirmed",
    "X-Service-Roles": "service",
    "X-Forwarded-User": "admin",
    "Remote-User": "admin",
    "OpenStack-System-Scope": "all",
}


def _identity(body: Any, status: int) -> str:
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "title", "message"}
    assert body["error"]["code"] == status
    return str(body["error"]["message"])


def _compute(body: Any, status: int) -> str:
    names = {401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 406: "computeFault"}
    assert set(body) == {names[status]}
    assert body[names[status]]["code"] == status
    return str(body[names[status]]["message"])


def _image(body: Any, status: int) -> str:
    assert body["code"].startswith(f"{status} ")
    return str(body["message"])


def _network(body: Any, _status: int) -> str:
    assert set(body["NeutronError"]) == {"type", "message", "detail"}
    return str(body["NeutronError"]["message"])


def _placement(body: Any, status: int) -> str:
    (error,) = body["errors"]
    assert error["status"] == status
    assert error["request_id"].startswith("req-")
    return str(error["detail"])


ENVELOPES: dict[str, Callable[[Any, int], str]] = {
    "identity": _identity, "compute": _compute, "image": _image, "network": _network, "placement": _placement,
}  # fmt: skip


def _request_id(reply: httpx.Response) -> str:
    found = reply.headers["x-openstack-request-id"]
    assert re.fullmatch(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found)
    return str(found)


@pytest.mark.parametrize("surface", PATHS)
async def test_every_reply_has_a_request_id_and_errors_the_surfaces_own_envelope(
    http: httpx.AsyncClient, login: Login, surface: str
) -> None:
    headers = await login("admin")
    there, nowhere, readable = PATHS[surface]
    replies = [
        (await http.get(there, headers=headers), 200),
        (await http.get(there), 401),
        (await http.get(there, headers={"x-auth-token": "gAAAA-forged"}), 401),
        (await http.get(nowhere, headers=headers), 404),
        (await http.delete(readable, headers=headers), 405),
    ]
    if surface in {"compute", "placement"}:
        wrong = {"openstack-api-version": f"{surface} 9.99"}
        replies.append((await http.get(there, headers={**headers, **wrong}), 406))
    for reply, status in replies:
        assert reply.status_code == status, (reply.request.url, reply.text)
        if status >= 400:
            assert ENVELOPES[surface](reply.json(), status)
    assert len({_request_id(reply) for reply, _ in replies}) == len(replies)


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/metrics", "/nothing", "/identity", "/compute/", "/image", "/network"]
)
async def test_what_needs_no_token_has_a_request_id_too(http: httpx.AsyncClient, path: str) -> None:
    assert _request_id(await http.get(path))


@pytest.mark.parametrize("surface", PATHS)
async def test_headers_that_pretend_an_identity_are_ignored(
    http: httpx.AsyncClient, login: Login, surface: str
) -> None:
    there = PATHS[surface][0]
    assert (await http.get(there, headers=PRETENCE)).status_code == 401
    as_demo, both = await login("demo"), {**PRETENCE, **await login("demo")}
    plain, pretended = await http.get(there, headers=as_demo), await http.get(there, headers=both)
    assert plain.status_code == pretended.status_code
    if plain.status_code == 200:
        assert plain.json() == pretended.json()


async def test_a_user_who_pretends_to_be_an_administrator_does_nothing_an_administrator_does(
    http: httpx.AsyncClient, login: Login
) -> None:
    headers = {**await login("demo"), **PRETENCE}
    assert (
        await http.post("/identity/v3/projects", json={"project": {"name": "x"}}, headers=headers)
    ).status_code == 403
    assert (await http.get("/compute/v2.1/os-hypervisors", headers=headers)).status_code == 403
    assert (await http.get("/compute/v2.1/servers?all_tenants=1", headers=headers)).status_code == 403
    image = {"name": "x", "visibility": "public"}
    assert (await http.post("/image/v2/images", json=image, headers=headers)).status_code == 403
    network = {"network": {"name": "x", "shared": True}}
    assert (await http.post("/network/v2.0/networks", json=network, headers=headers)).status_code == 403
    assert (await http.get("/placement/resource_providers", headers=headers)).status_code == 403
