"""Frames that no honest guest sends: none of them passes a rule, reaches a server of the host, or teaches the host.

Each is sent through the real bridge and rules, towards a port without port security, which would show all that comes,
and towards whatever else listens. After them comes an honest frame, which arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from floe.core.host_network import GroupRule
from floe.dataplane.linux import kernel, stack
from floe.dataplane.linux.names import bridge_name, dhcp_device, namespace_name

from .test_packets import (
    ANY_OUT,
    BROADCAST,
    SENTINEL,
    arp,
    arrives,
    datagram,
    frame,
    ipv4,
    joined,
    opened,
    packed,
    reaches,
    received,
    udp,
    until,
)

pytestmark = pytest.mark.e2e

OUTSIDE = "203.0.113.9"
ALL_NODES = "33:33:00:00:00:01"
BY_THE_BRIDGE_ITSELF = "01:80:c2:00:00:0e"
"""A frame to this address is for the bridge's own port (LLDP): the kernel hands it to the host's stack."""
TO_SENTINEL = GroupRule(direction="egress", protocol="udp", port_min=SENTINEL, port_max=SENTINEL)
SERVER = "10.7.0.2"


def tagged(inner: bytes, *tags: tuple[int, int]) -> bytes:
    """Put VLAN tags (type, priority and id) behind the addresses of a frame, the outermost first."""
    return inner[:12] + b"".join(struct.pack("!HH", kind, tag) for kind, tag in tags) + inner[12:]


def llc(inner: bytes, head: str) -> bytes:
    """Make an IEEE 802.3 frame: a length where the type was, and an LLC (or SNAP) header."""
    payload = bytes.fromhex(head) + inner[14:]
    return inner[:12] + struct.pack("!H", len(payload)) + payload


def changed(packet: bytes, at: int, new: bytes) -> bytes:
    return packet[:at] + new + packet[at + len(new) :]


def checked(packet: bytes) -> bytes:
    """Give an IPv4 packet the right header checksum."""
    size = 4 * (packet[0] & 15)
    words = struct.unpack(f"!{size // 2}H", changed(packet, 10, b"\0\0")[:size])
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return changed(packet, 10, struct.pack("!H", ~total & 0xFFFF))


def with_options(packet: bytes, options: bytes) -> bytes:
    assert len(options) % 4 == 0
    head = changed(packet[:20], 0, bytes([0x45 + len(options) // 4]))
    head = changed(head, 2, struct.pack("!H", len(packet) + len(options)))
    return checked(head + options + packet[20:])


def fragments(packet: bytes, *, at: int) -> list[bytes]:
    """Cut an IPv4 packet in two."""
    head, content = packet[:20], packet[20:]
    parts = []
    for offset, part, more in ((0, content[:at], 0x2000), (at, content[at:], 0)):
        new = changed(head, 2, struct.pack("!H", 20 + len(part)))
        new = changed(new, 4, struct.pack("!HH", 0x4242, more | offset // 8))
        parts.append(checked(new + part))
    return parts


def router_advert(mac: str, *, network: str = "2001:db8:bad::") -> bytes:
    """Return the IPv6 packet by which a router offers itself and a network to all (RFC 4861)."""
    source = ipaddress.IPv6Address("fe80::bad").packed
    target = ipaddress.IPv6Address("ff02::1").packed
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + ipaddress.IPv6Address(network).packed
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\x01\x01" + packed(mac) + prefix
    pseudo = source + target + struct.pack("!II", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(pseudo) // 2}H", pseudo))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    body = changed(body, 2, struct.pack("!H", ~total & 0xFFFF))
    return struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + source + target + body


def odd_frames(mac: str, own: str, target_mac: str, target: str) -> dict[str, bytes]:
    """Return frames of kinds that pass nowhere, each with a UDP packet or ARP question that would be fine."""
    packet = ipv4(own, target, 17, udp(4000, SENTINEL + 1, b"odd"))
    honest = frame(mac, target_mac, 0x0800, packet)
    question = frame(mac, BROADCAST, 0x0806, arp(1, mac, own, target))
    found: dict[str, bytes] = {}
    for what, plain in (("IPv4", honest), ("ARP", question)):
        for name, tags in {
            "priority tag": [(0x8100, 0)],
            "priority tag of priority 7": [(0x8100, 7 << 13)],
            "priority tag that may be dropped": [(0x8100, 1 << 12)],
            "VLAN 5": [(0x8100, 5)],
            "VLAN 4095": [(0x8100, 4095)],
            "802.1ad priority tag": [(0x88A8, 0)],
            "802.1ad VLAN 5": [(0x88A8, 5)],
            "two priority tags": [(0x8100, 0), (0x8100, 0)],
            "QinQ": [(0x88A8, 5), (0x8100, 0)],
            "old QinQ": [(0x9100, 0)],
            "three tags": [(0x8100, 0), (0x88A8, 0), (0x8100, 0)],
        }.items():
            found[f"{what} with {name}"] = tagged(plain, *tags)
        found[f"{what} in SNAP"] = llc(plain, "aaaa03000000" + plain[12:14].hex())
        found[f"{what} in LLC"] = llc(plain, "060603")
        found[f"{what} in LLC of NetBEUI"] = llc(plain, "f0f003")
    v6 = bytes.fromhex("6000000000083a40") + bytes(15) + b"\1" + bytes(15) + b"\2" + bytes(8)
    for name, kind in {"fragment": 44, "hop-by-hop": 0, "routing": 43, "destination": 60}.items():
        found[f"IPv6 with {name} header"] = frame(mac, target_mac, 0x86DD, changed(v6, 6, bytes([kind])))
    found["router advertisement"] = frame(mac, ALL_NODES, 0x86DD, router_advert(mac))
    found["router advertisement with priority tag"] = tagged(found["router advertisement"], (0x8100, 0))
    for name, kind in {
        "PPPoE discovery": 0x8863, "PPPoE": 0x8864, "MPLS": 0x8847, "EAPOL": 0x888E, "MACsec": 0x88E5, "LLDP": 0x88CC,
        "PTP": 0x88F7, "RARP": 0x8035, "AppleTalk": 0x809B, "IPX": 0x8137, "flow control": 0x8808, "local": 0x88B5,
        "loopback": 0x9000, "trailer": 0x1000, "type 0x0600": 0x0600, "type 0xffff": 0xFFFF, "802.2 of length 0": 0,
    }.items():  # fmt: skip
        found[name] = frame(mac, target_mac, kind, packet)
    for last in range(16):
        found[f"LLC to 01:80:c2:00:00:{last:02x}"] = llc(frame(mac, f"01:80:c2:00:00:{last:02x}", 0, packet), "424203")
    found["Cisco discovery"] = llc(frame(mac, "01:00:0c:cc:cc:cc", 0, packet), "aaaa0300000c2000")
    return found


def false_frames(mac: str, own: str, target_mac: str, target: str) -> dict[str, bytes]:
    """Return plain IPv4 and ARP frames that say something untrue or broken of their sender."""
    packet = ipv4(own, target, 17, udp(4000, SENTINEL, b"false"))
    found = {
        f"IPv4 from {name}": frame(source, target_mac, 0x0800, packet)
        for name, source in {
            "all": BROADCAST, "a group's MAC": "01:00:5e:00:00:01", "no MAC": "00:00:00:00:00:00",
            "the receiver's MAC": target_mac, "a link-local group": "01:80:c2:00:00:00",
        }.items()
    }  # fmt: skip
    for name, source in {
        "the gateway": "10.7.0.1", "DHCP": SERVER, "metadata": "169.254.169.254", "nobody": "0.0.0.0",
        "the receiver": target, "loopback": "127.0.0.1", "broadcast": "255.255.255.255",
        "a group": "224.0.0.1", "elsewhere": OUTSIDE,
    }.items():  # fmt: skip
        found[f"IPv4 of {name}"] = frame(
            mac, target_mac, 0x0800, ipv4(source, target, 17, udp(4000, SENTINEL, b"false"))
        )
        for operation in (1, 2, 3, 8):
            if not (source == "0.0.0.0" and operation == 1):  # which asks whether an address is free
                found[f"ARP {operation} for {name}"] = frame(
                    mac, BROADCAST, 0x0806, arp(operation, mac, source, target)
                )
    question = arp(1, mac, own, target)
    broken = {
        "of another hardware": changed(question, 0, b"\0\6"),
        "for another protocol": changed(question, 2, b"\x86\xdd"),
        "with long MACs": changed(question, 4, b"\x08"),
        "with long addresses": changed(question, 5, b"\x10"),
        "without an end": question[:20],
        "of eight bytes": question[:8],
        "of nothing": b"",
    }
    found |= {f"ARP {name}": frame(mac, BROADCAST, 0x0806, content) for name, content in broken.items()}
    for name, ports in {"67 to 68": (67, 68), "67": (67, 4000), "any to 68": (4000, 68)}.items():
        answer = ipv4(own, target, 17, udp(*ports, b"offer"))
        found[f"DHCP answer from {name}"] = frame(mac, target_mac, 0x0800, answer)
        found[f"DHCP answer from {name} to all"] = frame(
            mac, BROADCAST, 0x0800, ipv4(own, "255.255.255.255", 17, udp(*ports))
        )
        found[f"DHCP answer from {name} with options"] = frame(
            mac, target_mac, 0x0800, with_options(answer, bytes(4 * 10))
        )
    broken = {
        "of version 6": changed(packet, 0, b"\x65"),
        "with a short header": changed(packet, 0, b"\x44"),
        "longer than it is": changed(packet, 2, b"\x40\x00"),
        "shorter than its header": changed(packet, 2, b"\x00\x08"),
        "with a wrong sum": changed(packet, 10, b"\xff\xff"),
        "of ten bytes": packet[:10],
        "of nothing": b"",
    }
    found |= {f"IPv4 {name}": frame(mac, target_mac, 0x0800, content) for name, content in broken.items()}
    return found


def forbidden_packets(own: str, target: str) -> dict[str, list[bytes]]:
    """Return honest IPv4 packets that carry what the rules forbid, in ways in which it might be overlooked."""
    content = udp(4000, 7, b"forbidden" * 10)
    packet = ipv4(own, target, 17, content)
    first, second = fragments(packet, at=24)
    return {
        "plain": [packet],
        "in fragments": [first, second],
        "in fragments, the last first": [second, first],
        "a last fragment": [second],
        "a first fragment": [first],
        "fragments that overlap": [first, checked(changed(second, 6, struct.pack("!H", 1)))],
        "no operation as options": [with_options(packet, b"\1" * 40)],
        "a route as options": [with_options(packet, b"\x83\x07\x04" + ipaddress.IPv4Address(OUTSIDE).packed + b"\0")],
        "router alert": [with_options(packet, b"\x94\x04\0\0")],
        "IP in IP": [ipv4(own, target, 4, packet)],
        "GRE": [ipv4(own, target, 47, b"\0\0\x08\0" + packet)],
        "VXLAN": [ipv4(own, target, 17, udp(4000, 4789, bytes(8) + packet))],
        "UDP-Lite": [ipv4(own, target, 136, content)],
        "an answer to nothing": [ipv4(own, target, 1, b"\0\0\0\0\0\1\0\1")],
        "an error of nothing": [ipv4(own, target, 1, b"\3\3\0\0\0\0\0\0" + packet[:28])],
        "a redirect": [ipv4(own, target, 1, b"\5\1\0\0" + ipaddress.IPv4Address(own).packed + packet[:28])],
        "TCP in the middle": [ipv4(own, target, 6, struct.pack("!HHIIBBHHH", 4000, 22, 1, 1, 0x50, 0x10, 9, 0, 0))],
        "to a group": [ipv4(own, "224.0.0.251", 17, udp(5353, 5353))],
        "to all": [ipv4(own, "255.255.255.255", 17, udp(4000, 7))],
        "to all of the network": [ipv4(own, "10.7.0.255", 17, udp(4000, 7))],
    }


@contextlib.asynccontextmanager
async def listening(name: str, device: str):
    """Show the frames that arrive at a device inside a namespace."""

    def made() -> socket.socket:
        opened_ = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        opened_.bind((device, 0))
        opened_.setblocking(False)
        return opened_

    with await kernel.in_namespace(name, made) as wire:
        yield wire


def drained(wire: socket.socket) -> list[bytes]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(wire.recv(65535))
    return found


def came(content: bytes, seen: list[bytes]) -> bool:
    """Say whether a frame is among those seen, though the kernel took a tag or padding off it."""
    return any(
        got[: len(content)] == content or (got[:12] == content[:12] and len(got) > 14 and got[12:] in content[12:])
        for got in seen
    )


async def passed(guests, sender, receiver, sent: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Return which of the frames came to the receiver, and which to the network's servers."""
    async with listening(namespace_name(sender.network_id), "dh0") as servers:
        seen = await received(guests, sender, receiver, *sent.values())
        heard = drained(servers)
    return [name for name in sent if came(sent[name], seen)], [name for name in sent if came(sent[name], heard)]


