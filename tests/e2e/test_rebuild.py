"""Rebuilds of a real guest: what is inside it afterwards, and what is not any more."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]
EPHEMERAL = "/dev/vdb"


def script(word: str) -> str:
    return base64.b64encode(f"#!/bin/sh\necho {word} > /var/said\n".encode()).decode()


@pytest.fixture(scope="module")
def cloud(new_cloud: NewCloud) -> Iterator[RealCloud]:
    with new_cloud() as cloud:
        cloud.start()
        cloud.let_in(22)
        yield cloud


def flavor(cloud: RealCloud) -> str:
    asked = {"name": "roomy", "ram": 128, "vcpus": 1, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1}
    return str(cloud.user("admin").post("/compute/v2.1/flavors", {"flavor": asked})["flavor"]["id"])


def rebuild(cloud: RealCloud, guest: Guest, image: str, **asked: Any) -> None:
    """Rebuild a guest, and wait until it is ACTIVE and says login: on its new console."""
    body = {"rebuild": {"imageRef": image, **asked}}
    cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", body)

    def settled() -> Any:
        server = cloud.server(guest.id)
        return server if server["OS-EXT-STS:task_state"] is None else None

    server = eventually("the rebuild to end", settled, 300)
    assert (server["status"], server["image"]["id"]) == ("ACTIVE", image), cloud.floe("trace", guest.id)
    cloud.booted(guest)


def kept(cloud: RealCloud, guest: Guest) -> str:
    """Return what is on the guest's ephemeral disk."""
    return cloud.ssh(guest, f"mkdir -p /kept && mount -t ext4 {EPHEMERAL} /kept && ls /kept && umount /kept")


def test_a_rebuilt_guest_is_another_one_with_the_disk_that_it_was_to_keep(cloud: RealCloud, guest_image: Path) -> None:
    image, other = (cloud.upload(guest_image.read_bytes(), "qcow2") for _ in range(2))
    made = {"flavorRef": flavor(cloud), "config_drive": True, "user_data": script("first")}
    guest = cloud.boot("one", image, key_name="key", **made)
    cloud.booted(guest)
    eventually("its script", lambda: cloud.ssh(guest, "cat /var/said || true") == "first\n")
    cloud.ssh(guest, f"touch /marker && mkdir /kept && mount -t ext4 {EPHEMERAL} /kept && touch /kept/file && sync")
    # What a guest writes to a disk says nothing of the disk's format: not of the one that goes, nor of one that stays.
    cloud.ssh(guest, r"printf 'QFI\373\0\0\0\3' | dd of=/dev/vda conv=notrunc && sync")

    asked = {"user_data": script("second"), "hostname": "anew", "adminPass": "a-new-password", "name": "two"}
    rebuild(cloud, guest, other, preserve_ephemeral=True, **asked)
    assert cloud.ssh(guest, "hostname").strip() == "anew"
    eventually("its other script", lambda: cloud.ssh(guest, "cat /var/said || true") == "second\n")
    assert cloud.ssh(guest, "ls /marker || echo gone").strip().endswith("gone")
    assert "file" in kept(cloud, guest).split()
    assert int(cloud.ssh(guest, "grep -c a-new-password /dev/sr0 || true")) > 0, "the drive is made anew"
    assert cloud.ssh(guest, "cat /sys/class/net/eth0/address").strip() == guest.mac

    rebuild(cloud, guest, image, key_name="key")
    assert "file" not in kept(cloud, guest).split()
    cloud.delete(guest.id)
    assert cloud.qemu(guest.id) == []
