"""What a create asks for of disks and NICs arrives: from its body through rows and message in the XML of the guest."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.agent.disks import KINDS, bases, paths
from floe.agent.tagged_devices import tagged
from floe.api.compute.server_bodies import CREATE, new_server
from floe.bus import codec
from floe.conductor.guest_spec import guest_spec
from floe.core import addresses, ports
from floe.core.block_devices import planned
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.disks import FILE_SYSTEMS, Blank, BlankCd, ConfigDrive, Disk, Overlay, OverlayCd, root_device
from floe.core.given import CreateGiven, CreateSecrets
from floe.core.host_network import HostNetwork, HostPort, HostSegment
from floe.core.image_properties import DISK_BUSES, MACHINE_TYPES
from floe.core.messages import Spawn
from floe.core.nics import VIF_MODELS, PlannedNic, Tap
from floe.core.servers import Server, ServerFlavor
from floe.hypervisors.libvirt.xml import domain_xml
from floe.hypervisors.protocol import GuestFiles
from floe.store import server_disks, servers
from floe.store.schema import load

NOW = FixedClock().now()
IDENT = "bbbbbbbb-0000-4000-8000-000000000001"
IMAGE = "11111111-1111-4111-8111-111111111111"
FOLDER = Path("/state/guests") / IDENT
FILES = {"root": "disk.qcow2", "ephemeral0": "ephemeral.raw", "swap": "swap.raw", "config": "config.iso"}
uuids = st.uuids(version=4).map(str)
tags = st.text(st.characters(codec="utf-8", exclude_characters=",/\0"), min_size=1, max_size=60)
networks = st.one_of(
    st.sampled_from(["auto", "none"]),
    st.lists(
        st.one_of(
            st.fixed_dictionaries({"uuid": uuids}, optional={"fixed_ip": st.ip_addresses(v=4).map(str), "tag": tags}),
            st.fixed_dictionaries({"port": uuids}, optional={"tag": tags}),
        ),
        max_size=6,
    ),
)


@st.composite
def asked(draw: st.DrawFn) -> tuple[dict[str, Any], ServerFlavor, dict[str, str]]:
    """Return a body that can be had, the flavor and the properties of the image."""
    flavor = ServerFlavor(
        flavor_id="1",
        name="f",
        vcpus=1,
        memory_mib=64,
        root_gib=draw(st.integers(0, 2**20)),
        ephemeral_gib=draw(st.integers(0, 2**20)),
        swap_mib=draw(st.integers(0, 2**20)),
    )
    machine = draw(st.sampled_from(["", *MACHINE_TYPES]))
    bus = draw(st.sampled_from(["", *DISK_BUSES]).filter(lambda bus: (machine, bus) != ("q35", "ide")))
    model = draw(st.sampled_from(["", *VIF_MODELS]))
    properties = {"hw_machine_type": machine, "hw_disk_bus": bus, "hw_vif_model": model}
    devices = [{"source_type": "image", "destination_type": "local", "uuid": IMAGE, "boot_index": 0}]
    devices[0] |= draw(st.fixed_dictionaries({}, optional={"tag": tags}))
    for kind, most in (("swap", flavor.swap_mib), (None, flavor.ephemeral_gib)):
        if most and draw(st.booleans()):
            blank: dict[str, Any] = {"source_type": "blank", "destination_type": "local"}
            blank |= {"guest_format": kind} if kind else {}
            blank |= draw(st.fixed_dictionaries({}, optional={"volume_size": st.integers(1, most), "tag": tags}))
            blank |= {"disk_bus": bus} if bus and draw(st.booleans()) else {}
            devices.append(blank)
    body = {"name": "web", "flavorRef": "1", "imageRef": IMAGE, "networks": draw(networks)}
    body |= {"block_device_mapping_v2": devices} if draw(st.booleans()) else {}
    body |= draw(st.fixed_dictionaries({}, optional={"config_drive": st.booleans()}))
    return body, flavor, properties


def sizes(body: dict[str, Any], flavor: ServerFlavor) -> dict[str, int]:
    """Return the sizes in MiB that a body and a flavor mean, by role."""
    found = {"root": flavor.root_gib * 1024, "ephemeral0": flavor.ephemeral_gib * 1024, "swap": flavor.swap_mib}
    for device in body.get("block_device_mapping_v2", ()):
        if "volume_size" in device:
            swap = device.get("guest_format") == "swap"
            found["swap" if swap else "ephemeral0"] = device["volume_size"] * (1 if swap else 1024)
    return {role: size for role, size in found.items() if size or role == "root"}


def tags_of(body: dict[str, Any], made: Iterable[str]) -> list[str]:
    """Return the tags of the disks that are made, in their order."""
    found: dict[str, str] = {}
    for device in body.get("block_device_mapping_v2", ()):
        blank = "swap" if device.get("guest_format") == "swap" else "ephemeral0"
        found["root" if device["source_type"] == "image" else blank] = device.get("tag", "")
    return [found.get(role, "") for role in made]


def through_rows(
    server: Server, disks: tuple[Disk, ...], nics: tuple[PlannedNic, ...]
) -> tuple[Server, tuple[Disk, ...]]:
    with sa.create_engine("sqlite://").begin() as conn:
        load().create_all(conn)
        servers.add(conn, replace(server, networks=nics), disks)
        found = servers.get(conn, server.id)
        assert found is not None
        return found, server_disks.of_server(conn, found)


def network_of(nics: tuple[PlannedNic, ...]) -> HostNetwork:
    """Return what a host is told of NICs once they are bound."""
    bound = []
    for index, nic in enumerate(nics):
        port_id = nic.port_id or f"{index:08x}-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
        bound.append(
            HostPort(
                port_id=port_id,
                network_id=nic.network_id,
                server_id=IDENT,
                mac=addresses.mac_for(port_id),
                tap=ports.tap_name(port_id),
                nic=index,
                device_tag=nic.device_tag,
            )
        )
    segments = {nic.network_id: 1300 + index for index, nic in enumerate(nics)}
    return HostNetwork(
        generation=1,
        ports=tuple(reversed(bound)),
        segments=tuple(HostSegment(network_id=ident, name="n", tag=1, mtu=mtu) for ident, mtu in segments.items()),
    )


@settings(max_examples=60, deadline=None)
@given(asked())
def test_each_disk_and_nic_of_a_body_arrives_in_the_guest(
    wanted: tuple[dict[str, Any], ServerFlavor, dict[str, str]],
) -> None:
    body, flavor, properties = wanted
    version = (2, 96)
    new = new_server(CREATE.read(json.dumps({"server": body}).encode(), version), version, CONTEXT)
    drive = bool(new.config_drive)
    disks = planned(new.block_devices, flavor, image_id=IMAGE, properties=properties, config_drive=drive)
    nics = new.networks if isinstance(new.networks, tuple) else ()
    listed = body["networks"] if isinstance(body["networks"], list) else []
    assert [
        {
            "uuid": nic.network_id,
            "port": nic.port_id,
            "fixed_ip": nic.fixed_ip,
            "made": nic.made,
            "tag": nic.device_tag,
        }
        for nic in nics
    ] == [
        {"uuid": "", "port": None, "fixed_ip": None, "made": "port" not in entry, "tag": ""} | entry for entry in listed
    ]

    server, kept = through_rows(row(flavor, properties, drive, disks), disks, nics)
    assert kept == disks
    assert server.networks == nics

    network = network_of(nics)
    brought = msgspec.convert({"image": {**GIVEN, "properties": properties}}, CreateGiven)
    spec = guest_spec(server, kept, brought, CreateSecrets(), network, "nova")
    sent = codec.decode(codec.encode(Spawn(action_id="a", guest=spec, network=network)))
    assert isinstance(sent, Spawn)
    assert sent.guest == spec

    guest = sent.guest
    made = {disk.role: disk for disk in guest.disks}
    assert {role: disk.size_mib for role, disk in made.items() if not isinstance(disk, ConfigDrive)} == sizes(
        body, flavor
    )
    assert ("config" in made) == drive
    assert len({disk.device for disk in guest.disks}) == len(guest.disks)
    root, ephemeral, swap = made["root"], made.get("ephemeral0"), made.get("swap")
    assert isinstance(root, Overlay)
    assert (root.image_id, root.boot_index, f"/dev/{root.device}") == (IMAGE, 0, root_device(disks))
    assert not isinstance(ephemeral, Blank) or (ephemeral.filesystem, ephemeral.label) == ("ext4", "ephemeral0")
    assert not isinstance(swap, Blank) or swap.filesystem == "swap"

    files = GuestFiles(
        directory=FOLDER,
        disks=paths(guest.disks, FOLDER, KINDS),
        bases=bases(guest.disks, FOLDER),
        console_log=FOLDER / "console.log",
        variables=FOLDER / "variables.fd",
    )
    domain = ET.fromstring(domain_xml(guest, files, kvm=False, owner="floe", version="1"))
    assert [
        {element.tag: dict(element.attrib) for element in disk if element.tag in {"source", "target"}}
        for disk in domain.iterfind("devices/disk")
    ] == [
        {
            "source": {"file": str(FOLDER / FILES[disk.role])},
            "target": {"dev": disk.device, "bus": disk.bus},
        }
        for disk in guest.disks
    ]
    told = [device.tag for device in tagged(guest, sorted(network.ports, key=lambda port: port.nic), {})]
    assert told == [tag for tag in [*(entry.get("tag") for entry in listed), *tags_of(body, made)] if tag]
    model = properties["hw_vif_model"] or "virtio"
    mtus = {segment.network_id: segment.mtu for segment in network.segments}
    assert [{element.tag: dict(element.attrib) for element in nic} for nic in domain.iterfind("devices/interface")] == [
        {
            "mac": {"address": port.mac},
            "target": {"dev": port.tap, "managed": "no"},
            "model": {"type": model},
            "mtu": {"size": str(mtus[port.network_id])},
        }
        for port in sorted(network.ports, key=lambda port: port.nic)
    ]


CONTEXT = Context(request_id="", user_id="u", project_id="p", roles=frozenset({"member"}))
GIVEN = {"image_id": IMAGE, "checksum": "", "size": 1, "disk_format": "raw", "virtual_size": 1}


def row(flavor: ServerFlavor, properties: dict[str, str], drive: bool, disks: tuple[Disk, ...]) -> Server:
    return Server(
        id=IDENT,
        number=0,
        project_id="p",
        user_id="u",
        name="web",
        hostname="web",
        vm_state="building",
        reservation_id="r",
        flavor=flavor,
        image_id=IMAGE,
        image_properties=properties,
        config_drive=drive,
        root_device=root_device(disks),
        created_at=NOW,
    )


labels = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
common = {
    "device": st.text("abcdhsv", min_size=1, max_size=5),
    "bus": st.sampled_from(["virtio", "scsi", "ide", "sata"]),
    "boot_index": st.none() | st.integers(0, 9),
}
any_disks = st.lists(
    st.one_of(
        st.builds(
            Overlay, role=st.just("root"), device_tag=tags, size_mib=st.integers(0, 2**40), image_id=uuids, **common
        ),
        st.builds(OverlayCd, role=st.just("rescue"), size_mib=st.just(0), image_id=uuids, **common),
        st.builds(
            Blank,
            role=st.sampled_from(["ephemeral0", "ephemeral1", "swap"]),
            size_mib=st.integers(1, 2**40),
            filesystem=st.sampled_from(FILE_SYSTEMS),
            label=labels,
            device_tag=tags,
            **common,
        ),
        st.builds(
            BlankCd,
            role=st.just("ephemeral2"),
            size_mib=st.just(1024),
            filesystem=st.just("ext3"),
            label=labels,
            **common,
        ),
        st.builds(ConfigDrive, role=st.just("config"), **common),
    ),
    max_size=4,
    unique_by=lambda disk: disk.role,
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(any_disks)
def test_a_disk_is_read_from_its_row_as_it_was_written(disks: tuple[Disk, ...]) -> None:
    server = row(ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=1, root_gib=1), {}, False, PLAIN)
    _, kept = through_rows(server, disks, ())
    assert kept == (disks or PLAIN)


PLAIN: tuple[Disk, ...] = (
    Overlay(role="root", device="vda", bus="virtio", boot_index=0, size_mib=1024, image_id=IMAGE),
)


@settings(max_examples=60, deadline=None)
@given(asked())
def test_what_the_release_before_writes_and_reads_means_the_same_disks(
    wanted: tuple[dict[str, Any], ServerFlavor, dict[str, str]],
) -> None:
    """It knows the column alone: made by this release it finds its sizes there, and made by it we find ours."""
    body, flavor, properties = wanted
    version = (2, 96)
    new = new_server(CREATE.read(json.dumps({"server": body}).encode(), version), version, CONTEXT)
    drive = bool(new.config_drive)
    disks = planned(new.block_devices, flavor, image_id=IMAGE, properties=properties, config_drive=drive)
    text = server_disks.for_the_release_before(disks)
    asked = {entry["kind"]: entry.get("gib", entry.get("mib")) for entry in json.loads(text)}
    old = {
        "root": flavor.root_gib * 1024,
        "ephemeral0": asked.get("ephemeral", flavor.ephemeral_gib) * 1024,
        "swap": asked.get("swap", flavor.swap_mib),
    }
    assert {role: size for role, size in old.items() if size or role == "root"} == sizes(body, flavor)
    with sa.create_engine("sqlite://").begin() as conn:
        load().create_all(conn)
        servers.add(conn, row(flavor, properties, drive, disks))
        conn.execute(sa.update(servers.servers).values(block_devices=text))
        found = servers.get(conn, IDENT)
        assert found is not None
        untagged = (disk if isinstance(disk, ConfigDrive) else replace(disk, device_tag="") for disk in disks)
        assert server_disks.of_server(conn, found) == tuple(untagged)


def test_planned_nics_are_written_as_the_release_before_reads_them_and_read_as_it_writes_them() -> None:
    nic = PlannedNic(network_id="n", fixed_ip="10.0.0.9", security_groups=("g",), port_security=False)
    assert msgspec.to_builtins(nic) == {
        "network_id": "n",
        "port_id": None,
        "fixed_ip": "10.0.0.9",
        "security_groups": ("g",),
        "made": True,
        "port_security": False,
        "device_tag": "",
    }
    old = {"network_id": "n", "port_id": "p", "fixed_ip": None, "tag": None, "security_groups": ["g"], "made": False}
    assert msgspec.convert(old, PlannedNic) == PlannedNic(
        network_id="n", port_id="p", security_groups=("g",), made=False
    )
    assert Tap(port_id="p", mac="m", device="t") == msgspec.convert(
        {"type": "tap", "port_id": "p", "mac": "m", "device": "t"}, Tap
    )