@pytest.fixture
async def pair(linux_plane, world, guests):
    """Return a guest that may send only the sentinel, and one without port security, which shows all that comes."""
    segment = world.segment()
    sender = world.port(11, segment, groups=(world.group(1, TO_SENTINEL),))
    receiver = world.port(12, segment, port_security=False)
    for port in (sender, receiver):
        guests.add(port)
    await linux_plane.apply(world.network)
    return sender, receiver


def between(sender, receiver) -> tuple[str, str, str, str]:
    return sender.mac, sender.addresses[0].address, receiver.mac, receiver.addresses[0].address


async def test_only_plain_ipv4_and_arp_leave_a_guest(pair, guests):
    sender, receiver = pair
    assert await passed(guests, sender, receiver, odd_frames(*between(sender, receiver))) == ([], [])


async def test_a_priority_tag_passes_no_rule_that_forbids_it_untagged(pair, guests):
    """What is forbidden untagged, what is allowed untagged, and both towards the host's DHCP, DNS and metadata."""
    sender, receiver = pair
    inner = subprocess.run(
        ["ip", "-n", namespace_name(sender.network_id), "-br", "link", "show", "dev", "dh0"],
        check=True, capture_output=True, text=True,
    ).stdout.split()[2]  # fmt: skip
    sent = {}
    for mac, address in ((receiver.mac, "10.7.0.12"), (inner, SERVER), (inner, "169.254.169.254")):
        for port in (7, 53, 67, 80, SENTINEL):
            plain = frame(sender.mac, mac, 0x0800, ipv4("10.7.0.11", address, 17, udp(68, port)))
            sent[f"{address} {port}"] = tagged(plain, (0x8100, 0))
    discover = frame(sender.mac, BROADCAST, 0x0800, ipv4("0.0.0.0", "255.255.255.255", 17, udp(68, 67, bytes(240))))
    sent["DHCP"] = tagged(discover, (0x8100, 0))
    assert await passed(guests, sender, receiver, sent) == ([], [])
    assert await passed(guests, sender, receiver, {"untagged": discover}) == (["untagged"], ["untagged"])


