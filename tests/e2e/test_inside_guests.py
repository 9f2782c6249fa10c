"""Seen from inside a guest with many NICs: their order, the names of servers, what its console costs the host."""

from __future__ import annotations

import base64
import contextlib
import email.message
import gzip
import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, eventually

from floe.hypervisors.libvirt.console_keeper import LIMIT

pytestmark = pytest.mark.e2e

FLOOD = 6 * LIMIT
"""Bytes that a guest writes to its console: three times of what is kept."""

COUNTER = (
    bytes.fromhex("fa baf803 6631db b90800 66c1c304 88d8 240f 3c0a 7202 0427 0430 ee e2ed b00a ee 6643 ebe3")
    .ljust(510, b"\0") + b"\x55\xaa"
)  # fmt: skip
"""A boot sector for a PC: writes 00000000, 00000001 and so on to the first serial port, a line each, for ever."""


def parts() -> bytes:
    """Return user data of several parts, in the order and with the encodings that tools choose, gzipped."""
    message = email.message.EmailMessage()
    message["Subject"] = "unasked for"
    message.make_mixed()
    for name, subtype, encoding, text in (
        ("first.sh", "x-shellscript", "7bit", "#!/bin/sh\necho first >> /var/log/parts\nfalse\n"),
        ("cloud.cfg", "cloud-config", "base64", "#cloud-config\npackages: [nginx]\n"),
        ("zweites.sh", "x-shellscript", "quoted-printable", "#!/bin/sh\necho zwölf=C3 >> /var/log/parts\n"),
        ("third.sh", "x-shellscript", "base64", "#!/bin/sh\necho third >> /var/log/parts\n"),
        ("notes", "plain", "8bit", "--nothing to run\n"),
    ):
        part = email.message.EmailMessage()
        part.set_content(text, subtype=subtype, cte=encoding)
        part.add_header("Content-Disposition", "attachment", filename=name)
        message.attach(part)
    return gzip.compress(bytes(message))


@dataclass(frozen=True, slots=True, repr=False)
class Wide:
    """A guest with its NICs in an order that neither ids nor networks explain, and the ports in that order."""

    cloud: RealCloud
    guest: Guest
    ports: list[Any]
    image: str

    def macs(self) -> list[str]:
        """Return the MACs of eth0, eth1 and so on, as the guest has them."""
        files = " ".join(f"/sys/class/net/eth{number}/address" for number in range(len(self.ports)))
        return self.cloud.ssh(self.guest, f"cat {files}").split()

    def found(self, name: str) -> list[str]:
        """Return the addresses that the guest is told for a name; both kinds of address must be answered about."""
        said = self.cloud.ssh(self.guest, f"nslookup {shlex.quote(name)} {self.dns()} || true")
        assert "REFUSED" not in said
        return sorted(line.split()[-1] for line in said.partition("\n\n")[2].splitlines() if line.startswith("Address"))

    def dns(self) -> str:
        query = f"device_owner=network:dhcp&network_id={self.guest.network_id}"
        (port,) = self.cloud.user("admin").get(f"/network/v2.0/ports?{query}")["ports"]
        return str(port["fixed_ips"][0]["ip_address"])

    def becomes(self, name: str, addresses: list[str]) -> None:
        eventually(f"{name} to be {addresses}", lambda: self.found(name) == addresses)

    def rename(self, server_id: str, hostname: str) -> None:
        body = {"server": {"hostname": hostname}}
        self.cloud.user().ask("PUT", f"/compute/v2.1/servers/{server_id}", body)


@pytest.fixture(scope="module")
def wide(new_cloud: Callable[..., AbstractContextManager[RealCloud]], guest_image: Path) -> Iterator[Wide]:
    with new_cloud() as cloud:
        cloud.start()
        demo = cloud.user()
        image = cloud.upload(guest_image.read_bytes(), "qcow2")
        cloud.let_in(22)
        two, three = cloud.new_network("10.2.0.0/24"), cloud.new_network("10.3.0.0/24")
        own = [
            demo.post("/network/v2.0/ports", {"port": {"network_id": network}})["port"]["id"]
            for network in (three, two, three)
        ]
        nics = [{"port": own[0]}, {"port": own[1]}, {"uuid": cloud.network()}, {"uuid": two}, {"port": own[2]}]
        server_id, password = cloud.create(
            "wide", image, networks=nics, key_name="key", hostname="Wide.corp.example",
            user_data=base64.b64encode(parts()).decode(),
        )  # fmt: skip
        assert cloud.settled(server_id)["status"] == "ACTIVE", cloud.server(server_id).get("fault")
        listed = {port["id"]: port for port in demo.get(f"/network/v2.0/ports?device_id={server_id}")["ports"]}
        ports = [listed.pop(nic["port"]) if "port" in nic else nic for nic in nics]
        for index, nic in enumerate(ports):
            if "uuid" in nic:
                (ports[index],) = (port for port in listed.values() if port["network_id"] == nic["uuid"])
        seen = ports[2]
        guest = Guest(
            id=server_id, name="wide", password=password, port_id=seen["id"], network_id=seen["network_id"],
            address=seen["fixed_ips"][0]["ip_address"], mac=seen["mac_address"],
        )  # fmt: skip
        cloud.booted(guest)
        yield Wide(cloud, guest, ports, image)


