"""A resize of a real guest: what is seen inside it, and what is left on its disk when that is taken back or kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]


@pytest.fixture(scope="module")
def cloud(new_cloud: NewCloud) -> Iterator[RealCloud]:
    with new_cloud() as cloud:
        cloud.start()
        cloud.let_in(22)
        yield cloud


def flavor(cloud: RealCloud, name: str, **asked: Any) -> str:
    body = {"flavor": {"name": name, "vcpus": 1, **asked}}
    return str(cloud.user("admin").post("/compute/v2.1/flavors", body)["flavor"]["id"])


def act(cloud: RealCloud, guest: Guest, status: str, action: str, asked: Any = None) -> None:
    """Ask for something, and wait until the server is as it should be."""
    cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", {action: asked})

    def settled() -> Any:
        server = cloud.server(guest.id)
        return server if server["OS-EXT-STS:task_state"] is None else None

    server = eventually(f"the {action} to end", settled, 300)
    assert server["status"] == status, cloud.floe("trace", guest.id)


def seen(cloud: RealCloud, guest: Guest) -> tuple[int, int, str]:
    """Return what there is in a guest: MiB of memory, sectors of its disk, and what was written there."""
    told = eventually("it to be up", lambda: cloud.ssh(guest, "cat /proc/meminfo /sys/block/vda/size /marker"), 120)
    lines = told.splitlines()
    return int(lines[0].split()[1]) // 1024, int(lines[-2]), lines[-1]


def root_mib(cloud: RealCloud, guest: Guest) -> int:
    """Return how large its root file system is."""
    return int(cloud.ssh(guest, "df -m / | awk 'NR == 2 {print $2}'"))


def test_a_resized_guest_is_larger_and_goes_back_to_what_it_was_or_stays(cloud: RealCloud, guest_image: Path) -> None:
    image = cloud.upload_direct(guest_image)
    small, large = (
        flavor(cloud, name, ram=128 * size, disk=size, **{"OS-FLV-EXT-DATA:ephemeral": 1})
        for name, size in (("small", 1), ("large", 2))
    )
    guest = cloud.boot("one", image, key_name="key", flavorRef=small, **{"OS-DCF:diskConfig": "AUTO"})
    cloud.booted(guest)
    # A head that the guest writes on a raw disk is data; its file systems have nothing there.
    heads = r"for disk in vda vdb; do printf 'QFI\373\0\0\0\3' | dd of=/dev/$disk conv=notrunc; done"
    cloud.ssh(guest, f"echo first > /marker; {heads}; sync")
    assert root_mib(cloud, guest) > 900
    memory, sectors, _ = seen(cloud, guest)

    act(cloud, guest, "VERIFY_RESIZE", "resize", {"flavorRef": large})
    more, grown, said = seen(cloud, guest)
    assert (more > memory + 100, grown, said) == (True, 2 * sectors, "first")
    assert cloud.ssh(guest, "head -c 3 /dev/vda; head -c 3 /dev/vdb") == "QFIQFI"
    assert root_mib(cloud, guest) > 1900
    cloud.ssh(guest, "echo second > /marker; sync")
    act(cloud, guest, "ACTIVE", "revertResize")
    assert seen(cloud, guest) == (memory, sectors, "first")

    act(cloud, guest, "VERIFY_RESIZE", "resize", {"flavorRef": large})
    eventually("it to be up", lambda: cloud.ssh(guest, "echo third > /marker && sync && cat /marker") == "third\n", 120)
    act(cloud, guest, "ACTIVE", "confirmResize")
    assert seen(cloud, guest) == (more, 2 * sectors, "third")
    assert cloud.ssh(guest, "cat /sys/class/net/eth0/address").strip() == guest.mac
    cloud.delete(guest.id)
    assert cloud.qemu(guest.id) == []