async def test_frames_that_lie_about_their_sender_leave_no_guest(pair, guests, linux_plane, world):
    sender, receiver = pair
    world.group(1, ANY_OUT)
    await linux_plane.apply(world.network)
    assert await passed(guests, sender, receiver, false_frames(*between(sender, receiver))) == ([], [])


async def test_what_egress_forbids_leaves_in_no_wrapping(pair, guests):
    sender, receiver = pair
    cases = forbidden_packets("10.7.0.11", "10.7.0.12")
    sent = {
        f"{name} {number}": frame(sender.mac, receiver.mac, 0x0800, packet)
        for name, packets in cases.items()
        for number, packet in enumerate(packets)
    }
    assert (await passed(guests, sender, receiver, sent))[0] == []
    whole = ipv4("10.7.0.11", "10.7.0.12", 17, udp(4000, SENTINEL, b"allowed" * 10))
    allowed = [frame(sender.mac, receiver.mac, 0x0800, part) for part in fragments(whole, at=24)]
    assert await arrives(guests, sender, receiver, *allowed) == allowed, "the same wrapping of what is allowed"


async def test_what_ingress_forbids_enters_in_no_wrapping(linux_plane, world, guests):
    """The sender has no port security: nothing is dropped where it comes from."""
    segment = world.segment()
    admitted = GroupRule(direction="ingress", protocol="udp", port_min=SENTINEL, port_max=SENTINEL)
    sender = world.port(11, segment, port_security=False)
    receiver = world.port(12, segment, groups=(world.group(1, admitted),))
    for port in (sender, receiver):
        guests.add(port)
    await linux_plane.apply(world.network)
    sent = {
        f"{name} {number}": frame(sender.mac, receiver.mac, 0x0800, packet)
        for name, packets in forbidden_packets("10.7.0.11", "10.7.0.12").items()
        for number, packet in enumerate(packets)
    }
    sent |= odd_frames(*between(sender, receiver))
    sent["tagged, of what is admitted"] = tagged(datagram(sender, receiver, SENTINEL), (0x8100, 0))
    assert await passed(guests, sender, receiver, sent) == ([], [])


