"""What goes wrong for real on a host: the server says why, and nothing of it is left."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from real_cloud import RealCloud, differences, eventually
from system_libvirt import FLAGS, SystemLibvirt

pytestmark = pytest.mark.e2e

NewCloud = Callable[..., AbstractContextManager[RealCloud]]
BLANK = 1024 * 1024
TAKE_DHCP_PORT = """
import signal, socket
taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("waiting", flush=True)
while True:
    try:
        taken.bind(("", 67))
        break
    except OSError:
        pass
print("taken", flush=True)
signal.pause()
"""
"""It waits for the instant in which the port is free, as Floe starts a DHCP server that ends again within a second."""


@pytest.fixture(scope="module")
def cloud(new_cloud: NewCloud, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCloud]:
    """A cloud whose host has a small file system of its own, seen by `floe up` and what it starts alone."""
    disk = tmp_path_factory.mktemp("disk") / "hosts.ext4"
    with disk.open("wb") as file:
        file.truncate(3 * 2**30)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(disk)], check=True)
    mount = 'mkdir -p "$1" && mount -o loop "$0" "$1" && chmod 711 "$1" && shift && exec "$@"'
    with new_cloud() as cloud:
        shell = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount)
        cloud.wrapper = (*shell, str(disk), str(cloud.state / "hosts"))
        cloud.start()
        yield cloud


@pytest.fixture(scope="module")
def image(cloud: RealCloud) -> str:
    """An image that a guest starts from, though it boots nothing."""
    return cloud.upload(os.urandom(BLANK))


def fails(cloud: RealCloud, image: str, **fields: Any) -> dict[str, Any]:
    """Create a server that cannot be, see that nothing of it is left, and return its fault."""
    before = cloud.holdings()
    server_id, _ = cloud.create("unlucky", image, **fields)
    server = cloud.settled(server_id)
    assert server["status"] == "ERROR"
    assert server["addresses"] == {}
    assert differences(before, cloud.holdings()) == []
    seen = cloud.user("admin").get(f"/compute/v2.1/servers/{server_id}")["server"]["fault"]
    assert seen["message"] == server["fault"]["message"]
    cloud.delete(server_id)
    assert differences(before, cloud.holdings()) == []
    return dict(seen)


def works(cloud: RealCloud, image: str, **fields: Any) -> None:
    """Create a server, see that its guest runs, and delete it, which leaves nothing."""
    before = cloud.holdings()
    guest = cloud.boot("lucky", image, **fields)
    assert len(cloud.qemu(guest.id)) == 1
    cloud.delete(guest.id)
    assert differences(before, cloud.holdings()) == []


def test_all_is_well_at_first(cloud: RealCloud, image: str):
    works(cloud, image)


def test_a_guest_that_qemu_does_not_start(cloud: RealCloud):
    """Its kernel is none: what QEMU says of it on its way out is told."""
    kernel = cloud.upload(b"no kernel " * 200)
    fault = fails(cloud, cloud.upload(os.urandom(BLANK), kernel_id=kernel))
    assert "kernel" in fault["message"] + fault["details"]


def test_an_image_that_wants_hardware_which_does_not_exist(cloud: RealCloud):
    image = cloud.upload(os.urandom(BLANK), hw_machine_type="abacus")
    before = cloud.holdings()
    with pytest.raises(AssertionError, match=r"/servers: 400 .*has the value 'abacus'.* supports pc, q35"):
        cloud.create("unlucky", image)
    assert differences(before, cloud.holdings()) == []


def test_an_image_that_vanished_before_the_host_had_it(cloud: RealCloud):
    image = cloud.upload(os.urandom(BLANK))
    (blob,) = (file for file in (cloud.state / "images").rglob("*") if file.is_file() and image in str(file))
    blob.unlink()
    fault = fails(cloud, image)
    assert f"Image {image} is no longer there" in fault["message"]


def test_an_image_whose_bytes_were_changed_in_the_store(cloud: RealCloud):
    image = cloud.upload(os.urandom(BLANK))
    (blob,) = (file for file in (cloud.state / "images").rglob("*") if file.is_file() and image in str(file))
    blob.chmod(0o600)
    blob.write_bytes(os.urandom(BLANK))
    fault = fails(cloud, image)
    assert f"The bytes of image {image} do not match its checksum" in fault["message"]


@pytest.fixture
def filler(cloud: RealCloud) -> Iterator[Callable[[int], None]]:
    """Fill the host's disk but for so many MiB; what was filled is empty again at the end, or by a negative number."""
    hosts = cloud.state / "hosts"

    def fill(left: int) -> None:
        cloud.inside("rm", "-f", f"{hosts}/filler", f"{hosts}/filler-too")
        if left >= 0:
            free = f"$(($(df --output=avail -B 1M {hosts} | tail -n 1) - {max(left, 8)}))M"
            cloud.inside("sh", "-c", f"fallocate -l {free} {hosts}/filler")
        if left == 0:  # to the last block, which fallocate cannot
            cloud.inside("sh", "-c", f"cat /dev/zero 2> /dev/null > {hosts}/filler-too || true")

    yield fill
    fill(-1)