def test_nics_are_in_the_order_asked_for_also_after_restarts(wide: Wide):
    cloud, asked = wide.cloud, [port["mac_address"] for port in wide.ports]
    assert wide.macs() == asked
    document = "http://169.254.169.254/openstack/latest/network_data.json"
    links = json.loads(cloud.ssh(wide.guest, f"wget -q -O - {document}"))["links"]
    assert [link["ethernet_mac_address"] for link in links] == asked
    shown = cloud.server(wide.guest.id)["addresses"]
    assert list(shown) == list(dict.fromkeys(["net 10.3.0.0/24", "net 10.2.0.0/24", "private"]))

    cloud.kill()
    cloud.start()
    look = "cat /proc/sys/kernel/random/boot_id || true"  # there may be no /proc any more on the way down
    boot = cloud.ssh(wide.guest, look)
    cloud.ssh(wide.guest, "reboot")
    eventually("another boot", lambda: cloud.ssh(wide.guest, look) not in ("", boot), 300)
    assert wide.macs() == asked


def test_both_names_of_a_server_resolve_and_follow_changes(wide: Wide):
    cloud = wide.cloud
    assert wide.found("wide.corp.example") == [wide.guest.address]
    assert wide.found("wide") == [wide.guest.address]
    before = cloud.dhcp_servers(wide.guest.network_id)
    peer = cloud.boot("peer", wide.image, hostname="Peer.corp.example")
    for name in ("peer.corp.example", "peer", "peer.cloud.internal"):
        wide.becomes(name, [peer.address])
    assert "peer.corp.example" in cloud.ssh(wide.guest, f"nslookup {peer.address} {wide.dns()}")

    wide.rename(peer.id, "other.example.net")
    for name in ("other.example.net", "other", "other.cloud.internal"):
        wide.becomes(name, [peer.address])
    for name in ("peer.corp.example", "peer", "peer.cloud.internal"):
        assert wide.found(name) == []

    wide.rename(peer.id, "wide")
    wide.becomes("wide", sorted([wide.guest.address, peer.address]))
    wide.rename(peer.id, "localhost")
    wide.becomes("wide", [wide.guest.address])
    assert wide.found("localhost.cloud.internal") == []

    wide.rename(peer.id, "last")
    wide.becomes("last", [peer.address])
    cloud.delete(peer.id)
    wide.becomes("last", [])
    assert cloud.dhcp_servers(wide.guest.network_id) == before


def test_a_console_is_bounded_while_floe_is_dead_and_read_when_it_is_back(wide: Wide):
    cloud = wide.cloud
    writer = cloud.boot("writer", cloud.upload(COUNTER.ljust(1024 * 1024, b"\0")))
    (folder,) = cloud.state.glob(f"hosts/*/guests/{writer.id}")
    cloud.kill()
    most = 0

    def written() -> int:
        """Return how much the guest has written by now, by its own count."""
        nonlocal most
        with contextlib.suppress(FileNotFoundError):  # between one log and the next
            most = max(most, sum(file.stat().st_size for file in folder.glob("console.log*")))
            return counted((folder / "console.log").read_text())
        return 0

    eventually("the guest to write a lot", lambda: written() > FLOOD, 600)
    assert LIMIT < most <= 2 * LIMIT
    cloud.start()
    lines = cloud.console(writer.id).split()[1:-1]
    assert len(lines) > LIMIT // 2 // 9
    first = int(lines[0], 16)
    assert lines == [f"{first + number:08x}" for number in range(len(lines))], "nothing is missing between two logs"
    assert counted(cloud.console(writer.id)) > FLOOD
    before = counted(cloud.console(writer.id))
    eventually("the console to go on", lambda: counted(cloud.console(writer.id)) > before)
    cloud.delete(writer.id)


def counted(log: str) -> int:
    """Return how many bytes were written, by the last whole line; 0 of a log that was just begun."""
    lines = log.split("\n")[1:-1]
    return int(lines[-1], 16) * 9 if lines else 0


