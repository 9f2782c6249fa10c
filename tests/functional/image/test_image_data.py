"""Image bytes through the whole application: in, out, cut off, refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from floe.api.app import App
from floe.blobs.files import FileBlobs
from floe.cloud import image_data, images
from floe.cloud.cloud import Cloud
from floe.conductor.image_actions import ImageActions
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound, Unavailable
from floe.core.guests import GuestImage
from floe.core.images import NewImage

As = Callable[[str], httpx.AsyncClient]
BYTES = {"content-type": "application/octet-stream"}
ANN = Context(request_id="r", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))
BOB = Context(request_id="r", user_id="bob", project_id="b" * 32, roles=frozenset({"member", "reader"}))


async def make(client: httpx.AsyncClient, **body: Any) -> str:
    reply = await client.post("/v2/images", json={"disk_format": "raw", "container_format": "bare", **body})
    assert reply.status_code == 201, reply.text
    return str(reply.json()["id"])


async def active(client: httpx.AsyncClient, data: bytes, **body: Any) -> str:
    image_id = await make(client, **body)
    reply = await client.put(f"/v2/images/{image_id}/file", content=data, headers=BYTES)
    assert reply.status_code == 204, reply.text
    return image_id


async def show(client: httpx.AsyncClient, image_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v2/images/{image_id}")).json()
    return found


def folder(cloud: Cloud) -> Path:
    assert isinstance(cloud.blobs, FileBlobs)
    return cloud.blobs.directory


def kept(cloud: Cloud) -> list[str]:
    return sorted(path.name for path in folder(cloud).iterdir())


def backed_qcow2() -> bytes:
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, 512, 11, 16, 1 << 24, 0, 1, 3 << 16, 1 << 16, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    return (header.ljust(512, b"\0") + b"/etc/shadow").ljust(4 << 16, b"\0")


async def test_what_is_uploaded_is_measured_kept_and_given_back(client: As, image_cloud: Cloud) -> None:
    ann, data = client("ann"), os.urandom((3 << 20) + 77)
    image_id = await active(ann, data)
    image = await show(ann, image_id)
    assert image["status"] == "active"
    assert (image["size"], image["virtual_size"]) == (len(data), len(data))
    assert image["checksum"] == hashlib.md5(data).hexdigest()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    got = await ann.get(f"/v2/images/{image_id}/file")
    assert got.content == data
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-length"] == str(len(data))
    assert got.headers["content-md5"] == image["checksum"]
    head = await ann.head(f"/v2/images/{image_id}/file")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(data)), b"")
    assert kept(image_cloud) == [image_id]
    assert (await ann.delete(f"/v2/images/{image_id}")).status_code == 204
    assert kept(image_cloud) == []
    assert (await ann.get(f"/v2/images/{image_id}/file")).status_code == 404


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, 100),
        ("bytes=-7", 93, 100),
        ("bytes=90-500", 90, 100),
        ("bytes=-500", 0, 100),
    ],
)
async def test_a_part_can_be_read(client: As, asked: str, start: int, end: int) -> None:
    ann, data = client("ann"), os.urandom(100)
    image_id = await active(ann, data)
    got = await ann.get(f"/v2/images/{image_id}/file", headers={"range": asked})
    assert got.status_code == 206
    assert got.content == data[start:end]
    assert got.headers["content-range"] == f"bytes {start}-{end - 1}/100"
    assert "content-md5" not in got.headers


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=-0", "bytes=9-3", "bytes=0-1,5-6", "lines=1-2", "bytes=-"])
async def test_a_part_that_is_not_there_is_refused(client: As, asked: str) -> None:
    ann = client("ann")
    image_id = await active(ann, bytes(100))
    got = await ann.get(f"/v2/images/{image_id}/file", headers={"range": asked})
    assert (got.status_code, got.headers["content-range"]) == (416, "bytes */100")


async def test_an_image_without_data_has_none_to_give(client: As) -> None:
    ann = client("ann")
    got = await ann.get(f"/v2/images/{await make(ann)}/file")
    assert (got.status_code, got.content) == (204, b"")


@pytest.mark.parametrize("media", ["application/json", "", "text/plain; charset=utf-8"])
async def test_data_needs_its_media_type(client: As, media: str) -> None:
    ann = client("ann")
    image_id = await make(ann)
    reply = await ann.put(f"/v2/images/{image_id}/file", content=b"x", headers={"content-type": media})
    assert reply.status_code == 415
    assert (await show(ann, image_id))["status"] == "queued"


async def test_data_needs_formats(client: As) -> None:
    ann = client("ann")
    image_id = await make(ann, disk_format=None)
    reply = await ann.put(f"/v2/images/{image_id}/file", content=b"x", headers=BYTES)
    assert reply.status_code == 400
    assert "disk_format" in reply.json()["message"]


@pytest.mark.parametrize(
    ("declared", "data", "status", "word"),
    [
        ("qcow2", bytes(5000), 415, "its data is raw"),
        ("raw", backed_qcow2(), 415, "its data is qcow2"),
        ("qcow2", backed_qcow2(), 400, "backing file"),
        ("qcow2", backed_qcow2()[:5000], 400, "cut off"),
        ("qcow2", b"", 415, "its data is raw"),
        ("raw", bytes((8 << 20) + 1), 413, "8388608"),
    ],
)
async def test_a_refused_upload_leaves_the_image_queued_and_no_bytes(
    client: As, image_cloud: Cloud, declared: str, data: bytes, status: int, word: str
) -> None:
    ann = client("ann")
    image_id = await make(ann, disk_format=declared)

    async def unannounced() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 65536):
            yield data[at : at + 65536]

    for content in (data, unannounced()):
        reply = await ann.put(f"/v2/images/{image_id}/file", content=content, headers=BYTES)
        assert reply.status_code == status, reply.text
        assert word in reply.json()["message"]
        image = await show(ann, image_id)
        assert (image["status"], image["size"], image["checksum"]) == ("queued", None, None)
        assert kept(image_cloud) == []


async def put_in_pieces(app: App, image_id: str, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Upload as a server would hand it in, message by message."""
    left, sent = list(messages), []

    async def receive() -> dict[str, Any]:
        return left.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "scheme": "http",
        "path": f"/image/v2/images/{image_id}/file",
        "query_string": b"",
        "headers": [(b"x-auth-token", b"ann"), (b"content-type", b"application/octet-stream")],
    }
    await app(scope, receive, send)
    return sent


