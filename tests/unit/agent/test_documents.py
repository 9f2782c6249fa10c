"""What a guest reads about itself."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pycdlib
import pytest
from msgspec.structs import replace

from floe.agent import config_drive, documents
from floe.agent.documents import GuestView, Interface
from floe.agent.tagged_devices import TaggedDevice, tagged
from floe.core.disks import local_disks
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec
from floe.core.host_network import (
    HostAddress,
    HostFloating,
    HostGroup,
    HostNetwork,
    HostPort,
    HostRoute,
    HostRouter,
    HostSegment,
    HostSubnet,
)
from floe.core.host_network_state import HostNetworkState
from floe.core.nics import Tap

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE somebody"
SCRIPT = b"#!/bin/sh\necho hello\n\x00\xff"
FILE = b"key = value\n"

DHCP = HostSubnet(subnet_id="s1", cidr="10.0.0.0/24", gateway="10.0.0.1", dhcp_address="10.0.0.2")
STATIC = HostSubnet(
    subnet_id="s2",
    cidr="192.168.4.0/22",
    gateway="192.168.4.1",
    dhcp=False,
    nameservers=("192.0.2.53",),
    routes=(HostRoute(destination="172.16.0.0/12", nexthop="192.168.4.9"),),
)
SEGMENT = HostSegment(network_id="n1", name="private", tag=1, mtu=1442, subnets=(DHCP, STATIC))
PORT = HostPort(
    port_id="p1",
    network_id="n1",
    server_id="srv",
    mac="fa:16:3e:00:00:01",
    tap="tap1",
    addresses=(HostAddress(subnet_id="s1", address="10.0.0.7"), HostAddress(subnet_id="s2", address="192.168.4.7")),
)
VIEW = GuestView(
    server_id="bbbbbbbb-0000-4000-8000-000000000001",
    guest_name="instance-0000002a",
    image_id="img",
    metadata=GuestMetadata(
        hostname="web.cloud",
        name="Web №1",
        project_id="42",
        metadata={"role": "web"},
        keys=(("mine", "ssh", KEY),),
        user_data=base64.b64encode(SCRIPT).decode(),
        admin_password="s3cret",
        flavor_name="m1.tiny",
        reservation_id="r-1",
        files=(("/etc/web.conf", base64.b64encode(FILE).decode()),),
    ),
    interfaces=(Interface(port=PORT, segment=SEGMENT),),
    security_groups=("default", "web"),
    random_seed=b"dice",
)


TAGGED = (
    TaggedDevice(tag="front", mac=PORT.mac, bus="pci", address="0000:00:03.0"),
    TaggedDevice(tag="données", serial="ephemeral0", bus="scsi"),
)
NIC_TOLD = {"type": "nic", "mac": PORT.mac, "bus": "pci", "address": "0000:00:03.0", "tags": ["front"]}
DISK_TOLD = {"type": "disk", "serial": "ephemeral0", "bus": "scsi", "address": "none", "tags": ["données"]}


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("2015-10-15", None),
        ("2016-06-30", [NIC_TOLD, DISK_TOLD]),
        ("2017-02-22", [NIC_TOLD, DISK_TOLD]),
        ("2018-08-27", [{"vf_trusted": False, **NIC_TOLD}, DISK_TOLD]),
        ("latest", [{"vf_trusted": False, **NIC_TOLD}, DISK_TOLD]),
    ],
)
def test_tagged_devices_are_told_from_the_version_that_knows_them(version: str, told: Any) -> None:
    found = get(f"/openstack/{version}/meta_data.json", replace(VIEW, tagged=TAGGED))
    assert found.get("devices") == told
    assert get("/openstack/latest/meta_data.json")["devices"] == []


@pytest.mark.parametrize(
    ("bus", "addresses", "where"),
    [
        ("virtio", {"vda": "0000:00:05.0"}, ("pci", "0000:00:05.0")),
        ("scsi", {}, ("scsi", "none")),
        ("ide", {}, ("ide", "none")),
        ("usb", {}, ("usb", "none")),
        ("sata", {}, ("none", "none")),
        ("virtio", {}, ("none", "none")),
    ],
)
def test_a_tagged_disk_is_where_its_bus_has_it(bus: str, addresses: dict[str, str], where: tuple[str, str]) -> None:
    root, drive = local_disks({"hw_disk_bus": bus}, image_id="i", root_mib=1, config_drive=True)
    guest = GuestSpec(
        server_id=VIEW.server_id,
        name="x",
        vcpus=1,
        memory_mib=64,
        disks=(replace(root, device_tag="t"), drive),
        image=GuestImage(image_id="i", checksum="", size=1, disk_format="raw", virtual_size=1),
        metadata=VIEW.metadata,
    )
    (found,) = tagged(guest, [PORT], addresses)
    assert (found.serial, found.bus, found.address) == ("root", *where)


def get(path: str, view: GuestView = VIEW) -> Any:
    found = documents.lookup(view, path)
    assert found is not None, path
    kind, body = found
    return json.loads(body) if kind == "application/json" else body


def test_meta_data_says_who_the_guest_is() -> None:
    assert get("/openstack/latest/meta_data.json") == {
        "uuid": VIEW.server_id,
        "hostname": "web.cloud",
        "name": "Web №1",
        "launch_index": 0,
        "availability_zone": "nova",
        "meta": {"role": "web"},
        "files": [{"path": "/etc/web.conf", "content_path": "/content/0000"}],
        "public_keys": {"mine": KEY},
        "keys": [{"name": "mine", "type": "ssh", "data": KEY}],
        "random_seed": base64.b64encode(b"dice").decode(),
        "project_id": "42",
        "devices": [],
        "dedicated_cpus": [],
    }
    assert get("/openstack/content/0000") == FILE


@pytest.mark.parametrize(
    ("version", "absent", "present"),
    [
        ("2012-08-10", "random_seed", "uuid"),
        ("2013-10-17", "project_id", "random_seed"),
        ("2015-10-15", "devices", "project_id"),
        ("2018-08-27", "dedicated_cpus", "devices"),
        ("2020-10-14", "nothing", "dedicated_cpus"),
    ],
)
def test_a_field_is_there_from_its_version_on(version: str, absent: str, present: str) -> None:
    document = get(f"/openstack/{version}/meta_data.json")
    assert absent not in document
    assert present in document


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("2012-08-10", "meta_data.json user_data"),
        ("2013-04-04", "meta_data.json user_data password"),
        ("2013-10-17", "meta_data.json user_data password vendor_data.json"),
        ("2015-10-15", "meta_data.json user_data password vendor_data.json network_data.json"),
        ("2025-04-04", "meta_data.json user_data password vendor_data.json network_data.json vendor_data2.json"),
        ("latest", "meta_data.json user_data password vendor_data.json network_data.json vendor_data2.json"),
    ],
)
def test_a_version_lists_the_files_it_has(version: str, names: str) -> None:
    assert get(f"/openstack/{version}/").decode().split("\n") == names.split()


def test_vendor_data_says_to_leave_the_root_file_system_where_that_was_asked_for() -> None:
    left = replace(VIEW, metadata=replace(VIEW.metadata, leave_root=True))
    said = {"cloud-init": "#cloud-config\ngrowpart:\n  mode: 'off'\nresize_rootfs: false\n"}
    drive = config_drive.contents(left)
    for name, document in (("vendor_data.json", said), ("vendor_data2.json", {"static": said})):
        assert get(f"/openstack/latest/{name}", left) == json.loads(drive[f"openstack/latest/{name}"]) == document
        assert get(f"/openstack/latest/{name}") in ({}, {"static": {}})


def test_user_data_comes_byte_for_byte_and_is_missing_where_there_is_none() -> None:
    assert get("/openstack/latest/user_data") == SCRIPT
    assert get("/latest/user-data") == SCRIPT
    bare = replace(VIEW, metadata=replace(VIEW.metadata, user_data=None))
    assert documents.lookup(bare, "/openstack/latest/user_data") is None
    assert documents.lookup(bare, "/latest/user-data") is None


def test_network_data_is_dhcp_or_static_as_the_subnet_is() -> None:
    assert get("/openstack/latest/network_data.json") == {
        "links": [
            {"id": "tap1", "vif_id": "p1", "type": "bridge", "mtu": 1442, "ethernet_mac_address": "fa:16:3e:00:00:01"}
        ],
        "networks": [
            {"id": "network0", "link": "tap1", "network_id": "n1", "type": "ipv4_dhcp"},
            {
                "id": "network1",
                "link": "tap1",
                "network_id": "n1",
                "type": "ipv4",
                "ip_address": "192.168.4.7",
                "netmask": "255.255.252.0",
                "routes": [
                    {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.168.4.1"},
                    {"network": "172.16.0.0", "netmask": "255.240.0.0", "gateway": "192.168.4.9"},
                ],
                "services": [{"type": "dns", "address": "192.0.2.53"}],
            },
        ],
        "services": [{"type": "dns", "address": "192.0.2.53"}],
    }


def interface(*addresses: tuple[HostSubnet, str], port: str = "p") -> Interface:
    """Return an interface with addresses in these subnets."""
    held = tuple(HostAddress(subnet_id=subnet.subnet_id, address=address) for subnet, address in addresses)
    segment = replace(SEGMENT, subnets=tuple(subnet for subnet, _ in addresses))
    return Interface(port=replace(PORT, port_id=port, tap=f"tap-{port}", addresses=held), segment=segment)


def test_name_servers_are_told_under_dhcp_too() -> None:
    leased = replace(DHCP, nameservers=("192.0.2.1", "192.0.2.2"))
    view = replace(VIEW, interfaces=(interface((leased, "10.0.0.7"), (STATIC, "192.168.4.7")),))
    told = [{"type": "dns", "address": address} for address in ("192.0.2.1", "192.0.2.2", "192.0.2.53")]
    assert documents.network_data(view)["services"] == told


def test_dhcp_is_asked_for_once_on_a_link_however_many_addresses_it_gives() -> None:
    other = replace(DHCP, subnet_id="s3", cidr="10.0.1.0/24")
    first = interface((DHCP, "10.0.0.7"), (DHCP, "10.0.0.8"), (other, "10.0.1.8"), port="a")
    second = interface((DHCP, "10.0.0.9"), port="b")
    networks = documents.network_data(replace(VIEW, interfaces=(first, second)))["networks"]
    assert [(each["id"], each["type"], each["link"]) for each in networks] == [
        ("network0", "ipv4_dhcp", "tap-a"),
        ("network1", "ipv4_dhcp", "tap-b"),
    ]


def test_drive_and_service_give_the_same_bytes_for_every_path() -> None:
    view = replace(VIEW, admin_password="s3cret", tagged=TAGGED)  # a password is what alone the two do not share
    drive = config_drive.contents(view)
    listed = get("/openstack", view).decode().split("\n")
    for version in listed:
        names = get(f"/openstack/{version}", view).decode().split("\n")
        there = {path.split("/")[2] for path in drive if path.startswith(f"openstack/{version}/")}
        assert there == set(names) - {"password"}
    compared = 0
    for path, content in drive.items():
        if path.endswith("meta-data.json"):
            _, version, _ = path.split("/")
            compared += same_tree(json.loads(content), view, f"/ec2/{version}/meta-data")
        else:
            found = documents.lookup(view, f"/{path}")
            assert found is not None, path
            assert found[1] == content, path
            compared += 1
    assert compared > len(drive)


def same_tree(level: Any, view: GuestView, path: str) -> int:
    """Compare the drive's JSON with the service's tree, leaf by leaf; return how many leaves there were."""
    if isinstance(level, dict):
        return sum(same_tree(value, view, f"{path}/{name}") for name, value in level.items())
    text = "\n".join(level) if isinstance(level, list) else str(level)
    assert get(path, view).decode() == text, path
    return 1


@pytest.mark.parametrize(
    ("version", "absent", "present"),
    [
        ("1.0", "local-hostname", "security-groups"),
        ("2007-01-19", "instance-type", "public-ipv4"),
        ("2007-08-29", "block-device-mapping", "instance-type"),
        ("2007-12-15", "placement", "block-device-mapping"),
        ("2008-02-01", "instance-action", "placement"),
        ("2009-04-04", "nothing", "instance-action"),
    ],
)
def test_an_entry_of_the_ec2_tree_is_there_from_its_version_on(version: str, absent: str, present: str) -> None:
    listed = {name.rstrip("/") for name in get(f"/{version}/meta-data/").decode().split("\n")}
    assert absent not in listed
    assert present in listed


@pytest.mark.parametrize(
    ("bus", "extra", "mapping"),
    [
        (None, {}, {"ami": "vda", "root": "/dev/vda"}),
        (
            "virtio",
            {"ephemeral_mib": 1024, "swap_mib": 64},
            {"ami": "vda", "root": "/dev/vda", "ephemeral0": "/dev/vdb", "swap": "/dev/vdc"},
        ),
        ("scsi", {"swap_mib": 64}, {"ami": "sda", "root": "/dev/sda", "swap": "/dev/sdb"}),
        ("ide", {"ephemeral_mib": 1024}, {"ami": "hda", "root": "/dev/hda", "ephemeral0": "/dev/hdb"}),
    ],
)
def test_the_block_devices_are_those_of_the_guest(
    bus: str | None, extra: dict[str, int], mapping: dict[str, str]
) -> None:
    properties = {"hw_disk_bus": bus} if bus else {}
    image = GuestImage(image_id="i", checksum="", size=1, disk_format="raw", virtual_size=1, properties=properties)
    guest = GuestSpec(
        server_id=VIEW.server_id,
        name="instance-0000002a",
        vcpus=1,
        memory_mib=64,
        disks=local_disks(properties, image_id="i", root_mib=1024, config_drive=True, **extra),
        image=image,
        metadata=VIEW.metadata,
    )
    view = documents.view_of(guest, HostNetworkState(), b"")
    assert documents.ec2_document(view, "latest")["block-device-mapping"] == mapping
    for name, device in mapping.items():
        assert get(f"/latest/meta-data/block-device-mapping/{name}", view).decode() == device


def test_the_groups_are_those_of_the_ports_by_name_each_once() -> None:
    state = HostNetworkState()
    state.merge(
        HostNetwork(
            generation=1,
            segments=(SEGMENT,),
            ports=(replace(PORT, groups=("g2", "g1")), replace(PORT, port_id="p2", groups=("g1", "g3"))),
            groups=tuple(HostGroup(group_id=f"g{n}", name=f"group {n}") for n in (1, 2, 3)),
        )
    )
    image = GuestImage(image_id="i", checksum="", size=1, disk_format="raw", virtual_size=1)
    nics = tuple(Tap(port_id=port, mac=PORT.mac, device=PORT.tap) for port in ("p2", "p1"))
    guest = GuestSpec(
        server_id="srv",
        name="x",
        vcpus=1,
        memory_mib=64,
        disks=local_disks({}, image_id="i", root_mib=1024),
        image=image,
        metadata=VIEW.metadata,
        nics=nics,
    )
    view = documents.view_of(guest, state, b"")
    assert get("/latest/meta-data/security-groups", view) == b"group 1\ngroup 3\ngroup 2"
    assert documents.ec2_document(view, "latest")["security-groups"] == ["group 1", "group 3", "group 2"]
    assert get("/latest/meta-data/public-ipv4", view) == b""
    leading = tuple(
        HostFloating(floating_id=f"f{number}", address=f"172.24.4.{number}", fixed="10.0.0.7", port_id=port)
        for number, port in ((5, "p1"), (6, "p2"), (7, "elsewhere"))
    )
    state.routers["r"] = HostRouter(router_id="r", interfaces=(), floating=leading)
    assert get("/latest/meta-data/public-ipv4", documents.view_of(guest, state, b"")) == b"172.24.4.6"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/ec2/latest/meta-data/ami-launch-index", "0"),
        ("/latest/meta-data/instance-id", "i-0000002a"),
        ("/2009-04-04/meta-data/local-ipv4", "10.0.0.7"),
        ("/latest/meta-data/placement/", "availability-zone"),
        ("/latest/meta-data/placement/availability-zone", "nova"),
        ("/latest/meta-data/public-keys/", "0=mine"),
        ("/latest/meta-data/public-keys/0/", "openssh-key"),
        ("/latest/meta-data/public-keys/0/openssh-key", KEY),
        ("/latest/meta-data/security-groups", "default\nweb"),
        ("/latest/meta-data/block-device-mapping/root", "/dev/vda"),
        ("/latest", "meta-data/\nuser-data"),
    ],
)
def test_the_ec2_tree_answers(path: str, text: str) -> None:
    assert get(path).decode() == text


def test_the_ec2_tree_lists_directories_with_a_slash() -> None:
    listed = get("/latest/meta-data/").decode().split("\n")
    assert "public-keys/" in listed
    assert "hostname" in listed


@pytest.mark.parametrize(
    "path",
    [
        "/1999-01-01/meta-data/",
        "/openstack/1999-01-01/meta_data.json",
        "/openstack/latest/nothing",
        "/openstack/latest/meta_data.json/x",
        "/openstack/content/0001",
        "/openstack/content/../latest",
        "/latest/meta-data/public-keys/0/_listed",
        "/latest/meta-data/hostname/x",
        "/latest/other",
        "/etc/passwd",
    ],
)
def test_there_is_nothing_else(path: str) -> None:
    assert documents.lookup(VIEW, path) is None


def test_the_password_is_on_the_config_drive_and_not_in_the_service() -> None:
    assert b"s3cret" not in documents.lookup(VIEW, "/openstack/latest/meta_data.json")[1]  # type: ignore[index]
    drive = config_drive.contents(VIEW)
    assert json.loads(drive["openstack/latest/meta_data.json"])["admin_pass"] == "s3cret"


def test_a_config_drive_holds_the_documents_under_their_own_names(tmp_path: Path) -> None:
    files = config_drive.contents(VIEW)
    config_drive.write(tmp_path / "config.iso", files)
    iso = pycdlib.PyCdlib()
    iso.open(str(tmp_path / "config.iso"))
    assert iso.pvd.volume_identifier.rstrip() == b"config-2"
    for name, content in files.items():
        for kind in ("rr_path", "joliet_path"):
            out = io.BytesIO()
            iso.get_file_from_iso_fp(out, **{kind: f"/{name}"})
            assert out.getvalue() == content
    iso.close()
    assert (tmp_path / "config.iso").stat().st_mode & 0o077 == 0
    assert json.loads(files["ec2/latest/meta-data.json"])["public-keys"] == {"0": {"openssh-key": KEY}}
    assert files["ec2/latest/user-data"] == files["openstack/latest/user_data"] == SCRIPT
