"""What cannot be is refused at the create, not found out by a host; what changes nothing is told in the trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Start = Callable[..., Awaitable[Any]]
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


async def describe(user: Any, **properties: str) -> None:
    """Give the user's image these properties."""
    changes = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
    reply = await user.http.patch(f"/image/v2/images/{user.image}", json=changes, headers=PATCH)
    assert reply.status_code == 200, reply.text


async def flavor(user: Any, kit: Any, specs: dict[str, str], **values: Any) -> str:
    admin = await kit.user(user.cloud, "admin").login()
    asked = {"name": "f", "vcpus": 1, "ram": 128, "disk": 1, **values}
    made = (await admin.http.post("/compute/v2.1/flavors", json={"flavor": asked})).json()["flavor"]
    path = f"/compute/v2.1/flavors/{made['id']}/os-extra_specs"
    if specs:
        assert (await admin.http.post(path, json={"extra_specs": specs})).status_code == 200
    await admin.http.aclose()
    return str(made["id"])


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("hw_disk_bus", "fdc", "virtio, scsi, ide, sata, usb"),
        ("hw_firmware_type", "coreboot", "bios, uefi"),
        ("hw_vif_model", "ne2k_pci", "virtio, e1000, rtl8139, e1000e"),
        ("img_signature", "c2ln", "img_signature_hash_method"),
        ("os_command_line", "x" * 2049, "2048"),
    ],
)
async def test_an_image_that_no_host_could_boot_is_refused_at_once(
    start: Start, name: str, value: str, right: str
) -> None:
    user = await start()
    await describe(user, **{name: value})
    reply = await user.ask()
    assert reply.status_code == 400, reply.text
    assert name in reply.text
    assert right in reply.text
    assert (await user.http.get("/compute/v2.1/servers")).json()["servers"] == []


async def test_a_flavor_with_limits_that_would_not_hold_is_refused_at_once(start: Start, kit: Any) -> None:
    user = await start()
    reply = await user.ask(flavorRef=await flavor(user, kit, {"quota:cpu_quota": "100"}))
    assert reply.status_code == 400, reply.text
    assert "quota:cpu_quota" in reply.text


async def test_what_has_no_effect_is_told_in_the_history_of_the_server(start: Start, kit: Any) -> None:
    user = await start()
    plain = await flavor(user, kit, {"mine": "x"})
    hints = {"colour": "red", "target_cell": "one"}
    for count in (1, 2):
        made = await user.ask(hints=hints, flavorRef=plain, name=f"n{count}", min_count=count)
        assert made.status_code == 202, made.text
        await user.cloud.settled()
        path = f"/compute/v2.1/servers/{made.json()['server']['id']}/os-instance-actions"
        (action,) = (await user.http.get(path)).json()["instanceActions"]
        events = (await user.http.get(f"{path}/{action['request_id']}")).json()["instanceAction"]["events"]
        (told,) = [event for event in events if event["event"] == "warning"]
        assert told["result"] == "Success"
        admin = await kit.user(user.cloud, "admin").login()
        events = (await admin.http.get(f"{path}/{action['request_id']}")).json()["instanceAction"]["events"]
        (details,) = [event["details"] for event in events if event["event"] == "warning"]
        assert details == "without effect here: hint colour='red', hint target_cell='one'"
        await admin.http.aclose()


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ([{"source_type": "blank", "volume_size": 0}], ["volume_size"]),
        ([{"source_type": "blank", "volume_size": "0"}], ["volume_size"]),
        ([{"source_type": "blank", "volume_size": "0", "guest_format": "swap"}], ["volume_size"]),
        ([{"source_type": "blank", "uuid": "11111111-1111-4111-8111-111111111111"}], ["Invalid device UUID"]),
        ([{"source_type": "blank", "boot_index": 0}], ["boot_index"]),
        ([{"source_type": "blank", "disk_bus": "xen"}], ["disk_bus", "virtio"]),
        ([{"source_type": "image", "uuid": "IMAGE", "boot_index": 0}] * 2, ["Boot sequence"]),
    ],
)
async def test_a_block_device_that_cannot_be_is_refused(
    start: Start, kit: Any, devices: list[dict[str, Any]], words: list[str]
) -> None:
    user = await start()
    local = [{"destination_type": "local", **device} for device in devices]
    for device in local:
        if device.get("uuid") == "IMAGE":
            device["uuid"] = user.image
    large = await flavor(user, kit, {}, **{"OS-FLV-EXT-DATA:ephemeral": 2, "swap": 64})
    reply = await user.ask(flavorRef=large, block_device_mapping_v2=local)
    assert reply.status_code == 400, reply.text
    for word in words:
        assert word in reply.text


async def test_a_blank_device_without_a_size_has_what_the_flavor_has(start: Start, kit: Any) -> None:
    user = await start()
    large = await flavor(user, kit, {}, **{"OS-FLV-EXT-DATA:ephemeral": 2})
    ident = await user.built(
        flavorRef=large, block_device_mapping_v2=[{"source_type": "blank", "destination_type": "local"}]
    )
    disks = user.cloud.node.agents[0]._ledger.guests[ident].disks
    assert [(disk.role, disk.size_mib) for disk in disks] == [("root", 1024), ("ephemeral0", 2048)]
