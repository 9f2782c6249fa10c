"""What the Linux data plane leaves, finds, mends and removes on a real (private) host network."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.core.errors import HostFailure
from floe.core.host_network import GroupRule, HostNetwork
from floe.dataplane.linux import account, kernel, nftables
from floe.dataplane.linux.names import bridge_name, dhcp_device, namespace_name
from floe.dataplane.linux.plane import LinuxPlane
from floe.dataplane.protocol import PortsFailure

pytestmark = pytest.mark.e2e

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x2, 0x1000, 0x100
FOREIGN_RULES = "table inet theirs {\n chain c {\n type filter hook input priority 0;\n accept\n }\n}\n"


def printed(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def links() -> list[tuple[object, ...]]:
    """Return what devices there are; whether a link is up already is the kernel's business for a moment after."""
    found = json.loads(printed("ip", "-j", "link"))
    return [tuple(link.get(key) for key in ("ifindex", "ifname", "address", "mtu", "ifalias")) for link in found]


def server_of(tmp_path: Path) -> int:
    [pid_file] = account.folder(tmp_path).glob("*/dnsmasq.pid")
    return int(pid_file.read_text())


async def ended(pid: int) -> None:
    """Wait until a process is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(handle, over.set)
    try:
        await asyncio.wait_for(over.wait(), 10)
    finally:
        asyncio.get_running_loop().remove_reader(handle)
        os.close(handle)


def everything() -> str:
    return printed("ip", "-o", "link") + printed("ip", "netns") + printed("nft", "list", "ruleset")


async def test_a_port_is_plugged_with_its_segments_mtu(linux_plane, world):
    segment = world.segment(mtu=1400)
    port = world.port(11, segment)
    await linux_plane.apply(world.network)
    devices = kernel.devices()
    bridge = bridge_name(segment.network_id)
    assert devices[port.tap].kind == "tun"
    for name in (port.tap, dhcp_device(segment.network_id)):
        assert (devices[name].master, devices[name].mtu, devices[name].up) == (bridge, 1400, True)
    inner = printed("ip", "-n", namespace_name(segment.network_id), "-o", "-4", "addr", "show", "dev", "dh0")
    assert "10.7.0.2/24" in inner
    assert "169.254.169.254/32" in inner


async def test_nothing_is_left_of_what_is_removed(linux_plane, world, tmp_path):
    before = everything()
    port = world.port(11, world.segment())
    await linux_plane.apply(world.network)
    server = server_of(tmp_path)
    assert everything() != before
    await linux_plane.apply(world.without(port))
    assert everything() == before
    assert list(account.folder(tmp_path).iterdir()) == []
    assert not Path(f"/proc/{server}").exists() or not Path(f"/proc/{server}/cmdline").read_bytes()


async def test_a_removed_port_leaves_its_network_to_the_others(linux_plane, world, tmp_path):
    segment = world.segment()
    gone, stays = world.port(11, segment), world.port(12, segment)
    await linux_plane.apply(world.network)
    server = server_of(tmp_path)
    await linux_plane.apply(world.without(gone))
    assert gone.tap not in everything()
    assert gone.mac not in printed("nft", "list", "ruleset")
    assert stays.tap in kernel.devices()
    assert server_of(tmp_path) == server
    [hosts] = account.folder(tmp_path).glob("*/hosts")
    assert hosts.read_text() == "fa:16:3e:00:00:0c,10.7.0.12,vm-12\n"


async def test_what_is_not_floes_is_never_touched(linux_plane, world):
    subprocess.run(["ip", "link", "add", "name", "tapother", "type", "bridge"], check=True)
    subprocess.run(["ip", "netns", "add", "qdhcp-1"], check=True)
    subprocess.run(["nft", "-f", "-"], input=FOREIGN_RULES, text=True, check=True)
    before = everything()
    world.port(11, world.segment())
    await linux_plane.apply(world.network)
    await linux_plane.remove_all()
    assert everything() == before
    subprocess.run(["ip", "netns", "del", "qdhcp-1"], check=True)


async def test_somebody_elses_device_of_a_taps_name_is_refused(linux_plane, world):
    segment = world.segment()
    taken, fine = world.port(11, segment), world.port(12, segment)
    subprocess.run(["ip", "link", "add", "name", taken.tap, "type", "bridge"], check=True)
    with pytest.raises(PortsFailure, match="not Floe's") as caught:
        await linux_plane.apply(world.network)
    assert set(caught.value.ports) == {taken.port_id}
    assert kernel.devices()[fine.tap].up


async def test_a_new_process_finds_all_in_place(linux_plane, world, tmp_path):
    world.port(11, world.segment())
    await linux_plane.apply(world.network)
    before, server = links(), server_of(tmp_path)
    again = LinuxPlane(tmp_path)
    await again.open()
    await again.apply(world.network)
    assert links() == before
    assert server_of(tmp_path) == server
    assert await again.metadata_addresses() == await linux_plane.metadata_addresses()
    await again.close()  # or it would bring its DHCP server back when the fixture takes it away


async def test_a_new_process_removes_what_is_no_longer_wanted(linux_plane, world, tmp_path):
    before = everything()
    world.port(11, world.segment())
    await linux_plane.apply(world.network)
    server = server_of(tmp_path)
    await linux_plane.close()  # or it would bring its DHCP server back when the other takes it away
    again = LinuxPlane(tmp_path)
    await again.open()
    await again.apply(HostNetwork())
    assert everything() == before
    await ended(server)
    await again.close()


async def test_a_dhcp_server_that_died_is_started_again(linux_plane, world, tmp_path):
    world.port(11, world.segment())
    await linux_plane.apply(world.network)
    server = server_of(tmp_path)
    os.kill(server, signal.SIGKILL)
    await ended(server)
    await linux_plane.apply(world.network)
    assert server_of(tmp_path) != server
    assert b"dnsmasq" in Path(f"/proc/{server_of(tmp_path)}/cmdline").read_bytes()


async def test_a_process_id_that_is_anothers_now_is_left_alone(linux_plane, world, tmp_path):
    port = world.port(11, world.segment())
    await linux_plane.apply(world.network)
    server = server_of(tmp_path)
    os.kill(server, signal.SIGKILL)
    await ended(server)
    bystander = subprocess.Popen(["sleep", "100"])
    try:
        again = LinuxPlane(tmp_path)
        [pid_file] = account.folder(tmp_path).glob("*/dnsmasq.pid")
        pid_file.write_text(f"{bystander.pid}\n")
        await again.open()
        await again.apply(world.without(port))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_dhcp_server_that_cannot_start_says_why(linux_plane, world, tmp_path):
    port = world.port(11, world.segment())
    await linux_plane.apply(world.network)
    await linux_plane.close()  # or it would bring its DHCP server back as soon as that dies
    server = server_of(tmp_path)
    os.kill(server, signal.SIGKILL)
    await ended(server)
    await linux_plane.open()

    def occupied() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", 67))
        return made

    with await kernel.in_namespace(namespace_name(port.network_id), occupied):
        with pytest.raises(PortsFailure, match="in use") as caught:
            await linux_plane.apply(world.network)
        assert caught.value.stage == "ports"
        assert set(caught.value.ports) == {port.port_id}
        assert set(caught.value.networks) == {port.network_id}
    await linux_plane.apply(world.network)


@pytest.mark.parametrize(
    "damage",
    [
        ["nft", "flush", "ruleset"],
        ["nft", "add", "rule", "bridge", "floe", "ip_only", "accept"],
        ["ip", "link", "del", "tap11"],
        ["ip", "link", "set", "tap11", "nomaster"],
        ["ip", "link", "set", "tap11", "down"],
        ["ip", "link", "del", bridge_name("00400001-0000-4000-8000-000000000000")],
        ["ip", "link", "del", dhcp_device("00400001-0000-4000-8000-000000000000")],
        ["ip", "netns", "del", namespace_name("00400001-0000-4000-8000-000000000000")],
    ],
    ids=" ".join,
)
async def test_what_is_changed_behind_its_back_is_mended(linux_plane, world, tmp_path, damage):
    segment = world.segment()
    world.port(11, segment)
    await linux_plane.apply(world.network)
    rules = printed("nft", "list", "ruleset")
    subprocess.run(damage, check=True)
    await linux_plane.apply(world.network)
    assert printed("nft", "list", "ruleset") == rules
    devices, bridge = kernel.devices(), bridge_name(segment.network_id)
    assert {name for name, device in devices.items() if device.master == bridge and device.up} == {
        "tap11",
        dhcp_device(segment.network_id),
    }
    inside = Path(f"/proc/{server_of(tmp_path)}/ns/net").stat().st_ino
    assert [address.namespace_id for address in await linux_plane.metadata_addresses()] == [inside]
    assert "10.7.0.2/24" in printed("ip", "-n", namespace_name(segment.network_id), "-o", "-4", "addr")


async def test_a_change_behind_its_back_is_drift_until_it_is_mended(linux_plane, world):
    segment = world.segment()
    anybody = world.group(1, GroupRule(direction="ingress", protocol="tcp", port_min=22, port_max=22))
    port = world.port(11, segment, groups=(anybody,))
    await linux_plane.apply(world.network)
    subprocess.run(["nft", "-f", "-"], input=FOREIGN_RULES, text=True, check=True)
    assert await linux_plane.drift(world.network) == [], "what is not Floe's is no drift"
    damages = {
        port.tap: ["ip", "link", "del", port.tap],
        "is missing": ["nft", "delete", "table", "bridge", "floe"],
        "has 0 rules": ["nft", "flush", "table", "inet", "floe"],
        "map sources has 1 elements": ["nft", "delete", "element", "bridge", "floe", "sources", "{ tap11 }"],
        "map to_port has 0 elements": ["nft", "flush", "map", "inet", "floe", "to_port"],
        "netns add": ["ip", "netns", "del", namespace_name(segment.network_id)],
        "disable_ipv6 is not 1": ["sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6"],
        f"{port.tap}/forwarding is not 0": ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"],
        "nf_call_iptables 1": [
            "ip",
            "link",
            "set",
            bridge_name(segment.network_id),
            "type",
            "bridge",
            "nf_call_iptables",
            "0",
        ],
    }
    for told, damage in damages.items():
        subprocess.run(damage, check=True)
        assert any(told in text for text in await linux_plane.drift(world.network)), damage
        await linux_plane.apply(world.network)
        assert await linux_plane.drift(world.network) == [], damage


@pytest.mark.parametrize("every_bridge", ["0", "1"])
async def test_packets_are_filtered_on_bridges_with_guests_and_others_as_they_were(linux_plane, world, every_bridge):
    setting = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    setting.write_text(every_bridge)
    with_guest, without = world.segment(1), world.segment(2, net="10.8.0")
    world.port(11, with_guest)

    def filtered() -> list[bool]:
        found = kernel.devices()
        return [found[bridge_name(segment.network_id)].filtered for segment in (with_guest, without)]

    await linux_plane.apply(world.network)
    assert filtered() == [True, False]
    await linux_plane.apply(replace(world.network, generation=2, ports=()))
    assert filtered() == [False, False]
    assert setting.read_text().strip() == every_bridge
    assert await linux_plane.drift(replace(world.network, generation=2, ports=())) == []


async def test_a_dhcp_server_that_is_gone_is_drift(linux_plane, world, tmp_path):
    world.port(11, world.segment())
    await linux_plane.apply(world.network)
    await linux_plane.close()  # nobody starts it again
    pid = server_of(tmp_path)
    os.kill(pid, signal.SIGKILL)
    await ended(pid)
    [told] = await linux_plane.drift(world.network)
    assert told.startswith("DHCP of network")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
async def test_files_of_a_dhcp_server_that_were_changed_are_drift_until_they_are_mended(
    linux_plane, world, tmp_path, damage
):
    world.port(11, world.segment())
    await linux_plane.apply(world.network)
    (hosts,) = account.folder(tmp_path).glob("*/hosts")
    served, pid = hosts.read_text(), server_of(tmp_path)
    assert served
    if damage == "truncate":
        hosts.write_text("")
    else:
        hosts.unlink()
    [told] = await linux_plane.drift(world.network)
    assert told.endswith("has files of another state")
    await linux_plane.apply(world.network)
    assert (hosts.read_text(), server_of(tmp_path)) == (served, pid)
    assert await linux_plane.drift(world.network) == []


async def test_a_namespace_name_without_a_namespace_is_no_obstacle(private_network, world, tmp_path):
    segment = world.segment()
    world.port(11, segment)
    broken = kernel.NAMESPACES / namespace_name(segment.network_id)
    foreign = kernel.NAMESPACES / "theirs"
    kernel.NAMESPACES.mkdir()
    for path in (broken, foreign):
        path.touch()
    plane = LinuxPlane(tmp_path)
    await plane.open()
    try:
        await plane.apply(world.network)
        assert len(await plane.metadata_addresses()) == 1
        assert foreign.exists()
    finally:
        await plane.remove_all()


async def test_a_subnet_more_is_served_in_the_same_namespace(linux_plane, world):
    segment = world.segment()
    world.port(11, segment)
    await linux_plane.apply(world.network)
    [before] = await linux_plane.metadata_addresses()
    more = replace(segment.subnets[0], subnet_id="s2", cidr="10.8.0.0/24", dhcp_address="10.8.0.2", gateway=None)
    wider = replace(segment, subnets=(*segment.subnets, more))
    await linux_plane.apply(replace(world.network, segments=(wider,)))
    assert await linux_plane.metadata_addresses() == [before]
    assert "10.8.0.2/24" in printed("ip", "-n", before.namespace, "-o", "-4", "addr", "show", "dev", "dh0")
    await linux_plane.apply(world.network)
    assert "10.8.0.2" not in printed("ip", "-n", before.namespace, "-o", "-4", "addr", "show", "dev", "dh0")


async def test_calls_at_the_same_time_share_rounds(linux_plane, world):
    segment = world.segment()
    before = kernel.rules_generation()
    calls = []
    for number in range(11, 31):
        world.port(number, segment)
        calls.append(linux_plane.apply(world.network))
    await asyncio.gather(*calls)
    assert sum(device.kind == "tun" for device in kernel.devices().values()) == 20
    assert kernel.rules_generation() - before <= 2


async def test_a_caller_that_gives_up_does_not_stop_the_work(linux_plane, world):
    port = world.port(11, world.segment())
    caller = asyncio.create_task(linux_plane.apply(world.network))
    await asyncio.sleep(0)
    caller.cancel()
    await linux_plane.close()
    assert kernel.devices()[port.tap].up


async def test_nft_takes_every_kind_of_rule(private_network, world):
    segment = world.segment()
    rules = [
        GroupRule(direction=direction, protocol=protocol, port_min=low, port_max=high, remote_cidr=cidr)
        for direction in ("ingress", "egress")
        for protocol, low, high in [
            *[(name, None, None) for name in (*nftables.PROTOCOLS, "0", "1", "6", "47", "255")],
            *[(name, 1, 65535) for name in ("tcp", "udp", "sctp", "dccp", "udplite", "6", "17")],
            ("icmp", 8, None),
            ("icmp", 255, 255),
            ("tcp", 22, None),
            (None, None, None),
        ]
        for cidr in (None, "0.0.0.0/0", "10.0.0.0/8", "192.0.2.7/32")
    ]
    inner = world.group(2, remote_members=("10.9.0.1", "10.9.0.0", "10.9.0.0"))
    for remote in (inner, "unknown-group", "x } flush ruleset"):
        rules.append(GroupRule(direction="ingress", remote_group=remote))
    world.port(11, segment, groups=(world.group(1, *rules), "a-group-without-rules"))
    subprocess.run(["nft", "-c", "-f", "-"], input=nftables.ruleset(world.network), text=True, check=True)


async def test_a_host_without_the_programs_is_told_what_to_install(private_network, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    hidden = tmp_path / "empty"
    hidden.mkdir()
    for place in ("/usr/sbin",):
        subprocess.run(["/bin/mount", "--bind", str(hidden), place], check=True)
    try:
        with pytest.raises(HostFailure, match="not installed on this host \\(Debian package"):
            await LinuxPlane(tmp_path).open()
    finally:
        subprocess.run(["/bin/umount", "/usr/sbin"], check=True)


async def test_another_floe_in_the_same_network_is_refused_and_one_that_takes_over_is_not(linux_plane, tmp_path):
    other = LinuxPlane(tmp_path / "other")
    with pytest.raises(HostFailure, match="Another Floe has guests in this network already"):
        await other.open()
    successor = LinuxPlane(tmp_path)
    await successor.open()
    await linux_plane.close()
    with pytest.raises(HostFailure, match="Another Floe"):
        await other.open()
    await successor.close()
    await other.open()
    await other.close()
    await linux_plane.open()


async def test_a_tap_is_of_the_kind_that_its_guest_wants_and_stays_while_a_guest_has_it(linux_plane, world):
    port = world.port(11, world.segment())
    several = replace(world.network, queued=frozenset({port.port_id}))
    for network in (several, world.network, several):
        await linux_plane.apply(network)
        tap = kernel.devices()[port.tap]
        assert (tap.queued, tap.held, bool(tap.master), tap.up) == (bool(network.queued), False, True, True)
        assert await linux_plane.drift(network) == []
    guest = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(guest, TUNSETIFF, struct.pack("16sH14x", port.tap.encode(), IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE))
        assert kernel.devices()[port.tap].held
        index = socket.if_nametoindex(port.tap)
        await linux_plane.apply(world.network)
        assert socket.if_nametoindex(port.tap) == index
    finally:
        os.close(guest)
    await linux_plane.apply(several)
    await linux_plane.apply(world.network)
    assert not kernel.devices()[port.tap].queued
