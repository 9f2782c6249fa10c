"""The image API as openstacksdk speaks it, and a client that hangs up, both over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openstack
import openstack.config
import pytest
import uvicorn

from floe.api.app import App
from floe.cloud.cloud import Cloud


@pytest.fixture
async def address(app: App) -> AsyncIterator[str]:
    """Serve the application on a free port of the loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", ws="none"))
    task = asyncio.create_task(server.serve([listener]))
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await task
    listener.close()


def connect(address: str, caller: str) -> Any:
    config = openstack.config.OpenStackConfig(load_yaml_config=False, load_envvars=False)
    region = config.get_one(
        auth_type="admin_token",
        auth={"token": caller, "endpoint": f"http://{address}/image"},
        image_endpoint_override=f"http://{address}/image",
        image_api_version="2",
    )
    return openstack.connection.Connection(config=region)


def walk_through(address: str, path: Path) -> None:
    """Do with the unmodified SDK what its users do with images."""
    with connect(address, "ann") as ann, connect(address, "bob") as bob:
        made = ann.image.create_image(
            "tiny", data=path.read_bytes(), disk_format="qcow2", container_format="bare", wait=True, os_distro="debian"
        )
        made = ann.image.get_image(made.id)
        assert (made.status, made.size) == ("active", path.stat().st_size)
        assert made.hash_value == hashlib.sha512(path.read_bytes()).hexdigest()
        assert made.os_distro == "debian"
        assert ann.image.find_image("tiny").id == made.id
        assert [image.id for image in ann.image.images(name="tiny", limit=1)] == [made.id]
        changed = ann.image.update_image(made.id, name="small", min_disk=1, os_distro="other")
        assert (changed.name, changed.min_disk) == ("small", 1)
        ann.image.add_tag(made.id, "x")
        assert ann.image.get_image(made.id).tags == ["x"]
        ann.image.remove_tag(made.id, "x")
        ann.image.add_member(made.id, member_id="b" * 32)
        bob.image.update_member("b" * 32, made.id, status="accepted")
        assert [image.id for image in bob.image.images()] == [made.id]
        assert bob.image.download_image(made.id).content == path.read_bytes()
        ann.image.deactivate_image(made.id)
        assert bob.image.get(f"/images/{made.id}/file").status_code == 403
        ann.image.reactivate_image(made.id)
        with pytest.raises(openstack.exceptions.SDKException, match="its data is qcow2"):
            ann.image.create_image("lie", data=path.read_bytes(), disk_format="raw", container_format="bare", wait=True)
        for image in list(ann.image.images()):
            ann.image.delete_image(image.id)
        assert list(ann.image.images()) == []


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
async def test_the_sdk_uploads_shares_changes_and_deletes(address: str, tmp_path: Path, image_cloud: Cloud) -> None:
    path = tmp_path / "made.qcow2"
    subprocess.run(["qemu-img", "create", "-f", "qcow2", path, "16M"], check=True, capture_output=True)
    await asyncio.to_thread(walk_through, address, path)
    assert list((tmp_path / "blobs").iterdir()) == []


async def test_a_client_that_hangs_up_leaves_no_bytes(address: str, tmp_path: Path) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}/image/v2", headers={"x-auth-token": "ann"}) as ann:
        body = {"disk_format": "raw", "container_format": "bare"}
        image_id = (await ann.post("/images", json=body)).json()["id"]
        host, port = address.split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"PUT /image/v2/images/{image_id}/file HTTP/1.1\r\nhost: x\r\nx-auth-token: ann\r\n"
            "content-type: application/octet-stream\r\ncontent-length: 8000000\r\n\r\n".encode()
        )
        writer.write(os.urandom(3 << 20))
        await writer.drain()

        async def until(status: str) -> None:
            while (await ann.get(f"/images/{image_id}")).json()["status"] != status:
                await asyncio.sleep(0)

        async with asyncio.timeout(30):
            await until("saving")
            writer.close()
            await until("queued")
    assert list((tmp_path / "blobs").iterdir()) == []
