"""A real guest that is shelved: it is nowhere, and comes back with its disk, its address and its MAC."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

HEAD = r"QFI\373\0\0\0\3"
"""How a disk of the format qcow2 begins."""
NewCloud = Callable[..., AbstractContextManager[RealCloud]]


@pytest.fixture(scope="module")
def cloud(new_cloud: NewCloud) -> Iterator[RealCloud]:
    with new_cloud() as cloud:
        cloud.start()
        cloud.let_in(22)
        yield cloud


def act(cloud: RealCloud, guest: Guest, what: str, wanted: str) -> dict[str, Any]:
    """Have something done with a guest, and wait until it is what it is to be."""
    cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", {what: None})

    def settled() -> Any:
        server = cloud.server(guest.id)
        return server if server["OS-EXT-STS:task_state"] is None else None

    found: dict[str, Any] = eventually(f"{what} to end", settled, 150)
    assert found["status"] == wanted, cloud.floe("trace", guest.id)
    return found


def test_what_was_written_inside_is_there_again_at_the_same_address(cloud: RealCloud, guest_image: Path) -> None:
    image = cloud.upload_direct(guest_image)
    guest = cloud.boot("one", image, key_name="key")
    cloud.booted(guest)
    before = cloud.server(guest.id)
    # What it writes where formats of disks have their heads is data, of a disk that is copied and brought back.
    cloud.ssh(guest, rf"echo mine > /kept && printf '{HEAD}' | dd of=/dev/vda conv=notrunc && sync")
    away = act(cloud, guest, "shelve", "SHELVED_OFFLOADED")
    assert cloud.qemu(guest.id) == []
    assert away["addresses"] == before["addresses"]
    back = act(cloud, guest, "unshelve", "ACTIVE")
    assert back["addresses"] == before["addresses"]
    cloud.booted(guest)
    assert cloud.ssh(guest, "cat /kept; head -c 3 /dev/vda") == "mine\nQFI"
    assert cloud.ssh(guest, "cat /sys/class/net/eth0/address").strip() == guest.mac
    images = cloud.user().get("/image/v2/images")["images"]
    assert [each for each in images if each["name"].endswith("-shelved")] == []
    cloud.delete(guest.id)
    assert cloud.qemu(guest.id) == []
