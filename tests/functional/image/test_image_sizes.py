"""What a tenant keeps in an image is bounded in bytes, and so is what a list says of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from floe.cloud.cloud import Cloud
from floe.core.images import MAX_PROPERTY_BYTES, MAX_TAGS
from floe.store import images as rows
from floe.store import quotas

As = Callable[[str], httpx.AsyncClient]
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
MAX_REPLY = 8 << 20


def full(count: int = 4, less: int = 0, text: str = "v") -> dict[str, str]:
    """Return properties of as many bytes as an image may have."""
    each = MAX_PROPERTY_BYTES // count
    width = len(text.encode())
    found = {f"p{number}": text * ((each - 2) // width) for number in range(count)}
    found["p0"] = found["p0"][: (each - 2 - less) // width]
    return found


def add(properties: dict[str, str]) -> list[dict[str, Any]]:
    return [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]


@pytest.mark.parametrize("text", ["v", "\u00fc", "\U0001f600"])
async def test_properties_take_64_kib_in_all(client: As, text: str) -> None:
    ann = client("ann")
    exact = full(text=text)
    assert (await ann.post("/v2/images", json=exact)).status_code == 201
    reply = await ann.post("/v2/images", json={**exact, "q": "v" * 10})
    assert reply.status_code == 413
    assert "at most 65536 bytes" in reply.json()["message"]
    image_id = (await ann.post("/v2/images", json={})).json()["id"]
    at = f"/v2/images/{image_id}"
    assert (await ann.patch(at, json=add(exact), headers=PATCH)).status_code == 200
    for change in (add({"q": "v" * 10}), [{"op": "replace", "path": "/p0", "value": exact["p0"] + "v" * 10}]):
        assert (await ann.patch(at, json=change, headers=PATCH)).status_code == 413
    assert (await ann.get(at)).json()["p0"] == exact["p0"]


async def test_one_that_had_more_before_may_change_and_shrink_but_not_grow(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    image_id = (await ann.post("/v2/images", json={})).json()["id"]
    large = {f"p{number}": "v" * 60_000 for number in range(4)}
    await image_cloud.db.write(lambda conn: rows.set_properties(conn, image_id, large))
    at = f"/v2/images/{image_id}"
    for change, status in (
        ([{"op": "replace", "path": "/name", "value": "new"}], 200),
        (add({"q": "v"}), 413),
        ([{"op": "remove", "path": "/p1"}], 200),
        ([{"op": "replace", "path": "/p0", "value": "v" * 60_001}], 413),
        ([{"op": "replace", "path": "/p0", "value": "v" * 59_999}], 200),
    ):
        assert (await ann.patch(at, json=change, headers=PATCH)).status_code == status
    assert (await ann.put(f"{at}/tags/x")).status_code == 204


async def test_a_page_of_large_images_is_cut_and_all_pages_together_are_whole(client: As, image_cloud: Cloud) -> None:
    await image_cloud.db.write(lambda conn: quotas.put(conn, "a" * 32, {"image_count_total": -1}))
    ann, made = client("ann"), []
    escaped = full(count=2, text='"')
    tags = [f"{number:03}".ljust(255, "\u00fc") for number in range(MAX_TAGS)]
    for number in range(150):
        body = {} if number % 3 == 0 else {**escaped, "tags": tags}
        made.append((await ann.post("/v2/images", json=body)).json()["id"])
    seen: list[str] = []
    pages, at = 0, "/v2/images?sort=created_at:asc,id:asc&limit=1000"
    while at:
        reply = await ann.get(at)
        assert len(reply.content) <= MAX_REPLY
        seen += [image["id"] for image in reply.json()["images"]]
        pages, at = pages + 1, reply.json().get("next")
    assert sorted(seen) == sorted(made)
    assert len(seen) == len(set(seen))
    assert pages > 1
    few = (await ann.get("/v2/images?limit=3")).json()
    assert len(few["images"]) == 3
    assert "next" in few


async def test_a_page_of_small_images_is_not_cut(client: As, image_cloud: Cloud) -> None:
    await image_cloud.db.write(lambda conn: quotas.put(conn, "a" * 32, {"image_count_total": -1}))
    ann = client("ann")
    for number in range(200):
        await ann.post("/v2/images", json={"name": f"i{number}", "os_distro": "debian"})
    listed = (await ann.get("/v2/images?limit=1000")).json()
    assert len(listed["images"]) == 200
    assert "next" not in listed


async def test_one_image_larger_than_a_page_is_listed_alone(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    made = [(await ann.post("/v2/images", json={})).json()["id"] for _ in range(3)]
    huge = {f"p{number}": "v" * 65_000 for number in range(100)}
    await image_cloud.db.write(lambda conn: rows.set_properties(conn, made[0], huge))
    at, sizes = "/v2/images", []
    while at:
        reply = (await ann.get(at)).json()
        sizes.append(len(reply["images"]))
        at = reply.get("next")
    assert sum(sizes) == 3
    assert max(sizes) <= 2