async def test_the_hosts_servers_hear_only_what_they_answer(linux_plane, world, guests):
    """Whoever sends, and even a port without port security, reaches no more of the namespace than its services."""
    segment = world.segment()
    sender, receiver = (world.port(number, segment, port_security=False) for number in (11, 12))
    for port in (sender, receiver):
        guests.add(port)
    await linux_plane.apply(world.network)
    sent = {
        f"UDP {port}": frame(sender.mac, BROADCAST, 0x0800, ipv4("10.7.0.11", SERVER, 17, udp(4000, port)))
        for port in (1, 52, 54, 69, 123, 5353)
    }
    sent["TCP 22"] = frame(
        sender.mac, BROADCAST, 0x0800,
        ipv4("10.7.0.11", SERVER, 6, struct.pack("!HHIIBBHHH", 4000, 22, 1, 0, 0x50, 2, 9, 0, 0)),
    )  # fmt: skip
    sent["redirect"] = frame(sender.mac, BROADCAST, 0x0800, ipv4("10.7.0.1", SERVER, 1, b"\5\1" + bytes(34)))
    sent["IP in IP"] = frame(sender.mac, BROADCAST, 0x0800, ipv4("10.7.0.11", SERVER, 4, bytes(20)))
    sent |= odd_frames(sender.mac, "10.7.0.11", BROADCAST, SERVER)
    assert (await passed(guests, sender, receiver, sent))[1] == []
    fine = {"DNS": frame(sender.mac, BROADCAST, 0x0800, ipv4("10.7.0.11", SERVER, 17, udp(4000, 53)))}
    assert (await passed(guests, sender, receiver, fine))[1] == ["DNS"]


