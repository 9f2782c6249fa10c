"""Debian with the real cloud-init takes from drive and service what its server was created with, seen from inside.

Left out unless `-m debian` asks for them: `scripts/test-debian` builds the image and runs them.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest
from real_cloud import Guest, RealCloud, encoded, eventually

pytestmark = pytest.mark.debian

BOOT_SECONDS = 1500.0
"""How long a boot may take: some 80 s of CPU when emulated, on a machine that may do much else."""
SCRIPT = "#!/bin/sh\necho ran >> /root/ran\n"
CLOUD_CONFIG = "#cloud-config\nwrite_files:\n- path: /root/written\n  content: by cloud-config\n"
PASSWORD = "Gr\u00fcn & 'quoted' $HOME"
# As root perl shows the secret of /etc/shadow, and its crypt knows every kind that Debian has made.
SAME_PASSWORD = "@user = getpwnam($ARGV[0]); print crypt($ARGV[1], $user[1]) eq $user[1] ? 'same' : 'another'"
DISK_GIB = 4


@dataclass(frozen=True, slots=True)
class Land:
    """A cloud with the Debian image, a flavor for it, and a network without DHCP."""

    cloud: RealCloud
    image: str
    flavor: str
    static: str


@pytest.fixture(scope="module")
def land(new_cloud: Callable[..., AbstractContextManager[RealCloud]]) -> Iterator[Land]:
    assert "DEBIAN_IMAGE" in os.environ, "run these by scripts/test-debian, which builds the image"
    with new_cloud() as cloud:
        cloud.start()
        cloud.let_in(22)
        image = cloud.upload(Path(os.environ["DEBIAN_IMAGE"]).read_bytes(), "qcow2")
        asked = {"name": "debian", "vcpus": 1, "ram": 512, "disk": DISK_GIB}
        flavor = cloud.user("admin").post("/compute/v2.1/flavors", {"flavor": asked})["flavor"]["id"]
        demo = cloud.user()
        static = demo.post("/network/v2.0/networks", {"network": {"name": "static", "mtu": 1380}})["network"]["id"]
        subnet = {"network_id": static, "ip_version": 4, "cidr": "10.77.0.0/24", "enable_dhcp": False}
        demo.post("/network/v2.0/subnets", {"subnet": subnet | {"gateway_ip": None}})
        yield Land(cloud, image, flavor, static)


def test_cloud_init_takes_everything_from_the_config_drive(land: Land) -> None:
    cloud = land.cloud
    asked = {"config_drive": True, "user_data": encoded(SCRIPT), "OS-DCF:diskConfig": "MANUAL"}
    with up(land, "by-drive", networks=[{"uuid": cloud.network()}, {"uuid": land.static}], **asked) as guest:
        check_identity(cloud, guest, "DataSourceConfigDrive")
        check_ran_once(cloud, guest)
        check_network(cloud, guest)
        assert root_mib(cloud, guest) < 1024 * (DISK_GIB - 1), "MANUAL leaves the root file system as the image has it"
        check_password(cloud, guest)
        check_upkeep(cloud, guest)


def test_cloud_init_takes_everything_from_the_metadata_service(land: Land) -> None:
    cloud = land.cloud
    message = MIMEMultipart()
    message.attach(MIMEText(CLOUD_CONFIG, "cloud-config"))
    message.attach(MIMEText(SCRIPT, "x-shellscript"))
    with up(land, "by-service", user_data=encoded(message.as_string()), **{"OS-DCF:diskConfig": "AUTO"}) as guest:
        check_identity(cloud, guest, "DataSourceOpenStack")
        check_ran_once(cloud, guest)
        assert inside(cloud, guest, "sudo cat /root/written") == "by cloud-config"
        check_network(cloud, guest)
        assert root_mib(cloud, guest) > 1024 * (DISK_GIB - 0.5), "AUTO grows the root file system to its disk"
        check_password(cloud, guest)


# -- what is looked at -------------------------------------------------------------------------------------------------


def check_identity(cloud: RealCloud, guest: Guest, source: str) -> None:
    """Check whom cloud-init asked, and that the guest has the name, the key and the metadata of its server."""
    result = json.loads(inside(cloud, guest, "cat /run/cloud-init/result.json"))["v1"]
    assert result["datasource"].startswith(source), result
    assert result["errors"] == []
    assert inside(cloud, guest, "hostname").strip() == guest.name
    key = cloud.key.with_suffix(".pub").read_text().strip()
    assert inside(cloud, guest, "cat .ssh/authorized_keys").splitlines() == [key]
    told = json.loads(inside(cloud, guest, "sudo cloud-init query ds.meta_data"))
    assert told["meta"] == {"colour": "green"}


def check_ran_once(cloud: RealCloud, guest: Guest) -> None:
    """Check that the user's script ran, and does not run when the stage it belongs to comes again."""
    inside(cloud, guest, "sudo cloud-init modules --mode final")
    assert inside(cloud, guest, "sudo cat /root/ran") == "ran\n"


