"""What passes between guests and what does not: real frames through the host's bridge and rules.

That something is dropped is shown by a frame sent after it, which arrives without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.core.dhcp_options import KNOWN
from floe.core.host_network import GroupRule
from floe.dataplane.linux import account
from floe.dataplane.linux.names import bridge_name

pytestmark = pytest.mark.e2e

BROADCAST = "ff:ff:ff:ff:ff:ff"
SENTINEL = 9999
ANY_OUT = GroupRule(direction="egress")
SENTINEL_IN = GroupRule(direction="ingress", protocol="udp", port_min=SENTINEL, port_max=SENTINEL)


def packed(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def frame(source: str, target: str, kind: int, payload: bytes) -> bytes:
    return packed(target) + packed(source) + struct.pack("!H", kind) + payload


def ipv4(source: str, target: str, protocol: int, payload: bytes) -> bytes:
    addresses = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + addresses
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + payload


def udp(source_port: int, target_port: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def arp(operation: int, mac: str, address: str, target: str) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    own = packed(mac) + ipaddress.IPv4Address(address).packed
    return head + own + bytes(6) + ipaddress.IPv4Address(target).packed


def datagram(source, target, port: int, *, source_port: int = 4000, text: bytes = b"") -> bytes:
    """Return an honest UDP frame from one port to another."""
    content = udp(source_port, port, text)
    packet = ipv4(source.addresses[0].address, target.addresses[0].address, 17, content)
    return frame(source.mac, target.mac, 0x0800, packet)


async def until(wire: socket.socket, mark: bytes) -> list[bytes]:
    """Return the frames that arrive before (and without) the one that carries the mark."""
    loop = asyncio.get_running_loop()
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        while mark not in (got := await loop.sock_recv(wire, 65535)):
            seen.append(got)
    return seen


async def joined(inner: socket.socket, outer: socket.socket | int, sentinel: bytes) -> None:
    """Wait until the bridge forwards between two guests: the kernel enables new ports a little later."""
    async with asyncio.timeout(10):
        while True:
            os.write(outer if isinstance(outer, int) else outer.fileno(), sentinel)
            try:
                async with asyncio.timeout(0.1):
                    await asyncio.get_running_loop().sock_recv(inner, 65535)
                    return
            except TimeoutError:
                continue


async def arrives(guests, sender, receiver, *sent: bytes) -> list[bytes]:
    """Send frames, then the sentinel, and return those of them that arrived."""
    seen = await received(guests, sender, receiver, *sent)
    return [content for content in sent if any(got[: len(content)] == content for got in seen)]


async def received(guests, sender, receiver, *sent: bytes) -> list[bytes]:
    """Send frames, then the sentinel, and return what arrived before that."""
    with (
        await guests.wire(f"guest-{receiver.tap}") as inner,
        await guests.wire(f"guest-{sender.tap}") as outer,
    ):
        await joined(inner, outer, datagram(sender, receiver, SENTINEL, text=b"joining"))
        for content in sent:
            outer.send(content)
        outer.send(datagram(sender, receiver, SENTINEL, text=b"that was all"))
        return await until(inner, b"that was all")


@pytest.fixture
async def pair(linux_plane, world, guests):
    """Return two guests on one network: the first may send anything, the second admits the sentinel alone."""
    segment = world.segment()
    out, shut = world.group(1, ANY_OUT), world.group(2, SENTINEL_IN)
    sender, receiver = world.port(11, segment, groups=(out,)), world.port(12, segment, groups=(shut,))
    for port in (sender, receiver):
        guests.add(port)
    await linux_plane.apply(world.network)
    return sender, receiver


async def reaches(guests, source: str, address: str, port: int) -> bool:
    """Say whether a TCP connection comes about and carries bytes both ways."""
    loop = asyncio.get_running_loop()
    with await guests.client(source) as client:
        async with asyncio.timeout(10):
            await loop.sock_connect(client, (address, port))
        return True


async def leased(guests, guest: str, script: Path, *further: str) -> dict[str, str]:
    """Return what a DHCP client of the guest is told, of what it always asks for and of further options."""
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && env\nexit 0\n')
    script.chmod(0o755)
    asked = [word for name in ("mtu", "staticroutes", *further) for word in ("-O", name)]
    once = ["-n", "-q", "-f", "-t", "5", "-T", "2", *asked]
    printed = await guests.run(guest, "busybox", "udhcpc", "-i", "eth0", *once, "-s", str(script))
    return dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)


async def resolved(guests, guest: str, name: str) -> list[str]:
    """Return the addresses that DNS gives a guest for a name, whose IPv6 half must be answered as well."""
    printed = await asyncio.to_thread(
        subprocess.run,
        ["ip", "netns", "exec", guest, "busybox", "nslookup", name, "10.7.0.2"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert "REFUSED" not in printed.stdout
    answer = printed.stdout.partition("\n\n")[2]
    return sorted(line.split()[-1] for line in answer.splitlines() if line.startswith("Address"))


async def until_resolved(guests, guest: str, name: str, addresses: list[str]) -> None:
    """Wait until the server has read its files again."""
    async with asyncio.timeout(10):
        while await resolved(guests, guest, name) != addresses:
            await asyncio.sleep(0)


async def reverse(guests, guest: str, address: str) -> str:
    printed = await guests.run(guest, "busybox", "nslookup", address, "10.7.0.2")
    return printed.partition("name = ")[2].split()[0]


async def test_dhcp_gives_a_guest_its_own_address_and_routes(linux_plane, world, guests, tmp_path):
    # No group at all: DHCP passes whatever the rules.
    port = world.port(11, world.segment(mtu=1400), hostname="Web-1")
    guest = guests.add(port, address=False)
    await linux_plane.apply(world.network)
    lease = await leased(guests, guest, tmp_path / "script")
    assert lease["ip"] == "10.7.0.11"
    assert lease["subnet"] == "255.255.255.0"
    assert lease["router"] == "10.7.0.1"
    assert lease["dns"] == "192.0.2.53"
    assert lease["mtu"] == "1400"
    assert lease["hostname"] == "web-1"
    assert lease["serverid"] == "10.7.0.2"
    assert lease["staticroutes"].split() == [
        "169.254.169.254/32", "10.7.0.2", "192.168.9.0/24", "10.7.0.9", "0.0.0.0/0", "10.7.0.1",
    ]  # fmt: skip


async def test_names_of_ports_are_known_to_dns(linux_plane, world, guests):
    port = world.port(11, world.segment(), groups=(world.group(1, ANY_OUT),), hostname="web-1")
    guest = guests.add(port)
    await linux_plane.apply(world.network)
    assert await resolved(guests, guest, "web-1.cloud.internal") == ["10.7.0.11"]
    assert await resolved(guests, guest, "web-1") == ["10.7.0.11"]


async def test_names_with_a_domain_resolve_and_follow_changes_while_leases_are_kept(
    linux_plane, world, guests, tmp_path
):
    segment, group = world.segment(), world.group(1, ANY_OUT)
    guest = guests.add(world.port(11, segment, groups=(group,), hostname="web.example.org"))
    world.port(12, segment, hostname="web")
    await linux_plane.apply(world.network)
    await leased(guests, guest, tmp_path / "script")
    [pid_file] = account.folder(tmp_path).glob("*/dnsmasq.pid")
    pid = pid_file.read_text()
    assert await resolved(guests, guest, "web.example.org") == ["10.7.0.11"]
    assert await resolved(guests, guest, "web") == ["10.7.0.11", "10.7.0.12"]
    assert await reverse(guests, guest, "10.7.0.11") == "web.example.org"

    ports = tuple(replace(port, hostname=f"new-{port.tap}.example.net") for port in world.network.ports)
    await linux_plane.apply(replace(world.network, ports=ports))

    await until_resolved(guests, guest, "new-tap11.example.net", ["10.7.0.11"])
    assert await resolved(guests, guest, "new-tap12.cloud.internal") == ["10.7.0.12"]
    for name in ("web.example.org", "web", "web.cloud.internal"):
        assert await resolved(guests, guest, name) == []
    assert pid_file.read_text() == pid
    assert (await leased(guests, guest, tmp_path / "script"))["hostname"] == "new-tap11"


async def test_an_address_that_is_free_again_is_leased_to_whoever_has_it_next(linux_plane, world, guests, tmp_path):
    segment, group = world.segment(), world.group(1, ANY_OUT)
    watcher = guests.add(world.port(10, segment, groups=(group,)))
    first = world.port(11, segment, groups=(group,), hostname="first")
    guest = guests.add(first)
    await linux_plane.apply(world.network)
    assert (await leased(guests, guest, tmp_path / "script"))["ip"] == "10.7.0.11"

    await linux_plane.apply(world.without(first))
    await until_resolved(guests, watcher, "first", [])
    assert await resolved(guests, watcher, "first.cloud.internal") == []

    second = world.port(12, segment, groups=(group,), hostname="second", addresses=first.addresses)
    heir = guests.add(second, address=False)
    await linux_plane.apply(world.network)
    assert (await leased(guests, heir, tmp_path / "script"))["ip"] == "10.7.0.11"
    assert await resolved(guests, watcher, "second") == ["10.7.0.11"]


async def test_metadata_is_reached_without_any_rule_and_sees_the_guests_address(linux_plane, world, guests):
    port = world.port(11, world.segment())
    guest = guests.add(port)
    await linux_plane.apply(world.network)
    await guests.run(guest, "ip", "route", "add", "169.254.169.254", "via", "10.7.0.2")
    [address] = await linux_plane.metadata_addresses()
    loop = asyncio.get_running_loop()
    with await linux_plane.metadata_socket(address) as served, await guests.client(guest) as client:
        async with asyncio.timeout(10):
            await loop.sock_connect(client, ("169.254.169.254", 80))
            accepted, peer = await loop.sock_accept(served)
            accepted.close()
    assert peer[0] == "10.7.0.11"


async def test_honest_frames_arrive(pair, guests):
    sender, receiver = pair
    question = frame(sender.mac, BROADCAST, 0x0806, arp(1, sender.mac, "10.7.0.11", "10.7.0.12"))
    probe = frame(sender.mac, BROADCAST, 0x0806, arp(1, sender.mac, "0.0.0.0", "10.7.0.11"))
    assert await arrives(guests, sender, receiver, question, probe) == [question, probe]


async def test_a_hypervisors_end_of_a_tap_carries_frames_both_ways(linux_plane, world):
    segment = world.segment()
    rules = world.group(1, ANY_OUT, GroupRule(direction="ingress"))
    ports = [world.port(number, segment, groups=(rules,)) for number in (11, 12)]
    await linux_plane.apply(world.network)
    here, there = ends = [opened(port.tap) for port in ports]
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(there, lambda: came.put_nowait(os.read(there, 65535)))
    question = frame(ports[0].mac, BROADCAST, 0x0806, arp(1, ports[0].mac, "10.7.0.11", "10.7.0.12"))
    forged = frame(ports[0].mac, BROADCAST, 0x0806, arp(1, ports[0].mac, "10.7.0.66", "10.7.0.12"))
    try:
        async with asyncio.timeout(10):
            while True:
                os.write(here, forged)
                os.write(here, question)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        assert await came.get() == question
                        break
    finally:
        loop.remove_reader(there)
        for end in ends:
            os.close(end)


def opened(tap: str) -> int:
    """Open a tap as a hypervisor does: without packet information."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, 0x400454CA, struct.pack("16sH22x", tap.encode(), 0x0002 | 0x1000))
    return end


