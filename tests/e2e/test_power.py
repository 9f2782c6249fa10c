"""Power of real guests: they are asked before they are ended, go on where they were, and boot once when asked once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, eventually

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]

PATIENCE = 30
BUTTON, AGENT = "/etc/acpi/PWRF/00000080", "/sbin/shutdown"
"""What the guest runs when its power button is pressed, and when its agent is asked to shut it down."""
COUNTER = "setsid sh -c 'while :; do echo x >> /tmp/count; sleep 1; done' < /dev/null > /dev/null 2>&1 &"
"""Counts on while its guest has the memory it had."""


@pytest.fixture(scope="module")
def cloud(new_cloud: NewCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCloud]:
    """A cloud whose machine has a boot id that a test can change."""
    boot_id = tmp_path_factory.mktemp("machine") / "boot_id"
    boot_id.write_text("first\n")
    mount = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
    with new_cloud() as cloud:
        cloud.wrapper = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, str(boot_id))
        cloud.wraps_all = True
        cloud.flags = ("--shutdown-timeout", str(PATIENCE))
        cloud.start()
        yield cloud


@pytest.fixture(scope="module")
def image(cloud: RealCloud, guest_image: Path) -> str:
    return cloud.upload(guest_image.read_bytes(), "qcow2")


@pytest.fixture(scope="module")
def guest(cloud: RealCloud, image: str) -> Guest:
    """A guest that one can log in to, and that notes each of its boots on its disk."""
    demo = cloud.user()
    public = cloud.key.with_suffix(".pub").read_text().strip()
    demo.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "key", "type": "ssh", "public_key": public}})
    groups = demo.get("/network/v2.0/security-groups")["security_groups"]
    cloud.allow(next(group["id"] for group in groups if group["name"] == "default"), "tcp", 22)
    made = cloud.boot("alpha", image, key_name="key")
    cloud.booted(made)
    cloud.ssh(made, "sed -i '2i echo boot >> /boots' /etc/rc.boot && sync")
    return made


def act(cloud: RealCloud, guest: Guest, **body: Any) -> None:
    cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", body)


def becomes(cloud: RealCloud, guest: Guest, status: str, seconds: float = 3 * PATIENCE) -> Any:
    """Wait until nothing is done with a server, and it has a status."""

    def settled() -> Any:
        server = cloud.server(guest.id)
        return server if server["OS-EXT-STS:task_state"] is None and server["status"] == status else None

    return eventually(f"{guest.name} to be {status}", settled, seconds)


def boot_of(cloud: RealCloud, guest: Guest) -> str:
    return cloud.ssh(guest, "cat /proc/sys/kernel/random/boot_id")


def boots(cloud: RealCloud, guest: Guest) -> int:
    return int(cloud.ssh(guest, "cat /boots 2> /dev/null | wc -l"))


@pytest.mark.parametrize(
    "deaf", [(), (AGENT,), (BUTTON,), (AGENT, BUTTON)], ids=["listens", "to its button", "to its agent", "to nobody"]
)
def test_a_soft_reboot_asks_a_guest_and_ends_one_that_does_not_listen(
    cloud: RealCloud, guest: Guest, deaf: tuple[str, ...]
):
    said = "it did not shut down by itself" if len(deaf) == 2 else "it shut down by itself"
    before, counted, files = boot_of(cloud, guest), boots(cloud, guest), " ".join(deaf)
    cloud.ssh(guest, f"for file in {files}; do cp $file $file.kept; echo '#!/bin/sh' > $file; done; sync")
    act(cloud, guest, reboot={"type": "SOFT"})
    becomes(cloud, guest, "ACTIVE")
    assert boot_of(cloud, guest) != before
    assert boots(cloud, guest) == counted + 1
    assert f" {said}" in cloud.floe("trace", guest.id), "of the last that was done with it"
    cloud.ssh(guest, f"for file in {files}; do mv $file.kept $file; done; sync")


def test_a_stopped_guest_is_off_and_starts_again(cloud: RealCloud, guest: Guest):
    act(cloud, guest, **{"os-stop": None})
    assert becomes(cloud, guest, "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    assert cloud.qemu(guest.id) == []
    act(cloud, guest, **{"os-start": None})
    assert becomes(cloud, guest, "ACTIVE")["OS-EXT-STS:power_state"] == 1
    cloud.ssh(guest, "true")


def test_a_paused_guest_stands_still_and_goes_on(cloud: RealCloud, guest: Guest):
    before, pids = boot_of(cloud, guest), cloud.qemu(guest.id)
    act(cloud, guest, pause=None)
    assert becomes(cloud, guest, "PAUSED")["OS-EXT-STS:power_state"] == 3
    assert cloud.try_ssh(guest, "true", "-o", "BatchMode=yes", "-o", "ConnectTimeout=3").returncode == 255
    act(cloud, guest, unpause=None)
    becomes(cloud, guest, "ACTIVE")
    assert (boot_of(cloud, guest), cloud.qemu(guest.id)) == (before, pids)


def test_a_suspended_guest_goes_on_where_it_was(cloud: RealCloud, guest: Guest):
    cloud.ssh(guest, COUNTER)
    before = boot_of(cloud, guest)
    act(cloud, guest, suspend=None)
    assert becomes(cloud, guest, "SUSPENDED")["OS-EXT-STS:power_state"] == 7
    assert cloud.qemu(guest.id) == [], "its memory is on the disk"
    cloud.kill()
    cloud.start()
    becomes(cloud, guest, "SUSPENDED")
    act(cloud, guest, resume=None)
    becomes(cloud, guest, "ACTIVE")
    assert boot_of(cloud, guest) == before
    count = int(cloud.ssh(guest, "wc -l < /tmp/count"))
    assert count
    eventually("the counter to go on", lambda: int(cloud.ssh(guest, "wc -l < /tmp/count")) > count)


def test_a_reboot_whose_floe_is_killed_boots_the_guest_once(cloud: RealCloud, guest: Guest):
    counted, pids = boots(cloud, guest), cloud.qemu(guest.id)
    act(cloud, guest, reboot={"type": "HARD"})
    with contextlib.suppress(AssertionError):  # at whatever point it is
        eventually("the old guest to end", lambda: set(cloud.qemu(guest.id)) != set(pids), 5)
    cloud.kill()
    cloud.start()
    becomes(cloud, guest, "ACTIVE")
    assert boots(cloud, guest) == counted + 1


def test_after_a_start_of_the_machine_guests_are_what_they_were(cloud: RealCloud, guest: Guest, image: str):
    off = cloud.boot("beta", image, key_name="key")
    cloud.booted(off)
    act(cloud, off, **{"os-stop": None})
    becomes(cloud, off, "SHUTOFF")
    before, counted = boot_of(cloud, guest), boots(cloud, guest)
    cloud.ssh(guest, "sync")

    cloud.kill()
    for pid in cloud.qemu(guest.id):
        os.kill(pid, signal.SIGKILL)
    cloud.floe("sandbox", "remove")
    Path(cloud.wrapper[-1]).write_text("second\n")
    cloud.start()

    becomes(cloud, guest, "ACTIVE")
    assert boot_of(cloud, guest) != before
    assert boots(cloud, guest) == counted + 1
    assert becomes(cloud, off, "SHUTOFF")["OS-EXT-STS:power_state"] == 4
    assert cloud.qemu(off.id) == []
    cloud.delete(off.id)


def test_a_host_that_lost_its_ledger_starts_a_guest_from_its_disks(cloud: RealCloud, guest: Guest):
    counted = boots(cloud, guest)
    cloud.ssh(guest, "sync")
    act(cloud, guest, **{"os-stop": None})
    becomes(cloud, guest, "SHUTOFF")
    cloud.kill()
    (ledger,) = cloud.state.glob("hosts/*/ledger.jsonl")
    ledger.unlink()
    cloud.start()
    act(cloud, guest, **{"os-start": None})
    becomes(cloud, guest, "ACTIVE")
    assert boots(cloud, guest) == counted + 1, "from the same disk, and it can be reached"
    assert cloud.floe("trace", guest.id).count(" ports ") > 0, "of the last that was done with it"
