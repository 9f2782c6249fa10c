"""What becomes of `OS-DCF:diskConfig`: what is shown, and what a guest is told of its root file system."""

from __future__ import annotations

from typing import Any

import pytest

from floe.cloud.cloud import Cloud
from floe.core.guest_metadata import describe, fingerprint
from floe.store import images, servers

from .conftest import image

OWN = "77777777-7777-4777-8777-777777777777"


async def made(
    client: Any, cloud: Cloud, asked: str | None, properties: dict[str, str], flavor: str = "1"
) -> tuple[Any, str]:
    """Make a server of an image with these properties, and return the reply and its id."""
    await cloud.db.write(lambda conn: images.insert(conn, image(OWN, properties=properties)))
    server: dict[str, Any] = {"name": "web", "flavorRef": flavor, "imageRef": OWN, "networks": "none"}
    if asked is not None:
        server["OS-DCF:diskConfig"] = asked
    reply = await client("ann").post("/servers", json={"server": server})
    return reply, reply.json().get("server", {}).get("id", "")


async def told(cloud: Cloud, ident: str) -> bool:
    """Say whether a server's guest is told to leave its root file system as it is."""
    server = await cloud.db.read(lambda conn: servers.get(conn, ident))
    assert server is not None
    return describe(server, "nova").leave_root


@pytest.mark.parametrize(
    ("asked", "properties", "shown", "left"),
    [
        (None, {}, "MANUAL", False),  # as in Nova; what guests do by themselves is left to their images
        (None, {"auto_disk_config": "true"}, "AUTO", False),
        (None, {"auto_disk_config": "False"}, "MANUAL", True),
        (None, {"hw_auto_disk_config": "disabled"}, "MANUAL", True),
        ("AUTO", {}, "AUTO", False),
        ("AUTO", {"auto_disk_config": "false"}, "AUTO", False),
        ("MANUAL", {}, "MANUAL", True),
        ("MANUAL", {"auto_disk_config": "true"}, "MANUAL", True),
    ],
)
async def test_a_guest_is_told_what_user_or_image_ask_for_and_nothing_else(
    client: Any, compute_cloud: Cloud, asked: str | None, properties: dict[str, str], shown: str, left: bool
) -> None:
    reply, ident = await made(client, compute_cloud, asked, properties)
    assert reply.status_code == 202, reply.text
    assert reply.json()["server"]["OS-DCF:diskConfig"] == shown
    assert (await client("ann").get(f"/servers/{ident}")).json()["server"]["OS-DCF:diskConfig"] == shown
    assert await told(compute_cloud, ident) is left
    for query, found in (("auto_disk_config=1", shown == "AUTO"), ("auto_disk_config=0", shown == "MANUAL")):
        listed = (await client("root").get(f"/servers?all_tenants=1&{query}")).json()["servers"]
        assert bool(listed) is found


async def test_an_image_that_has_it_disabled_refuses_auto_at_the_create_and_later(
    client: Any, compute_cloud: Cloud
) -> None:
    properties = {"auto_disk_config": "Disabled"}
    reply, _ = await made(client, compute_cloud, "AUTO", properties)
    assert (reply.status_code, "automatic disk resize disabled" in reply.text) == (400, True)
    body = {"server": {"name": "web", "flavorRef": "1", "imageRef": OWN, "networks": "none"}}
    ident = (await client("ann").post("/servers", json=body)).json()["server"]["id"]
    reply = await client("ann").put(f"/servers/{ident}", json={"server": {"OS-DCF:diskConfig": "AUTO"}})
    assert (reply.status_code, "automatic disk resize disabled" in reply.text) == (400, True)


async def test_a_change_is_told_and_is_another_version_of_what_the_guest_reads(
    client: Any, compute_cloud: Cloud
) -> None:
    _, ident = await made(client, compute_cloud, None, {})
    before = await compute_cloud.db.read(lambda conn: servers.get(conn, ident))
    reply = await client("ann").put(f"/servers/{ident}", json={"server": {"OS-DCF:diskConfig": "MANUAL"}})
    assert reply.json()["server"]["OS-DCF:diskConfig"] == "MANUAL"
    after = await compute_cloud.db.read(lambda conn: servers.get(conn, ident))
    assert before is not None and after is not None
    assert fingerprint(describe(before, "nova")) != fingerprint(describe(after, "nova"))
    await client("ann").put(f"/servers/{ident}", json={"server": {"OS-DCF:diskConfig": "AUTO"}})
    assert await told(compute_cloud, ident) is False


async def test_too_little_memory_for_uefi_is_refused_by_name(client: Any, compute_cloud: Cloud) -> None:
    reply, _ = await made(client, compute_cloud, None, {"hw_firmware_type": "uefi"}, flavor="0")
    assert reply.status_code == 400
    assert all(word in reply.text for word in ("hw_firmware_type", "192 MiB", "128 MiB"))
    body = {"server": {"name": "web", "flavorRef": "1", "imageRef": OWN, "networks": "none"}}
    assert (await client("ann").post("/servers", json=body)).status_code == 202