@pytest.mark.parametrize("how", ["allowed pair", "without port security"])
async def test_nobody_poses_as_the_server_of_dhcp_names_and_metadata(linux_plane, world, guests, how):
    """Else a guest that was broken into would give the others names, and keys, of its own."""
    ways = {
        "allowed pair": {
            "allowed_pairs": ((f"{SERVER}/32", "fa:16:3e:00:00:0c"), ("169.254.0.0/16", "fa:16:3e:00:00:0c"))
        },
        "without port security": {"port_security": False},
    }
    segment = world.segment()
    everything = world.group(1, ANY_OUT, GroupRule(direction="ingress"))
    victim = world.port(11, segment, groups=(everything,))
    groups = () if how == "without port security" else (everything,)
    thief = world.port(12, segment, groups=groups, **ways[how])
    for port in (victim, thief):
        guests.add(port)
    await linux_plane.apply(world.network)
    sent = {}
    for address in (SERVER, "169.254.169.254"):
        sent |= {
            f"ARP {operation} {address}": frame(
                thief.mac, BROADCAST, 0x0806, arp(operation, thief.mac, address, address)
            )
            for operation in (1, 2)
        }
        answer = ipv4(address, "10.7.0.11", 17, udp(53, 4000, b"false"))
        sent[f"DNS {address}"] = frame(thief.mac, victim.mac, 0x0800, answer)
    assert await passed(guests, thief, victim, sent) == ([], [])
    fine = {"own": frame(thief.mac, victim.mac, 0x0800, ipv4("10.7.0.12", "10.7.0.11", 17, udp(53, 4000, b"own")))}
    assert (await passed(guests, thief, victim, fine))[0] == ["own"]


