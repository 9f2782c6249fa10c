"""No list is longer than a page, what is beyond it is found by the links that clients follow, and no body is long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from floe.api.kit.call import MAX_ANONYMOUS, MAX_BODY
from floe.api.kit.paging import MAX_LIMIT

Next = Callable[[dict[str, Any]], str | None]


def _linked(body: dict[str, Any]) -> str | None:
    return next((link["href"] for link in body.get("networks_links", ()) if link["rel"] == "next"), None)


async def _pages(caller: Any, surface: str, path: str, key: str, follow: Next) -> list[list[dict[str, Any]]]:
    pages, query = [], ""
    while True:
        status, reply = await caller.send(surface, "GET", path, query=query)
        assert status == 200
        body = msgspec.json.decode(reply)
        pages.append(body[key])
        link = follow(body)
        if surface == "identity":
            assert body.get("next") == link
        if link is None:
            return pages
        assert urlsplit(link).path == f"/{surface}{path}"
        query = urlsplit(link).query


async def _networks(admin: Any) -> None:
    project = admin.ids["project_id"]
    await admin.make("network", "PUT", f"/v2.0/quotas/{project}", {"quota": {"network": -1}})
    for _ in range(MAX_LIMIT // 200 + 1):
        await admin.make("network", "POST", "/v2.0/networks", {"networks": [{"name": "many"}] * 200})


async def _projects(admin: Any) -> None:
    for number in range(MAX_LIMIT):
        await admin.make("identity", "POST", "/v3/projects", {"project": {"name": f"many{number}"}})


@pytest.mark.parametrize(
    ("surface", "path", "key", "furnish", "follow"),
    [
        ("network", "/v2.0/networks", "networks", _networks, _linked),
        ("identity", "/v3/projects", "projects", _projects, lambda body: body["links"]["next"]),
    ],
    ids=["networks", "projects"],
)
async def test_a_list_without_a_limit_comes_in_pages(
    callers: Any, surface: str, path: str, key: str, furnish: Any, follow: Next
) -> None:
    admin, _ = callers
    (short,) = await _pages(admin, surface, path, key, follow)
    await furnish(admin)
    pages = await _pages(admin, surface, path, key, follow)
    assert [len(page) for page in pages[:-1]] == [MAX_LIMIT] * (len(pages) - 1)
    assert 0 < len(pages[-1]) < MAX_LIMIT
    ids = [item["id"] for page in pages for item in page]
    assert len(ids) == len(set(ids)) > MAX_LIMIT
    assert {item["id"] for item in short} <= set(ids)
    status, reply = await admin.send(surface, "GET", path, query=f"limit={10 * MAX_LIMIT}")
    assert (status, len(msgspec.json.decode(reply)[key])) == (200, MAX_LIMIT)


async def test_one_request_makes_so_many_things_at_most(callers: Any) -> None:
    admin, _ = callers
    for count, wanted in ((201, 400), (50_000, 400)):
        body = b'{"networks": [%s]}' % b",".join([b"{}"] * count)
        status, reply = await admin.send("network", "POST", "/v2.0/networks", body=body)
        assert status == wanted and b"at most 200" in reply


async def test_the_use_of_addresses_comes_whole(callers: Any) -> None:
    admin, _ = callers
    path = "/v2.0/network-ip-availabilities"
    for query, wanted in (("", 200), ("limit=0", 200), ("limit=1", 400)):
        assert (await admin.send("network", "GET", path, query=query))[0] == wanted


@pytest.mark.parametrize(("token", "most"), [(True, MAX_BODY), (False, MAX_ANONYMOUS)], ids=["with", "without"])
async def test_a_body_is_read_no_further_than_its_bound(callers: Any, token: bool, most: int) -> None:
    _, member = callers
    path, headers = "/v3/auth/tokens", () if token else (("x-auth-token", b""),)
    for size, wanted in ((most, {400, 401}), (most + 1, {413})):
        body = b'{"auth": {"identity": {"methods": ["password"]}}'.ljust(size - 1) + b"}"
        status, _ = await member.send("identity", "POST", path, body=body, headers=headers)
        assert status in wanted, size