COMMANDS = {
    "sudo -n id -u": "0",
    "sudo su - -c 'id -u'": "0",
    "sudo ip link set eth1 up && ip -o link | awk '/eth1/ {print $2}'": "eth1:",
    "curl -V": "libcurl/",
    "curl -sS -w '%{http_code}' -o /dev/null http://169.254.169.254/openstack": "200",
    "curl -sS -X POST -d abc http://169.254.169.254/openstack/2013-10-17/password; echo $?": "0",
    "curl -sS -k https://127.0.0.1:9/ 2>&1 || echo ended with $?": "ended with 7",
    "curl -sS ldap://127.0.0.1/ 2>&1 || echo ended with $?": "ended with 4",
    "ping -c1 -w1 -s56 127.0.0.1": "1 packets received",
    "sudo ping -I lo -c1 -w1 -s56 127.0.0.1": "1 packets received",
    "lsblk -lb --nodeps": "TYPE",
    "lsblk --raw -b -n -o NAME,SIZE,TYPE /dev/vda": " disk",
    "lsblk --nodeps --noheadings --output NAME": "vda",
    "lsblk -S; echo end": "end",
    "sudo lsblk --fs --ascii": "floe-root",
    "sudo blkid": 'LABEL="floe-root"',
    "readlink -f /dev/disk/by-label/floe-root": "/dev/vda2",
    "sudo mkdir -p /mnt/x && sudo mount -t tmpfs none /mnt/x && df /mnt/x && sudo umount /mnt/x": "/mnt/x",
    "truncate -s 8M /tmp/disk && sudo mkfs -t ext4 /tmp/disk && blkid /tmp/disk": 'TYPE="ext4"',
    "sudo mkfs -t vfat /tmp/disk && blkid /tmp/disk; rm /tmp/disk": 'TYPE="vfat"',
    'sudo sh -c "date > /mnt/timestamp; sync" && sudo cat /mnt/timestamp': ":",
    "sudo mkdir -p /mnt/x && sudo ls -lR /dev | grep -c ' vda2$'": "1",
    "sudo nc -p 81 -lk -e echo foolish > /dev/null 2>&1 & sleep 1; for n in 1 2; do echo | nc -w 1 127.0.0.1 81; done":
        "foolish\nfoolish",
    "sudo nc -u -p 81 -lk -e echo foolish > /dev/null 2>&1 & sleep 1; echo bar | nc -w 1 -u 127.0.0.1 81": "foolish",
    "sudo /bin/kill -USR1 $(cat /var/run/udhcpc.eth0.pid) && ip -4 -o addr show eth0": "inet ",
    "sudo dhcpcd -6 -T -t 2 eth0 2>&1 || echo asked": "soliciting an IPv6 router",
    "cut -f1 -d. /proc/uptime && hostname && cat /etc/resolv.conf": "nameserver",
}  # fmt: skip
"""What clients that test clouds run in guests, as the user that they log in as, and what its answer holds."""


def test_the_tiny_image_knows_what_testers_call(wide: Wide, guest_image: Path):
    assert guest_image.stat().st_size < 25_000_000
    script = "".join(
        f"echo '=== {number}'; ( set -eu -o pipefail; PATH=$PATH:/sbin; {command}\n) 2>&1; echo \"status $?\"\n"
        for number, command in enumerate(COMMANDS)
    )
    done = wide.cloud.try_ssh(wide.guest, script, "-o", "BatchMode=yes", user="floe")
    answers = [answer.partition("\n")[2] for answer in done.stdout.split("=== ")[1:]]
    wrong = {
        command: answer
        for (command, holds), answer in zip(COMMANDS.items(), answers, strict=True)
        if holds not in answer or "status 0" not in answer
    }
    assert not wrong, f"{json.dumps(wrong, indent=1)} {done.stderr}"


def test_parts_of_user_data_run_in_order_and_what_is_not_run_is_said(wide: Wide):
    assert wide.cloud.ssh(wide.guest, "cat /var/log/parts") == "first\nzwölf=C3\nthird\n"
    said = [line.partition("] ")[2].strip() for line in wide.cloud.console(wide.guest.id).splitlines()]
    assert [line for line in said if line.startswith("user data")] == [
        "user data, part 1 (first.sh) ended with status 1",
        "user data, part 2 (cloud.cfg) is cloud-config, which this image does not know"
        " (an image with cloud-init does): not run",
        "user data, part 3 (zweites.sh) ended with status 0",
        "user data, part 4 (third.sh) ended with status 0",
        "user data, part 5 (notes) is text/plain, which this image does not know: not run",
    ]


def test_the_tiny_image_asks_no_metadata_service_in_a_cloud_it_does_not_know(wide: Wide):
    look = "echo 'Standard PC' > /run/product; mount -o bind /run/product /sys/class/dmi/id/product_name"
    said = wide.cloud.ssh(wide.guest, f"{look}; timeout 60 /usr/lib/guest/configure 2>&1")
    assert "the metadata service is not asked: the firmware calls this machine 'Standard PC'" in said
    assert "configured by: none" in said
