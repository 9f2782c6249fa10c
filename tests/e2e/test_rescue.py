"""Rescues of a real guest: what it boots from, where its own disk is meanwhile, and what it is afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]
PASSWORD = "for-the-rescue"
HIDDEN = r"(printf 'QFI\373\0\0\0\3'; dd if=/dev/zero bs=504 count=1) | dd of=/dev/vda bs=512 conv=notrunc && sync"
"""What a guest does to its disk: its first sector boots nothing, names no partition, and says that it is a qcow2 file.

The file system of a rescue from the same image has the same label, and is the only one that is found by it.
"""


@pytest.fixture(scope="module")
def cloud(new_cloud: NewCloud) -> Iterator[RealCloud]:
    with new_cloud() as cloud:
        cloud.start()
        cloud.let_in(22)
        yield cloud


def act(cloud: RealCloud, guest: Guest, status: str, **body: Any) -> None:
    """Have a guest rescued, or not any more, and wait until it says login on its new console."""
    cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", body)

    def settled() -> Any:
        server = cloud.server(guest.id)
        return server if server["OS-EXT-STS:task_state"] is None else None

    assert eventually("the action to end", settled, 300)["status"] == status, cloud.floe("trace", guest.id)
    cloud.booted(guest)


def told(cloud: RealCloud, guest: Guest) -> bool:
    """Say whether its config drive has the password of the rescue."""
    return int(cloud.ssh(guest, f"grep -c {PASSWORD} /dev/sr0 || true")) > 0


def found(cloud: RealCloud, guest: Guest, own: str, rescue: str) -> str:
    """Return what is on a rescued guest's own disk, whose first sector it gets back from the rescue disk."""
    mounted = cloud.ssh(guest, "cat /proc/mounts")
    assert f"/dev/{rescue}2 / " in mounted, mounted
    cloud.ssh(guest, f"dd if=/dev/{rescue} of=/dev/{own} bs=512 count=1 conv=notrunc && blockdev --rereadpt /dev/{own}")
    look = f"mkdir -p /own && mount -t ext4 /dev/{own}2 /own && ls /own && umount /own && sync"
    return eventually("its own disk", lambda: cloud.ssh(guest, f"{look} || true"))


def test_a_rescued_guest_has_its_own_disk_beside_it(cloud: RealCloud, guest_image: Path) -> None:
    image = cloud.upload(guest_image.read_bytes(), "qcow2")
    guest = cloud.boot("one", image, key_name="key", config_drive=True)
    cloud.booted(guest)
    cloud.ssh(guest, "touch /marker && sync")
    assert not told(cloud, guest)

    cloud.ssh(guest, HIDDEN)
    act(cloud, guest, "RESCUE", rescue={"adminPass": PASSWORD})
    assert cloud.ssh(guest, "ls /marker || echo gone").strip().endswith("gone")
    assert told(cloud, guest)
    assert cloud.ssh(guest, "cat /sys/class/net/eth0/address").strip() == guest.mac
    assert "marker" in found(cloud, guest, "vdb", "vda").split()
    act(cloud, guest, "ACTIVE", unrescue=None)
    assert cloud.ssh(guest, "ls /marker").strip() == "/marker"
    assert not told(cloud, guest), "it has the drive that it had"

    stable = cloud.upload(guest_image.read_bytes(), "qcow2", hw_rescue_device="disk", hw_rescue_bus="virtio")
    cloud.ssh(guest, HIDDEN)
    act(cloud, guest, "RESCUE", rescue={"rescue_image_ref": stable})
    assert "marker" in found(cloud, guest, "vda", "vdb").split()
    cloud.delete(guest.id)
    assert cloud.qemu(guest.id) == []
