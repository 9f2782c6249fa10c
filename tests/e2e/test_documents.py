"""What a guest reads about itself, on its drive and from the service: the same, and what its server is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_cloud import USER_DATA, Guest, RealCloud, encoded, eventually

pytestmark = pytest.mark.e2e

SERVICE = "http://169.254.169.254"


def static_network(cloud: RealCloud) -> str:
    demo = cloud.user()
    network = demo.post("/network/v2.0/networks", {"network": {"name": "static"}})["network"]["id"]
    subnet = {
        "network_id": network, "ip_version": 4, "cidr": "10.77.0.0/24", "enable_dhcp": False,
        "gateway_ip": None, "dns_nameservers": ["192.0.2.53"],
    }  # fmt: skip
    demo.post("/network/v2.0/subnets", {"subnet": subnet})
    return str(network)


def name_servers(cloud: RealCloud, addresses: list[str]) -> None:
    """Give the network that every cloud begins with these name servers."""
    demo = cloud.user()
    (subnet,) = demo.get(f"/network/v2.0/subnets?network_id={cloud.network()}")["subnets"]
    demo.ask("PUT", f"/network/v2.0/subnets/{subnet['id']}", {"subnet": {"dns_nameservers": addresses}})


def zone(cloud: RealCloud) -> str:
    """Have the cloud's host be in a zone of its own, and return that."""
    admin = cloud.user("admin")
    (host,) = admin.get("/compute/v2.1/os-hypervisors")["hypervisors"]
    made = {"aggregate": {"name": "western", "availability_zone": "west"}}
    aggregate = admin.post("/compute/v2.1/os-aggregates", made)["aggregate"]["id"]
    asked = {"add_host": {"host": host["hypervisor_hostname"]}}
    admin.ask("POST", f"/compute/v2.1/os-aggregates/{aggregate}/action", asked)
    return "west"