async def test_a_foreign_mac_address_is_dropped(pair, guests):
    sender, receiver = pair
    packet = ipv4("10.7.0.11", "10.7.0.12", 17, udp(4000, SENTINEL + 1))
    question = arp(1, sender.mac, "10.7.0.11", "10.7.0.12")
    forged = [
        frame("fa:16:3e:00:00:99", receiver.mac, 0x0800, packet),
        frame("fa:16:3e:00:00:99", BROADCAST, 0x0806, question),
    ]
    assert await arrives(guests, sender, receiver, *forged) == []


async def test_a_foreign_ipv4_address_is_dropped(pair, guests, linux_plane, world):
    sender, receiver = pair
    world.group(2, GroupRule(direction="ingress"))  # the receiver would take it
    await linux_plane.apply(world.network)
    honest = datagram(sender, receiver, 7)
    forged = frame(sender.mac, receiver.mac, 0x0800, ipv4("10.7.0.77", "10.7.0.12", 17, udp(4000, 7)))
    assert await arrives(guests, sender, receiver, forged, honest) == [honest]


async def test_a_foreign_address_in_arp_is_dropped(pair, guests):
    sender, receiver = pair
    forged = [
        frame(sender.mac, BROADCAST, 0x0806, arp(2, sender.mac, "10.7.0.1", "10.7.0.12")),
        frame(sender.mac, BROADCAST, 0x0806, arp(2, "fa:16:3e:00:00:99", "10.7.0.11", "10.7.0.12")),
        frame(sender.mac, BROADCAST, 0x0806, arp(2, sender.mac, "0.0.0.0", "10.7.0.12")),
    ]
    assert await arrives(guests, sender, receiver, *forged) == []


