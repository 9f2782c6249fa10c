"""Image quotas: never exceeded, whatever comes at the same time, and given back at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import pytest

from floe.cloud import image_data, images
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import TooLarge
from floe.core.images import NewImage
from floe.store import audit, quotas

As = Callable[[str], httpx.AsyncClient]
BYTES = {"content-type": "application/octet-stream"}
PROJECT = "a" * 32
ANN = Context(request_id="r", user_id="ann", project_id=PROJECT, roles=frozenset({"member", "reader"}))
MIB = 1 << 20


async def limit(cloud: Cloud, **limits: int) -> None:
    await cloud.db.write(lambda conn: quotas.put(conn, PROJECT, limits))


async def queued(cloud: Cloud) -> str:
    return (await images.create(cloud, ANN, NewImage(disk_format="raw", container_format="bare"))).id


async def usage(client: httpx.AsyncClient) -> Mapping[str, Any]:
    reply = await client.get("/v2/info/usage")
    assert reply.status_code == 200
    return {name: each["usage"] for name, each in reply.json()["usage"].items()}


async def pieces(size: int, step: int = 100_000) -> AsyncIterator[bytes]:
    for at in range(0, size, step):
        yield bytes(min(step, size - at))


async def consistent(cloud: Cloud) -> None:
    assert (await cloud.db.read(audit.rows)).broken == []


async def test_usage_is_shown_as_glance_shows_it(client: As, image_cloud: Cloud) -> None:
    await limit(image_cloud, image_count_total=7)
    ann = client("ann")
    await image_data.upload(image_cloud, ANN, await queued(image_cloud), pieces(MIB + 1))
    assert (await ann.get("/v2/info/usage")).json() == {
        "usage": {
            "image_count_total": {"limit": 7, "usage": 1},
            "image_size_total": {"limit": 102400, "usage": 2},
            "image_stage_total": {"limit": 102400, "usage": 0},
            "image_count_uploading": {"limit": 10, "usage": 0},
        }
    }
    assert (await client("eve").get("/v2/info/usage")).status_code == 200
    assert (await client("system-admin").get("/v2/info/usage")).status_code == 403


async def test_images_are_counted_and_given_back_at_once(client: As, image_cloud: Cloud) -> None:
    await limit(image_cloud, image_count_total=3)
    ann = client("ann")
    replies = await asyncio.gather(*(ann.post("/v2/images", json={"name": "x"}) for _ in range(8)))
    assert sorted(reply.status_code for reply in replies) == [201] * 3 + [413] * 5
    refused = next(reply for reply in replies if reply.status_code == 413)
    assert refused.json()["message"] == ("Quota exceeded for image_count_total: requested 1, already used 3, limit 3.")
    made = next(reply.json()["id"] for reply in replies if reply.status_code == 201)
    assert (await ann.delete(f"/v2/images/{made}")).status_code == 204
    assert (await ann.post("/v2/images", json={})).status_code == 201
    await consistent(image_cloud)


@pytest.mark.parametrize("announced", [True, False], ids=["of a size announced", "of a size known late"])
async def test_uploads_at_the_same_time_never_exceed_the_bytes(image_cloud: Cloud, announced: bool) -> None:
    await limit(image_cloud, image_size_total=10)
    size, most = 3 * MIB - 5, 0

    async def watched() -> AsyncIterator[bytes]:
        nonlocal most
        async for piece in pieces(size):
            rows = await image_cloud.db.read(audit.rows)
            assert rows.broken == []
            most = max(most, sum(path.stat().st_size for path in image_cloud.blobs.directory.iterdir()))  # type: ignore[attr-defined]
            yield piece

    made = [await queued(image_cloud) for _ in range(8)]
    answers = await asyncio.gather(
        *(
            image_data.upload(image_cloud, ANN, image_id, watched(), announced=size if announced else 0)
            for image_id in made
        ),
        return_exceptions=True,
    )
    done = answers.count(None)
    assert done <= 3
    assert done == 3 or not announced
    assert {type(answer) for answer in answers if answer is not None} == {TooLarge}
    assert most <= 10 * MIB
    await consistent(image_cloud)
    for image_id in made:
        await images.delete(image_cloud, ANN, image_id)
    await image_data.upload(image_cloud, ANN, await queued(image_cloud), pieces(8 * MIB))
    await consistent(image_cloud)


async def test_a_small_upload_of_unknown_size_takes_what_is_left_and_no_more(image_cloud: Cloud) -> None:
    await limit(image_cloud, image_size_total=1)
    await image_data.upload(image_cloud, ANN, await queued(image_cloud), pieces(MIB - 100_000))
    await image_data.upload(image_cloud, ANN, await queued(image_cloud), pieces(100_000))
    with pytest.raises(TooLarge, match=r"image_size_total: 1 more bytes were asked for, 0 are left of 1 MiB"):
        await image_data.upload(image_cloud, ANN, await queued(image_cloud), pieces(1))


async def test_uploads_under_way_are_counted_in_number_and_bytes(client: As, image_cloud: Cloud) -> None:
    await limit(image_cloud, image_count_uploading=1, image_stage_total=2)
    ann, other = client("ann"), await queued(image_cloud)

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        assert (await usage(ann))["image_count_uploading"] == 1
        assert (await usage(ann))["image_stage_total"] == 1
        reply = await ann.put(f"/v2/images/{other}/file", content=b"y", headers=BYTES)
        assert (reply.status_code, "image_count_uploading" in reply.text) == (413, True)

    await image_data.upload(image_cloud, ANN, await queued(image_cloud), slow())
    reply = await ann.put(f"/v2/images/{other}/file", content=bytes(2 * MIB + 1), headers=BYTES)
    assert (reply.status_code, "image_stage_total" in reply.text) == (413, True)
    assert (await ann.put(f"/v2/images/{other}/file", content=bytes(2 * MIB), headers=BYTES)).status_code == 204
    assert (await usage(ann)) == {
        "image_count_total": 2,
        "image_size_total": 3,
        "image_stage_total": 0,
        "image_count_uploading": 0,
    }
    await consistent(image_cloud)


async def test_an_image_given_to_another_project_is_counted_there(client: As, image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)
    await image_data.upload(image_cloud, ANN, image_id, pieces(MIB))
    patch = {"content-type": "application/openstack-images-v2.1-json-patch"}
    for owner, name in (("b" * 32, "bob"), (None, "root")):
        change = [{"op": "replace", "path": "/owner", "value": owner}]
        reply = await client("root").patch(f"/v2/images/{image_id}", json=change, headers=patch)
        assert reply.status_code == 200
        await consistent(image_cloud)
        assert (await usage(client(name)))["image_size_total"] == (1 if owner else 0)
    await images.delete(image_cloud, Context(**{**_root, "project_id": "0" * 32}), image_id)  # type: ignore[arg-type]
    await consistent(image_cloud)


_root = {"request_id": "r", "user_id": "root", "roles": frozenset({"admin", "member", "reader"})}