def booted(cloud: RealCloud, image: str, **fields: Any) -> Guest:
    """Boot two servers with a drive, disks and two NICs, and return the second; the first goes at once."""
    # Its disks are smaller than the flavor would have them.
    flavor = {"name": "disks", "vcpus": 1, "ram": 128, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 3, "swap": 64}
    made = cloud.user("admin").post("/compute/v2.1/flavors", {"flavor": flavor})["flavor"]["id"]
    blank = {"source_type": "blank", "destination_type": "local", "boot_index": -1, "disk_bus": "virtio"}
    root = {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": image}
    server_id, password = cloud.create(
        "papers", image, flavorRef=made, config_drive=True, min_count=2, **fields,
        block_device_mapping_v2=[
            {**root, "device_type": "disk", "delete_on_termination": True, "tag": "system"},
            {**blank, "volume_size": 1, "guest_format": "ext4"},
            {**blank, "volume_size": 1, "guest_format": "vfat", "tag": "dos"},
            {**blank, "volume_size": 1, "device_type": "cdrom", "disk_bus": "ide", "tag": "archive"},
            {**blank, "volume_size": 32, "guest_format": "swap", "tag": "spare room"},
        ],
    )  # fmt: skip
    assert cloud.server(server_id)["name"] == "papers-1"
    reservation = cloud.user("admin").get(f"/compute/v2.1/servers/{server_id}")["server"]
    query = f"reservation_id={reservation['OS-EXT-SRV-ATTR:reservation_id']}&name=papers-2"
    (second,) = cloud.user().get(f"/compute/v2.1/servers?{query}")["servers"]
    cloud.delete(server_id)
    server_id = second["id"]
    assert cloud.settled(server_id)["status"] == "ACTIVE", cloud.server(server_id).get("fault")
    path = f"/network/v2.0/ports?device_id={server_id}&network_id={cloud.network()}"
    (port,) = cloud.user().get(path)["ports"]
    guest = Guest(
        id=server_id,
        name="papers-2",
        password=password,
        port_id=port["id"],
        network_id=port["network_id"],
        address=port["fixed_ips"][0]["ip_address"],
        mac=port["mac_address"],
    )
    cloud.booted(guest)
    return guest


def test_drive_and_service_tell_a_real_guest_the_same_and_the_truth(
    new_cloud: Callable[..., Any], guest_image: Path
) -> None:
    with new_cloud() as cloud:
        cloud.start()
        demo = cloud.user()
        image = cloud.upload(guest_image.read_bytes(), "qcow2")
        key = {"name": "key", "type": "ssh", "public_key": cloud.key.with_suffix(".pub").read_text().strip()}
        demo.post("/compute/v2.1/os-keypairs", {"keypair": key})
        group = demo.post("/network/v2.0/security-groups", {"security_group": {"name": "papers"}})["security_group"]
        cloud.allow(group["id"], "tcp", 22)
        name_servers(cloud, ["192.0.2.1"])
        static = static_network(cloud)
        networks = [{"uuid": cloud.network(), "tag": "front"}, {"uuid": static}]
        guest = booted(
            cloud,
            image,
            networks=networks,
            key_name="key",
            user_data=encoded(USER_DATA),
            security_groups=[{"name": group["id"]}],
            availability_zone=zone(cloud),
            **{"OS-DCF:diskConfig": "MANUAL"},
        )
        differ = cloud.ssh(guest, COMPARE.replace("SERVICE", SERVICE)).split()
        # The password is on the drive alone, and seeds differ each time.
        assert {Path(path).name for path in differ} == {"meta_data.json"}, differ
        assert read(cloud, guest, "ec2/latest/user-data") == USER_DATA
        check_meta_data(cloud, guest, json.loads(read(cloud, guest, "openstack/latest/meta_data.json")))
        check_vendor_data(cloud, guest)
        check_network_data(json.loads(read(cloud, guest, "openstack/latest/network_data.json")))
        check_ec2(cloud, guest, json.loads(read(cloud, guest, "ec2/latest/meta-data.json")))
        check_groups_follow(cloud, guest, group["id"])
        check_devices(cloud, guest, static)


COMPARE = """
mkdir -p /mnt/drive && mount -o ro -t iso9660 $(findfs LABEL=config-2) /mnt/drive && cd /mnt/drive
for path in openstack/*/* ec2/*/user-data; do
    timeout 20 wget -q -O /tmp/told SERVICE/$path
    [ "$(md5sum < /tmp/told)" = "$(md5sum < $path)" ] || echo $path
done
"""
"""Says which files of the drive the service tells otherwise."""


def fetched(cloud: RealCloud, guest: Guest, path: str) -> str:
    return cloud.ssh(guest, f"timeout 20 wget -q -O - {SERVICE}/{path}")


def read(cloud: RealCloud, guest: Guest, path: str) -> str:
    return cloud.ssh(guest, f"cat /mnt/drive/{path}")


def check_meta_data(cloud: RealCloud, guest: Guest, told: dict[str, Any]) -> None:
    assert (told["name"], told["launch_index"], told["availability_zone"]) == ("papers-2", 1, "west")
    assert cloud.ssh(guest, "hostname") == "papers-2\n"
    assert fetched(cloud, guest, "latest/meta-data/placement/availability-zone") == "west"


def check_vendor_data(cloud: RealCloud, guest: Guest) -> None:
    """It was asked for that the root file system stays as the image has it, and so the guest left it."""
    told = json.loads(read(cloud, guest, "openstack/latest/vendor_data.json"))["cloud-init"]
    assert told.startswith("#cloud-config\n") and "resize_rootfs: false" in told
    assert int(cloud.ssh(guest, "df -m / | awk 'NR == 2 {print $2}'")) < 100
    assert cloud.server(guest.id)["OS-DCF:diskConfig"] == "MANUAL"


def check_network_data(told: dict[str, Any]) -> None:
    assert [network["type"] for network in told["networks"]] == ["ipv4_dhcp", "ipv4"]
    assert told["networks"][1]["services"] == [{"type": "dns", "address": "192.0.2.53"}]
    assert [service["address"] for service in told["services"]] == ["192.0.2.1", "192.0.2.53"]


def check_ec2(cloud: RealCloud, guest: Guest, told: dict[str, Any]) -> None:
    assert told["security-groups"] == ["papers"]
    assert told["local-ipv4"] == guest.address
    shown = cloud.user("admin").get(f"/compute/v2.1/servers/{guest.id}")["server"]
    assert told["reservation-id"] == shown["OS-EXT-SRV-ATTR:reservation_id"]
    devices = told["block-device-mapping"]
    assert devices.pop("ephemeral2") == "/dev/hda"
    assert devices.keys() == {"ami", "root", "ephemeral0", "ephemeral1", "swap"}
    assert fetched(cloud, guest, "latest/meta-data/block-device-mapping/swap") == devices["swap"]
    disks = cloud.ssh(guest, "cd /sys/block && for disk in vd*; do echo $disk $(cat $disk/size); done").splitlines()
    sizes = {name: int(sectors) // 2048 for name, sectors in (line.split() for line in disks)}
    real = {name: sizes[device.removeprefix("/dev/")] for name, device in devices.items()}
    assert real == {"ami": 1024, "root": 1024, "ephemeral0": 1024, "ephemeral1": 1024, "swap": 32}
    kinds = cloud.ssh(guest, "blkid /dev/vdb /dev/vdc /dev/vdd")
    assert 'LABEL="EPHEMERAL1"' in kinds and 'TYPE="vfat"' in kinds
    assert 'LABEL="ephemeral0"' in kinds and 'TYPE="ext4"' in kinds and 'TYPE="swap"' in kinds


def check_devices(cloud: RealCloud, guest: Guest, network: str) -> None:
    """What is tagged is where drive and service say, also a NIC that comes later."""
    path = "openstack/latest/meta_data.json"
    told = json.loads(read(cloud, guest, path))["devices"]
    assert told == json.loads(fetched(cloud, guest, path))["devices"]
    assert [each["tags"] for each in told] == [["front"], ["system"], ["dos"], ["archive"], ["spare room"]]
    archive = told.pop(3)
    assert (archive["bus"], archive["address"], archive["serial"]) == ("ide", "none", "ephemeral2")
    name = cloud.ssh(guest, "findfs LABEL=ephemeral2").strip().removeprefix("/dev/")
    assert name.startswith("sr")
    assert cloud.ssh(guest, f"cat /sys/block/{name}/size").strip() == "2097152"
    refused = cloud.ssh(guest, f"dd if=/dev/zero of=/dev/{name} bs=2048 count=1 2>&1 || echo refused")
    assert "refused" in refused
    assert told[0]["mac"] == guest.mac
    devices = "/sys/class/net/eth0 /sys/block/vda /sys/block/vdc /sys/block/vdd"
    places = cloud.ssh(guest, f"for each in {devices}; do readlink -f $each/device; done")
    for place, each in zip(places.split(), told, strict=True):
        assert each["bus"] == "pci" and f"/{each['address']}/" in place, (each, place)
    serials = cloud.ssh(guest, "for disk in vda vdc vdd; do cat /sys/block/$disk/serial; echo; done")
    assert serials.split() == [disk["serial"] for disk in told[1:]] == ["root", "ephemeral1", "swap"]
    asked = {"interfaceAttachment": {"net_id": network, "tag": "later"}}
    made = cloud.user().post(f"/compute/v2.1/servers/{guest.id}/os-interface", asked)["interfaceAttachment"]
    assert made["tag"] == "later"
    look = f"readlink -f $(dirname $(grep -l {made['mac_addr']} /sys/class/net/*/address))/device"
    place = eventually("the guest to see the NIC", lambda: cloud.ssh(guest, look).strip() or None)
    (nic,) = (each for each in json.loads(fetched(cloud, guest, path))["devices"] if each["tags"] == ["later"])
    assert f"/{nic['address']}/" in place and nic["mac"] == made["mac_addr"]


def check_groups_follow(cloud: RealCloud, guest: Guest, group: str) -> None:
    changed = {"security_group": {"name": "renamed"}}
    cloud.user().ask("PUT", f"/network/v2.0/security-groups/{group}", changed)
    path = "latest/meta-data/security-groups"
    eventually("the guest to be told the new name", lambda: fetched(cloud, guest, path) == "renamed" or None)