def check_network(cloud: RealCloud, guest: Guest) -> None:
    """Check that each port has its NIC, with MAC, MTU and addresses, and that the one way out is its first subnet's."""
    demo = cloud.user()
    links = {link["address"]: link for link in json.loads(inside(cloud, guest, "ip -j address"))}
    ways = []
    for port in demo.get(f"/network/v2.0/ports?device_id={guest.id}")["ports"]:
        link = links[port["mac_address"]]
        assert link["mtu"] == demo.get(f"/network/v2.0/networks/{port['network_id']}")["network"]["mtu"]
        expected = set()
        for held in port["fixed_ips"]:
            subnet = demo.get(f"/network/v2.0/subnets/{held['subnet_id']}")["subnet"]
            expected.add((held["ip_address"], ipaddress.ip_network(subnet["cidr"]).prefixlen))
            if subnet["gateway_ip"]:
                ways.append((subnet["gateway_ip"], link["ifname"]))
        addresses = [each for each in link["addr_info"] if each["family"] == "inet"]
        assert {(each["local"], each["prefixlen"]) for each in addresses} == expected
    routes = json.loads(inside(cloud, guest, "ip -j route show default"))
    assert [(route["gateway"], route["dev"]) for route in routes] == ways


def check_password(cloud: RealCloud, guest: Guest) -> None:
    """Check that root has the password of the create, which the guest's agent was told, and then the one asked for."""
    eventually("the create's password", lambda: password_is(cloud, guest, "root", guest.password), 300)
    body = {"changePassword": {"adminPass": PASSWORD}}
    assert cloud.user().ask("POST", f"/compute/v2.1/servers/{guest.id}/action", body).status_code == 202
    assert password_is(cloud, guest, "root", PASSWORD)


def password_is(cloud: RealCloud, guest: Guest, user: str, password: str) -> bool:
    return inside(cloud, guest, shlex.join(["sudo", "perl", "-e", SAME_PASSWORD, user, password])) == "same"


def check_upkeep(cloud: RealCloud, guest: Guest) -> None:
    """Check that apt has sources, and that what it brings of kernels is what boots."""
    inside(cloud, guest, "grep -rEq '^(deb|URIs:) ' /etc/apt")
    spoil = "mount /dev/vda1 /mnt && echo old > /mnt/vmlinuz && echo old > /mnt/initrd && umount /mnt"
    compare = "mount -o ro /dev/vda1 /mnt && cmp /mnt/vmlinuz /vmlinuz && cmp /mnt/initrd /initrd.img && umount /mnt"
    for command in (spoil, "run-parts /etc/initramfs/post-update.d", compare):
        inside(cloud, guest, shlex.join(["sudo", "sh", "-c", command]))


def root_mib(cloud: RealCloud, guest: Guest) -> int:
    """Return how large its root file system is."""
    return int(inside(cloud, guest, "df --output=size -BM /").split()[1].removesuffix("M"))


# -- guests ------------------------------------------------------------------------------------------------------------


@contextmanager
def up(land: Land, name: str, **asked: Any) -> Iterator[Guest]:
    """Give a guest in which cloud-init is done, and delete it afterwards; where it fails, show its console."""
    cloud = land.cloud
    made = cloud.create(name, land.image, flavorRef=land.flavor, key_name="key", metadata={"colour": "green"}, **asked)
    guest = cloud.active(name, *made, network=cloud.network())
    done = "test -e /run/cloud-init/result.json"
    try:
        eventually(f"cloud-init in {name} to be done", lambda: said(cloud, guest, done) == (0, ""), BOOT_SECONDS, 2)
        yield guest
    except BaseException:
        print(f"--- the end of {name}'s console:", *cloud.console(guest.id).splitlines()[-60:], sep="\n")
        print(said(cloud, guest, "cat /run/cloud-init/result.json; sudo grep -E 'WARN|ERR' /var/log/cloud-init.log")[1])
        raise
    cloud.delete(guest.id)


def inside(cloud: RealCloud, guest: Guest, command: str) -> str:
    """Return what a command says that `debian` runs in a guest."""
    status, text = said(cloud, guest, command)
    assert status == 0, f"{command}: {status} {text}"
    return text


def said(cloud: RealCloud, guest: Guest, command: str) -> tuple[int, str]:
    done = cloud.try_ssh(guest, command, "-o", "BatchMode=yes", user="debian")
    return done.returncode, done.stdout