def test_a_full_disk_and_then_room_again(cloud: RealCloud, filler: Callable[[int], None]):
    image = cloud.upload(os.urandom(16 * BLANK))
    filler(8)
    assert fails(cloud, image)["message"] == "No space is left on the host's disk."
    filler(0)
    told = fails(cloud, image)["message"]  # which of its files had no room first depends on how full their blocks were
    assert told in (
        "No space is left on the host's disk.",
        "The host's disk is full: it cannot even note down the new guest.",
    )
    filler(-1)
    works(cloud, image)


def test_a_network_whose_dhcp_server_does_not_start_until_it_does(cloud: RealCloud, image: str):
    network = cloud.new_network("10.77.0.0/24")
    broken = cloud.tools / "dnsmasq"
    broken.write_text("#!/bin/sh\necho 'dnsmasq: it is broken today' >&2\nexit 2\n")
    broken.chmod(0o755)
    fault = fails(cloud, image, network=network)
    assert f"DHCP of network {network} could not be started (dnsmasq, status 2)." in fault["message"]
    assert "it is broken today" in fault["details"]
    broken.unlink()
    works(cloud, image, network=network)


def test_a_dhcp_server_whose_address_is_taken(cloud: RealCloud, image: str):
    """Another program has the DHCP port of the network's namespace; guests that were there before stay."""
    network = cloud.new_network("10.78.0.0/24")
    first = cloud.boot("first", image, network=network)
    assert len(cloud.dhcp_servers(network)) == 1
    usurper = subprocess.Popen(
        cloud.floe_words("exec", "--network", network, "--", "/usr/bin/python3", "-c", TAKE_DHCP_PORT),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert usurper.stdout is not None
        assert usurper.stdout.readline() == "waiting\n"

        def taken() -> bool:
            for pid in cloud.dhcp_servers(network):  # Floe brings its server back, and may be the faster one
                os.kill(pid, signal.SIGKILL)
            return bool(select.select([usurper.stdout], [], [], 0.5)[0])

        eventually("the port of DHCP servers", taken)
        assert usurper.stdout.readline() == "taken\n"
        fault = fails(cloud, image, network=network)
        assert f"DHCP of network {network} could not be started" in fault["message"]
        assert "in use" in fault["details"]
        assert len(cloud.qemu(first.id)) == 1
    finally:
        usurper.kill()
        usurper.communicate()
    cloud.delete(cloud.boot("second", image, network=network).id)
    assert len(cloud.dhcp_servers(network)) == 1
    cloud.delete(first.id)


def test_a_damaged_image_in_the_hosts_cache_is_fetched_anew(cloud: RealCloud):
    data = os.urandom(BLANK)
    image = cloud.upload(data)
    works(cloud, image)
    cached = cloud.cached(image)
    cloud.stop()
    cloud.inside("sh", "-c", f"chmod 600 {cached} && printf damaged | dd of={cached} bs=1 seek=5000 conv=notrunc")
    assert read(cloud, cached) != data
    cloud.start()
    works(cloud, image)
    assert read(cloud, cached) == data


def read(cloud: RealCloud, path: str) -> bytes:
    return bytes.fromhex(cloud.inside("od", "-An", "-v", "-tx1", path))


# -- libvirt itself ----------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon_cloud(new_cloud: NewCloud) -> Iterator[tuple[RealCloud, SystemLibvirt]]:
    """A cloud with a libvirtd of its own in its sandbox, instead of libvirt within `floe up`."""
    with new_cloud() as cloud:
        daemon = SystemLibvirt(cloud)
        daemon.prepare()
        daemon.start()
        cloud.flags = FLAGS
        cloud.start()
        yield cloud, daemon


def test_libvirtd_dies_and_comes_back(daemon_cloud: tuple[RealCloud, SystemLibvirt]):
    cloud, daemon = daemon_cloud
    image = cloud.upload(os.urandom(BLANK))
    before = cloud.holdings()
    works(cloud, image)
    daemon.kill()
    unlucky, _ = cloud.create("unlucky", image)
    # What may be left on the host is asked for until libvirt can tell; so it comes back in the meantime.
    eventually("the build to fail", lambda: "Error" in results(cloud, unlucky))
    daemon.start()
    server = cloud.settled(unlucky)
    assert server["status"] == "ERROR"
    assert "libvirt" in server["fault"]["message"]
    assert differences(before, cloud.holdings()) == []
    works(cloud, image)


def results(cloud: RealCloud, server_id: str) -> list[str | None]:
    """Return the results of a create's steps so far."""
    history = f"/compute/v2.1/servers/{server_id}/os-instance-actions"
    (action,) = cloud.user("admin").get(history)["instanceActions"]
    events = cloud.user("admin").get(f"{history}/{action['request_id']}")["instanceAction"]["events"]
    return [event["result"] for event in events]