async def test_a_guest_cannot_play_the_dhcp_server(pair, guests, linux_plane, world):
    sender, receiver = pair
    world.group(2, GroupRule(direction="ingress"))
    await linux_plane.apply(world.network)
    offer = datagram(sender, receiver, 68, source_port=67)
    assert await arrives(guests, sender, receiver, offer) == []


async def test_ipv6_and_vlan_frames_are_dropped(pair, guests):
    sender, receiver = pair
    router_advert = bytes.fromhex("6000000000003aff") + bytes(32)
    tagged = b"\x00\x05\x08\x00" + ipv4("10.7.0.11", "10.7.0.12", 17, udp(4000, 7))
    sent = [
        frame(sender.mac, "33:33:00:00:00:01", 0x86DD, router_advert),
        frame(sender.mac, receiver.mac, 0x8100, tagged),
    ]
    assert await arrives(guests, sender, receiver, *sent) == []


async def test_further_address_pairs_may_be_sent_from(linux_plane, world, guests):
    segment = world.segment()
    rules = world.group(1, ANY_OUT, GroupRule(direction="ingress"))
    pairs = (("10.7.0.64/28", "00:00:5e:00:01:01"), ("10.7.0.200", "fa:16:3e:00:00:0b"))
    sender = world.port(11, segment, groups=(rules,), allowed_pairs=pairs)
    receiver = world.port(12, segment, groups=(rules,))
    guests.add(sender)
    guests.add(receiver)
    await linux_plane.apply(world.network)
    allowed = [
        frame("00:00:5e:00:01:01", receiver.mac, 0x0800, ipv4("10.7.0.70", "10.7.0.12", 17, udp(1, 2))),
        frame(sender.mac, receiver.mac, 0x0800, ipv4("10.7.0.200", "10.7.0.12", 17, udp(1, 2))),
    ]
    crossed = frame(sender.mac, receiver.mac, 0x0800, ipv4("10.7.0.70", "10.7.0.12", 17, udp(1, 2)))
    assert await arrives(guests, sender, receiver, crossed, *allowed) == allowed