async def test_an_upload_cut_off_leaves_the_image_queued_and_no_bytes(client: As, app: App, image_cloud: Cloud) -> None:
    ann = client("ann")
    image_id = await make(ann)
    piece = {"type": "http.request", "body": bytes(2 << 20), "more_body": True}
    assert await put_in_pieces(app, image_id, piece, piece, {"type": "http.disconnect"}) == []
    assert (await show(ann, image_id))["status"] == "queued"
    assert kept(image_cloud) == []
    again = await ann.put(f"/v2/images/{image_id}/file", content=b"whole", headers=BYTES)
    assert again.status_code == 204
    assert (await show(ann, image_id))["size"] == 5


async def test_an_upload_whose_request_is_cancelled_leaves_nothing(client: As, image_cloud: Cloud) -> None:
    image_id = await make(client("ann"))
    begun = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(2 << 20)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(image_data.upload(image_cloud, ANN, image_id, stalled()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await images.show(image_cloud, ANN, image_id)).status == "queued"
    assert kept(image_cloud) == []


async def test_only_one_upload_at_a_time_is_taken(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    image_id = await make(ann)

    async def interrupted() -> AsyncIterator[bytes]:
        yield b"first"
        second = await ann.put(f"/v2/images/{image_id}/file", content=b"second", headers=BYTES)
        assert second.status_code == 409
        assert (await show(ann, image_id))["status"] == "saving"

    await image_data.upload(image_cloud, ANN, image_id, interrupted())
    assert (await ann.get(f"/v2/images/{image_id}/file")).content == b"first"
    third = await ann.put(f"/v2/images/{image_id}/file", content=b"third", headers=BYTES)
    assert third.status_code == 409
    assert (await ann.get(f"/v2/images/{image_id}/file")).content == b"first"


async def test_an_image_deleted_in_mid_upload_leaves_nothing(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    image_id = await make(ann)

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"x"
            assert (await ann.delete(f"/v2/images/{image_id}")).status_code == 204

    reply = await ann.put(f"/v2/images/{image_id}/file", content=Body(), headers=BYTES)
    assert reply.status_code == 410
    assert kept(image_cloud) == []


async def test_a_format_is_fixed_once_there_is_data(client: As) -> None:
    ann = client("ann")
    image_id = await active(ann, b"x")
    reply = await ann.patch(
        f"/v2/images/{image_id}",
        json=[{"op": "replace", "path": "/disk_format", "value": "qcow2"}],
        headers={"content-type": "application/openstack-images-v2.1-json-patch"},
    )
    assert reply.status_code == 403
    assert (await show(ann, image_id))["disk_format"] == "raw"


async def test_a_deactivated_image_is_given_to_administrators_alone(client: As) -> None:
    ann, root = client("ann"), client("root")
    image_id = await active(ann, b"data")
    at = f"/v2/images/{image_id}"
    for _ in range(2):
        assert (await ann.post(f"{at}/actions/deactivate")).status_code == 204
    assert (await ann.get(f"{at}/file")).status_code == 403
    assert (await root.get(f"{at}/file")).content == b"data"
    assert (await ann.post(f"{at}/actions/reactivate")).status_code == 204
    assert (await ann.get(f"{at}/file")).content == b"data"
    queued = await make(ann)
    assert (await ann.post(f"/v2/images/{queued}/actions/deactivate")).status_code == 403


async def test_what_a_dead_process_left_is_cleared_at_start(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    whole, cut, lost = await active(ann, b"whole"), await make(ann), await make(ann)
    await half_uploaded(image_cloud, cut)
    await image_cloud.blobs.write(lost, pieces(b"renamed, but never recorded"), max_bytes=100)
    assert len(kept(image_cloud)) == 3
    heir = ImageActions(image_cloud, place="here")
    await heir.start()
    await heir.idle()
    await heir.stop()
    assert kept(image_cloud) == [whole]
    assert (await show(ann, cut))["status"] == "queued"
    assert (await show(ann, whole))["status"] == "active"
    assert (await ann.put(f"/v2/images/{cut}/file", content=b"again", headers=BYTES)).status_code == 204


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def half_uploaded(cloud: Cloud, image_id: str) -> None:
    """Leave behind what a process killed in mid-upload leaves: row and action, and a file half written."""

    async def die(_begun: Any) -> None:
        (folder(cloud) / f"{image_id}.part").write_bytes(b"half")

    dead = replace(ImageActions(cloud, place="here").own, perform=die)
    await image_data.upload(replace(cloud, image_actions=dead), ANN, image_id, pieces())


async def test_others_find_images_to_boot_from(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    data = bytes(4096)
    image_id, queued, iso = await active(ann, data, hw_disk_bus="virtio"), await make(ann), None
    read = image_cloud.db.read
    image = await read(lambda conn: images.bootable(conn, ANN, image_id))
    assert images.guest_image(image) == GuestImage(
        image_id=image_id,
        checksum=hashlib.sha512(data).hexdigest(),
        size=4096,
        disk_format="raw",
        virtual_size=4096,
        properties={"hw_disk_bus": "virtio"},
        blob_id=image_id,
    )
    assert b"".join([chunk async for chunk in image_data.content(image_cloud, image)]) == data
    for context, ident, kind in ((BOB, image_id, NotFound), (ANN, queued, Invalid), (ANN, "no-such", NotFound)):
        with pytest.raises(kind, match=ident):
            await read(lambda conn, c=context, i=ident: images.bootable(conn, c, i))
    descriptor = b"\x01CD001\x01".ljust(2048, b"\0")
    iso = await active(ann, bytes(32768) + descriptor, disk_format="iso")
    with pytest.raises(Invalid, match="servers boot from one of"):
        await read(lambda conn: images.bootable(conn, ANN, iso))
    with pytest.raises(Conflict):
        await image_data.upload(image_cloud, ANN, iso, pieces(b"x"))


async def test_an_upload_that_fails_while_the_database_refuses_writes_is_queued_again_in_the_end(
    image_cloud: Cloud,
) -> None:
    class Refusing:
        """A database that refuses the next few writes."""

        refusals = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(image_cloud.db, name)

        async def write(self, fn: Any, *isolation: Any) -> Any:
            if self.refusals:
                self.refusals -= 1
                raise Unavailable("The database could not write: database or disk is full")
            return await image_cloud.db.write(fn, *isolation)

    db = Refusing()
    acting = ImageActions(replace(image_cloud, db=db))
    cloud = replace(image_cloud, db=db, image_actions=acting.own)
    image = await images.create(cloud, ANN, NewImage(disk_format="raw", container_format="bare"))

    async def chunks() -> AsyncIterator[bytes]:
        yield b"some"
        db.refusals = 2

    with pytest.raises(Unavailable):
        await image_data.upload(cloud, ANN, image.id, chunks())
    while db.refusals:
        await asyncio.sleep(0.01)
    while (await images.show(cloud, ANN, image.id)).status != "queued":
        await acting.settle()
        await acting.idle()
        await asyncio.sleep(0.01)
    assert kept(cloud) == []


async def test_no_bytes_are_an_image_of_no_size_that_nothing_boots_from(client: As, image_cloud: Cloud) -> None:
    """What `openstack image create x </dev/null` uploads; Glance takes it for a raw disk."""
    ann = client("ann")
    image_id = await active(ann, b"")
    image = await show(ann, image_id)
    assert (image["status"], image["size"], image["virtual_size"]) == ("active", 0, None)
    assert image["checksum"] == hashlib.md5(b"").hexdigest()
    assert image["os_hash_value"] == hashlib.sha512(b"").hexdigest()
    got = await ann.get(f"/v2/images/{image_id}/file")
    assert (got.status_code, got.content) == (200, b"")
    with pytest.raises(Invalid, match="0 bytes"):
        await image_cloud.db.read(lambda conn: images.bootable(conn, ANN, image_id))
    assert (await ann.delete(f"/v2/images/{image_id}")).status_code == 204
    assert kept(image_cloud) == []