async def test_who_works_in_a_networks_namespace_is_answered(linux_plane, world, guests):
    """`floe exec --network` is how one gets into a guest without a router."""
    segment = world.segment()
    guest = world.port(11, segment, groups=(world.group(1, ANY_OUT, GroupRule(direction="ingress")),))
    guests.add(guest)
    await linux_plane.apply(world.network)
    inside = namespace_name(segment.network_id)
    with await guests.listen("guest-tap11", 22):
        assert await reaches(guests, inside, "10.7.0.11", 22)
    pinged = await guests.run(inside, "busybox", "ping", "-c", "1", "-W", "5", "10.7.0.11")
    assert "1 packets received" in pinged
    with await guests.datagrams("guest-tap11", 5353) as server, await guests.datagrams(inside, 0) as client:
        client.sendto(b"question", ("10.7.0.11", 5353))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            _, asker = await loop.sock_recvfrom(server, 100)
            server.sendto(b"answer", asker)
            assert await loop.sock_recv(client, 100) == b"answer"


async def test_giants_and_runts_leave_no_guest(linux_plane, world, guests):
    """A hypervisor's end of a tap takes frames of any size."""
    segment = world.segment()
    sender = world.port(11, segment, groups=(world.group(1, ANY_OUT),))
    receiver = world.port(12, segment, port_security=False)
    guests.add(receiver)
    await linux_plane.apply(world.network)
    end = opened(sender.tap)
    sized = {size: datagram(sender, receiver, SENTINEL, text=bytes(size - 42)) for size in (1414, 1500, 9000, 65000)}
    runts = [sized[1414][:size] for size in (14, 15, 20, 33)]
    try:
        with await guests.wire(f"guest-{receiver.tap}") as inner:
            await joined(inner, end, datagram(sender, receiver, SENTINEL, text=b"joining"))
            for content in [*runts, *sized.values()]:
                os.write(end, content)
            os.write(end, datagram(sender, receiver, SENTINEL, text=b"that was all"))
            seen = await until(inner, b"that was all")
    finally:
        os.close(end)
    assert sized[1414] in seen
    assert max(map(len, seen)) == 1414, "the kernel may send giants on in fragments that fit the network's MTU"
    assert not [got for got in seen if got in runts]


# -- what the host learns -------------------------------------------------------------------------------


def learnt() -> str:
    """Return the routes and addresses that the host has by now of its own accord."""
    said = [
        subprocess.run(["ip", "-o", *words], check=True, capture_output=True, text=True).stdout
        for words in (["-6", "route"], ["-6", "addr"], ["route"], ["neigh"], ["-6", "neigh"])
    ]
    return "".join(said)


def speak(tap: str, frames: list[bytes]) -> None:
    for content in frames:
        os.write(tap, content)


def adverts(mac: str) -> list[bytes]:
    """Return router advertisements to all that listen, and to the bridge's own port."""
    packet = router_advert(mac)
    return [frame(mac, target, 0x86DD, packet) for target in (ALL_NODES, BY_THE_BRIDGE_ITSELF, BROADCAST)]


@pytest.fixture
async def tap(linux_plane, world):
    """Return a port without port security, and the hypervisor's end of its tap; the host's stack has IPv6."""
    port = world.port(11, world.segment(), port_security=False)
    for scope in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{scope}/accept_ra").write_text("2")
    await linux_plane.apply(world.network)
    end = opened(port.tap)
    yield port, end
    os.close(end)


def flush_rules() -> None:
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def let_host_listen(port) -> None:
    for device in (port.tap, bridge_name(port.network_id), dhcp_device(port.network_id)):
        Path(f"/proc/sys/net/ipv6/conf/{device}/disable_ipv6").write_text("0")