@pytest.mark.parametrize("cidrs", [("0.0.0.0/0",), ("0.0.0.0/1", "128.0.0.0/1")])
async def test_a_pair_of_all_addresses_lets_any_address_be_sent_from(linux_plane, world, guests, cidrs):
    segment = world.segment()
    rules = world.group(1, ANY_OUT, GroupRule(direction="ingress"))
    pairs = tuple((cidr, "fa:16:3e:00:00:0b") for cidr in cidrs)
    sender = world.port(11, segment, groups=(rules,), allowed_pairs=pairs)
    receiver = world.port(12, segment, groups=(rules,))
    guests.add(sender)
    guests.add(receiver)
    await linux_plane.apply(world.network)
    allowed = [
        frame(sender.mac, receiver.mac, 0x0800, ipv4("192.0.2.1", "10.7.0.12", 17, udp(1, 2))),
        frame(sender.mac, BROADCAST, 0x0806, arp(1, sender.mac, "203.0.113.9", "10.7.0.12")),
    ]
    refused = [
        frame("fa:16:3e:00:00:99", receiver.mac, 0x0800, ipv4("192.0.2.1", "10.7.0.12", 17, udp(1, 2))),
        frame(sender.mac, BROADCAST, 0x0806, arp(1, "fa:16:3e:00:00:99", "203.0.113.9", "10.7.0.12")),
        frame(sender.mac, receiver.mac, 0x0800, ipv4("192.0.2.1", "10.7.0.12", 17, udp(67, 68))),
        frame(sender.mac, receiver.mac, 0x86DD, bytes(40)),
    ]
    assert await arrives(guests, sender, receiver, *refused, *allowed) == allowed


async def test_a_member_that_may_send_from_all_addresses_makes_its_group_all_of_them(linux_plane, world, guests):
    segment = world.segment()
    members = world.group(2, ANY_OUT)
    rules = world.group(1, ANY_OUT, SENTINEL_IN, GroupRule(direction="ingress", remote_group=members))
    sender = world.port(11, segment, groups=(members,), allowed_pairs=(("0.0.0.0/0", "fa:16:3e:00:00:0b"),))
    receiver = world.port(12, segment, groups=(rules,))
    guests.add(sender)
    guests.add(receiver)
    await linux_plane.apply(world.network)
    sent = frame(sender.mac, receiver.mac, 0x0800, ipv4("192.0.2.1", "10.7.0.12", 17, udp(1, 2)))
    assert await arrives(guests, sender, receiver, sent) == [sent]


async def test_dhcp_makes_a_gateway_outside_the_subnet_reachable(linux_plane, world, guests, tmp_path):
    segment = world.segment()
    outside = replace(segment, subnets=tuple(replace(each, gateway="192.0.2.1") for each in segment.subnets))
    port = world.port(11, segment)
    guest = guests.add(port, address=False)
    await linux_plane.apply(replace(world.network, segments=(outside,)))
    lease = await leased(guests, guest, tmp_path / "script")
    assert lease["router"] == "192.0.2.1"
    routes = lease["staticroutes"].split()
    pairs = list(zip(routes[::2], routes[1::2], strict=True))
    assert pairs.index(("192.0.2.1/32", "0.0.0.0")) < pairs.index(("0.0.0.0/0", "192.0.2.1"))


async def test_a_port_without_port_security_sends_and_receives_anything(linux_plane, world, guests):
    segment = world.segment()
    sender = world.port(11, segment, port_security=False)
    receiver = world.port(12, segment, port_security=False)
    guests.add(sender)
    guests.add(receiver)
    await linux_plane.apply(world.network)
    packet = ipv4("192.0.2.1", "10.7.0.12", 17, udp(4000, 7))
    odd = frame("fa:16:3e:00:00:99", receiver.mac, 0x0800, packet)
    assert await arrives(guests, sender, receiver, odd) == [odd]


async def test_a_port_that_is_down_gets_nothing(linux_plane, world, guests):
    segment = world.segment()
    rules = world.group(1, ANY_OUT, GroupRule(direction="ingress"))
    sender = world.port(11, segment, groups=(rules,))
    down = world.port(12, segment, groups=(rules,), up=False)
    witness = world.port(13, segment, groups=(rules,))
    for port in (sender, down, witness):
        guests.add(port)
    await linux_plane.apply(world.network)
    question = frame(sender.mac, BROADCAST, 0x0806, arp(1, sender.mac, "10.7.0.11", "10.7.0.12"))
    with await guests.wire("guest-tap12") as dead:
        # Broadcasts go to all ports at once: when the witness has them, the dead one would have had them.
        assert await arrives(guests, sender, witness, question) == [question]
        with pytest.raises(BlockingIOError):
            dead.recv(65535)
    with await guests.wire("guest-tap12") as dead, await guests.wire("guest-tap13") as alive:
        dead.send(frame(down.mac, BROADCAST, 0x0806, arp(1, down.mac, "10.7.0.12", "10.7.0.13")))
        with await guests.wire("guest-tap11") as outer:
            outer.send(datagram(sender, witness, SENTINEL, text=b"that was all"))
        assert not [got for got in await until(alive, b"that was all") if got[6:12] == packed(down.mac)]