async def seen_by_the_host(port, end: int, frames: list[bytes]) -> None:
    """Send frames, then one of a type of its own, and wait until that has come up to the host's own devices."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as wire:
        wire.bind((port.tap, 0))
        wire.setblocking(False)
        for content in frames:
            os.write(end, content)
        os.write(end, frame(port.mac, BROADCAST, 0x88B5, b"that was all"))
        await until(wire, b"that was all")


@pytest.mark.parametrize("open_door", ["no", "rules", "settings"])
async def test_the_host_learns_nothing_from_a_routers_advertisement(tap, open_door):
    """Rules and settings both keep it from that, each without the other."""
    port, end = tap
    if open_door == "rules":
        flush_rules()
    if open_door == "settings":
        let_host_listen(port)
    before = learnt()
    await seen_by_the_host(port, end, adverts(port.mac))
    assert learnt() == before


async def test_without_rules_and_settings_it_would_have_learnt(tap):
    port, end = tap
    flush_rules()
    let_host_listen(port)
    await seen_by_the_host(port, end, adverts(port.mac))
    assert "2001:db8:bad::/64" in learnt()
    assert "default" in learnt()


async def test_no_device_of_a_tenants_speaks_ipv6_or_forwards(tap, linux_plane, world):
    port, _ = tap
    for device in (port.tap, bridge_name(port.network_id), dhcp_device(port.network_id)):
        assert stack.open_to([device]) == {}
        for setting, value in {"ipv6/conf/{}/disable_ipv6": "1", "ipv4/conf/{}/forwarding": "0"}.items():
            assert Path("/proc/sys/net", setting.format(device)).read_text().strip() == value
    inside = namespace_name(port.network_id)
    for setting, value in {
        "ipv6/conf/dh0/disable_ipv6": "1",
        "ipv6/conf/lo/disable_ipv6": "1",
        "ipv4/ip_forward": "0",
        "ipv4/conf/dh0/accept_redirects": "0",
        "ipv4/conf/all/accept_redirects": "0",
        "ipv4/conf/dh0/accept_source_route": "0",
        "ipv4/conf/dh0/rp_filter": "1",
    }.items():
        said = await kernel.in_namespace(inside, Path("/proc/sys/net", setting).read_text)
        assert said.strip() == value, setting
    shown = subprocess.run(
        ["ip", "-d", "link", "show", bridge_name(port.network_id)], check=True, capture_output=True, text=True
    ).stdout
    assert {"stp_state 0", "mcast_snooping 0", "mcast_querier 0"} <= {
        " ".join(pair) for pair in zip(shown.split(), shown.split()[1:], strict=False)
    }


@pytest.mark.parametrize("where", ["in its bridge", "out of it"])
async def test_a_guest_reaches_no_address_of_the_host(tap, where):
    """By the bridge's own MAC, by the address that bridges keep to themselves, and from a tap that left its bridge."""
    port, end = tap
    subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "route", "add", "10.7.0.0/24", "dev", bridge_name(port.network_id)], check=True)
    if where == "out of it":
        subprocess.run(["ip", "link", "set", "dev", port.tap, "nomaster"], check=True)
        subprocess.run(["ip", "route", "replace", "10.7.0.0/24", "dev", port.tap], check=True)
    devices = subprocess.run(["ip", "-br", "link"], check=True, capture_output=True, text=True).stdout.splitlines()
    own = [line.split()[2] for line in devices if line.split()[0] in (port.tap, bridge_name(port.network_id))]
    packet = ipv4("10.7.0.11", "192.0.2.1", 17, udp(4000, 5353, b"for the host"))
    frames = [frame(port.mac, mac, 0x0800, packet) for mac in (*own, BY_THE_BRIDGE_ITSELF, BROADCAST)]
    question = arp(1, port.mac, "10.7.0.11", "192.0.2.1")
    frames += [frame(port.mac, mac, 0x0806, question) for mac in (*own, BY_THE_BRIDGE_ITSELF, BROADCAST)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as host:
        host.bind(("192.0.2.1", 5353))
        host.setblocking(False)
        before = learnt()
        await seen_by_the_host(port, end, frames)
        with pytest.raises(BlockingIOError):
            host.recv(100)
        assert learnt() == before
        # Without the rules it would have arrived.
        flush_rules()
        await seen_by_the_host(port, end, frames)
        assert host.recv(100) == b"for the host"