async def test_what_no_rule_admits_is_dropped_until_one_does(pair, guests, linux_plane, world):
    sender, receiver = pair
    wanted = datagram(sender, receiver, 7)
    assert await arrives(guests, sender, receiver, wanted) == []
    with await guests.listen("guest-tap12", 22):
        world.group(2, SENTINEL_IN, GroupRule(direction="ingress", protocol="tcp", port_min=22, port_max=22))
        await linux_plane.apply(world.network)
        assert await reaches(guests, "guest-tap11", "10.7.0.12", 22)
    assert await arrives(guests, sender, receiver, wanted) == []


async def test_what_no_egress_rule_allows_is_dropped(pair, guests, linux_plane, world):
    sender, receiver = pair
    only = GroupRule(
        direction="egress", protocol="udp", port_min=SENTINEL, port_max=SENTINEL, remote_cidr="10.7.0.12/32"
    )
    world.group(1, only)
    world.group(2, GroupRule(direction="ingress"))
    await linux_plane.apply(world.network)
    assert await arrives(guests, sender, receiver, datagram(sender, receiver, 7)) == []


async def test_a_revoked_rule_ends_the_connections_it_allowed(pair, guests, linux_plane, world):
    sender, receiver = pair
    world.group(2, SENTINEL_IN, GroupRule(direction="ingress", protocol="tcp", port_min=22, port_max=22))
    await linux_plane.apply(world.network)
    loop = asyncio.get_running_loop()
    with await guests.listen("guest-tap12", 22) as server, await guests.client("guest-tap11") as client:
        await loop.sock_connect(client, ("10.7.0.12", 22))
        accepted, _ = await loop.sock_accept(server)
        with accepted:
            client.send(b"before")
            assert await asyncio.wait_for(loop.sock_recv(accepted, 100), 10) == b"before"
            accepted.send(b"answer")
            assert await asyncio.wait_for(loop.sock_recv(client, 100), 10) == b"answer"
            world.group(2, SENTINEL_IN)
            await linux_plane.apply(world.network)
            with await guests.wire("guest-tap12") as inner, await guests.wire("guest-tap11") as outer:
                client.send(b"after")
                outer.send(datagram(sender, receiver, SENTINEL, text=b"that was all"))
                assert not [got for got in await until(inner, b"that was all") if b"after" in got]


async def test_a_remote_group_admits_its_members_alone(linux_plane, world, guests):
    segment = world.segment()
    clients = world.group(1, ANY_OUT)
    others = world.group(2, ANY_OUT)
    servers = world.group(
        3,
        SENTINEL_IN,
        GroupRule(direction="ingress", protocol="udp", port_min=7, port_max=7, remote_group=clients),
    )
    member = world.port(11, segment, groups=(clients,))
    stranger = world.port(12, segment, groups=(others,))
    server = world.port(13, segment, groups=(servers,))
    for port in (member, stranger, server):
        guests.add(port)
    await linux_plane.apply(world.network)
    wanted = datagram(member, server, 7)
    assert await arrives(guests, member, server, wanted) == [wanted]
    assert await arrives(guests, stranger, server, datagram(stranger, server, 7)) == []


async def test_an_address_group_admits_its_addresses_alone(linux_plane, world, guests):
    """It is a group of which no port is; as it changes, so does who is let in."""
    segment = world.segment()
    everybody = world.group(1, ANY_OUT)
    first, second = (world.port(number, segment, groups=(everybody,)) for number in (11, 12))
    offices = world.group(2, remote_members=(f"{first.addresses[0].address}/32", "198.51.100.0/24"))
    about_it = GroupRule(direction="ingress", protocol="udp", port_min=7, port_max=7, remote_group=offices)
    server = world.port(13, segment, groups=(world.group(3, SENTINEL_IN, about_it),))
    for port in (first, second, server):
        guests.add(port)
    one, other = datagram(first, server, 7), datagram(second, server, 7)
    await linux_plane.apply(world.network)
    assert await arrives(guests, first, server, one) == [one]
    assert await arrives(guests, second, server, other) == []
    world.group(2, remote_members=(f"{second.addresses[0].address}/32",))
    await linux_plane.apply(world.network)
    assert await arrives(guests, first, server, one) == []
    assert await arrives(guests, second, server, other) == [other]
    world.group(2, remote_members=("0.0.0.0/0",))
    await linux_plane.apply(world.network)
    assert await arrives(guests, first, server, one) == [one]


async def test_icmp_is_judged_by_type(pair, guests, linux_plane, world):
    world.group(2, SENTINEL_IN, GroupRule(direction="ingress", protocol="icmp", port_min=8, port_max=0))
    await linux_plane.apply(world.network)
    assert "1 packets received" in await guests.run("guest-tap11", "busybox", "ping", "-c", "1", "-W", "5", "10.7.0.12")


async def test_equal_addresses_in_two_networks_do_not_meet(linux_plane, world, guests):
    group = world.group(1, ANY_OUT, GroupRule(direction="ingress"))
    here, there = world.segment(1), world.segment(2)
    sender = world.port(11, here, groups=(group,))
    receiver = world.port(12, here, groups=(group,))
    namesakes = [
        world.port(21, there, groups=(group,), addresses=sender.addresses, mac=sender.mac),
        world.port(22, there, groups=(group,), addresses=receiver.addresses, mac=receiver.mac),
    ]
    for port in (sender, receiver, *namesakes):
        guests.add(port)
    await linux_plane.apply(world.network)
    wanted = datagram(sender, receiver, 7, text=b"here")
    assert await arrives(guests, *namesakes, wanted) == [wanted]
    with await guests.wire("guest-tap22") as elsewhere, await guests.wire("guest-tap21") as outer:
        assert await arrives(guests, sender, receiver, wanted) == [wanted]
        outer.send(datagram(*namesakes, SENTINEL, text=b"that was all"))
        assert not [got for got in await until(elsewhere, b"that was all") if b"here" in got]


async def test_a_guest_cannot_speak_to_the_host(pair, guests):
    """A frame for the bridge's own MAC, to an address that the host has, ends at the rules."""
    sender, receiver = pair
    bridge = bridge_name(sender.network_id)
    subprocess.run(["ip", "addr", "add", "10.7.0.99/24", "dev", bridge], check=True)
    subprocess.run(["ip", "link", "set", "dev", bridge, "address", "02:00:00:00:00:99"], check=True)
    packet = ipv4("10.7.0.11", "10.7.0.99", 17, udp(4000, 5353))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("10.7.0.99", 5353))
        host.setblocking(False)
        await arrives(guests, sender, receiver, frame(sender.mac, "02:00:00:00:00:99", 0x0800, packet))
        with pytest.raises(BlockingIOError):
            host.recv(100)
        # Without the rule it would have arrived: this is what the rule is there for.
        subprocess.run(["nft", "flush", "chain", "bridge", "floe", "input"], check=True)
        await arrives(guests, sender, receiver, frame(sender.mac, "02:00:00:00:00:99", 0x0800, packet))
        assert host.recv(100) == b""


HOSTILE = 'a "quoted", \\back\\slashed\\n # commented; `id` $(id) tag:x,option:router,10.9.9.9'
"""A value that would mean something to whoever reads files and shells, did it not stand between quotes."""


def test_the_names_of_options_are_those_that_the_dhcp_server_knows():
    printed = subprocess.run(["dnsmasq", "--help", "dhcp"], capture_output=True, text=True, check=True).stdout
    known = {tuple(line.split()) for line in printed.splitlines()[1:] if line.strip()}
    assert {(str(option.number), option.name) for option in KNOWN.values() if option.name} == known


async def test_a_port_is_told_its_own_options_and_the_port_beside_it_is_not(linux_plane, world, guests, tmp_path):
    segment = world.segment(mtu=1400)
    mine = (
        ("tftp-server", "10.7.0.99"), ("bootfile-name", "pxelinux.0"), ("server-ip-address", "10.7.0.98"),
        ("dns-server", "10.7.0.53,10.7.0.54"), ("26", "1200"), ("domain-search", "a.example,b.example"),
        ("249", "10.50.0.0/16,10.7.0.9"), ("224", HOSTILE), ("root-path", '"'), ("225", "0a:1b:2c"),
    )  # fmt: skip
    one = world.port(11, segment, dhcp_options=mine)
    other = world.port(12, segment)
    first, second = guests.add(one, address=False), guests.add(other, address=False)
    await linux_plane.apply(world.network)
    names = ("tftp", "bootfile", "search", "msstaticroutes", "224", "rootpath", "225", "router")

    lease = await leased(guests, first, tmp_path / "script", *names)
    beside = await leased(guests, second, tmp_path / "script", *names)

    assert lease["tftp"] == "10.7.0.99"
    assert lease["bootfile"] == "pxelinux.0"
    assert lease["siaddr"] == "10.7.0.98"
    assert lease["dns"] == "10.7.0.53 10.7.0.54"
    assert lease["mtu"] == "1200"
    assert lease["search"] == "a.example b.example"
    assert lease["msstaticroutes"] == "10.50.0.0/16 10.7.0.9"
    assert bytes.fromhex(lease["opt224"]).decode() == HOSTILE
    assert lease["rootpath"] == '"'
    assert lease["opt225"] == "0a1b2c"
    assert lease["router"] == "10.7.0.1"
    assert (beside["dns"], beside["mtu"], beside["router"]) == ("192.0.2.53", "1400", "10.7.0.1")
    assert not {"tftp", "bootfile", "search", "opt224", "rootpath"} & beside.keys()


async def test_options_are_added_changed_and_taken_away_while_the_server_runs(linux_plane, world, guests, tmp_path):
    port = world.port(11, world.segment(), dhcp_options=(("tftp-server", "one"),))
    guest = guests.add(port, address=False)
    await linux_plane.apply(world.network)
    assert (await leased(guests, guest, tmp_path / "script", "tftp"))["tftp"] == "one"
    for options, wanted in (
        ((("tftp-server", "two"), ("router", "")), ("two", None)),
        ((), (None, "10.7.0.1")),
    ):
        changed = replace(port, dhcp_options=options)
        await linux_plane.apply(replace(world.network, ports=(changed,)))
        lease: dict[str, str] = {}
        while (lease.get("tftp"), lease.get("router")) != wanted:
            lease = await leased(guests, guest, tmp_path / "script", "tftp", "router")


async def test_what_is_no_option_spoils_nothing(linux_plane, world, guests, tmp_path):
    """The host checks again: what an older or a broken cloud might send reaches no file."""
    hostile = (
        ("x\naddn-hosts=/etc/shadow", "y"), ("tftp-server", "a\ndhcp-range=10.7.0.50,10.7.0.60"), ("router", "nobody"),
        ("54", "10.7.0.66"), ("mtu", "70000"), ("bootfile-name", "x" * 300), ("300", "y"), ("tftp-server-address", ""),
    )  # fmt: skip
    port = world.port(11, world.segment(mtu=1400), dhcp_options=(*hostile, ("bootfile-name", "good")))
    guest = guests.add(port, address=False)
    await linux_plane.apply(world.network)
    lease = await leased(guests, guest, tmp_path / "script", "tftp", "bootfile")
    assert (lease["bootfile"], lease["router"], lease["mtu"]) == ("good", "10.7.0.1", "1400")
    assert lease["serverid"] == "10.7.0.2"
    assert "tftp" not in lease


async def test_a_whole_name_and_the_domain_of_a_network_resolve_and_follow_changes(
    linux_plane, world, guests, tmp_path
):
    segment, group = world.segment(), world.group(1, ANY_OUT)
    guest = guests.add(world.port(11, segment, groups=(group,), hostname="web.shop"))
    await linux_plane.apply(world.network)
    for name in ("web.shop", "web.shop.cloud.internal", "web", "web.cloud.internal", "host-10-7-0-11.cloud.internal"):
        assert await resolved(guests, guest, name) == ["10.7.0.11"], name

    segments = (replace(segment, dns_domain="floe.example."),)
    await linux_plane.apply(replace(world.network, segments=segments))

    await until_resolved(guests, guest, "web.shop.floe.example", ["10.7.0.11"])
    assert await resolved(guests, guest, "host-10-7-0-11.floe.example") == ["10.7.0.11"]
    assert await resolved(guests, guest, "web.cloud.internal") == []
    assert (await leased(guests, guest, tmp_path / "script"))["domain"] == "floe.example"
