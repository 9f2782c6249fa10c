"""What guests and machines outside try on a router, and what is true of packets that are not plain ones."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess

import pytest

from floe.dataplane.linux import kernel
from floe.dataplane.linux.names import bridge_name, leg_device, router_namespace
from floe.dataplane.linux.plane import LinuxPlane

from .conftest import LEADING, floating
from .test_odd_frames import fragments, odd_frames, tagged
from .test_packets import BROADCAST, arp, frame, ipv4, packed, udp, until
from .test_routers import FLOATING, GATEWAY, MACHINE, OTHER, PORT, datagrams, heard, own, ping, place, sees

pytestmark = pytest.mark.e2e

_DISCOVER, _DO_NOT_FRAGMENT = 10, 2  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
_ERRORS = 11  # IP_RECVERR


async def refused(sender: socket.socket, payload: bytes, address: str) -> tuple[int, int, int]:
    """Send until an ICMP error comes back; return its type and code, and what it says of the MTU."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):  # what an earlier one brought
                sender.sendto(payload, (address, PORT))
            try:
                _, ancillary, _, _ = sender.recvmsg(0, 512, socket.MSG_ERRQUEUE)
            except BlockingIOError:
                await asyncio.sleep(0)
                continue
            for _, _, data in ancillary:
                _, origin, kind, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
                if origin == 2:  # ICMP; else our own stack, which has learnt already
                    return kind, code, info


async def careful(town, where: str) -> socket.socket:
    """Return a UDP socket that never fragments and hears of errors."""

    def made() -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.IPPROTO_IP, _DISCOVER, _DO_NOT_FRAGMENT)
        opened.setsockopt(socket.IPPROTO_IP, _ERRORS, 1)
        opened.setblocking(False)
        return opened

    return await kernel.in_namespace(where, made)


async def test_a_packet_too_long_for_the_next_network_is_answered_with_its_mtu(town):
    narrow = town.world.segment(4, dhcp=False, mtu=1280, net="10.9.0")
    town.router = town.world.router(1, town.first, narrow, outside=town.public)
    a, b = town.guest(11), town.guest(41, narrow)
    await town.apply(floating=(floating(FLOATING, b),))
    await ping(town.guests, place(a), own(b))
    await ping(town.guests, town.outside, FLOATING)
    with await careful(town, place(a)) as sender:
        assert await refused(sender, bytes(1350), own(b)) == (3, 4, 1280)
    with await careful(town, town.outside) as sender:
        assert await refused(sender, bytes(1450), FLOATING) == (3, 4, 1280)


async def test_errors_find_the_guest_whose_packet_they_are_about(town):
    a, b = town.guest(11), town.guest(12)
    await town.apply(floating=(floating(FLOATING, b),))
    for guest in (a, b):
        await ping(town.guests, place(guest), MACHINE)
        with await careful(town, place(guest)) as sender:
            assert (await refused(sender, b"to a closed port", MACHINE))[:2] == (3, 3)
    with await careful(town, town.outside) as sender:
        assert (await refused(sender, b"to a closed port", FLOATING))[:2] == (3, 3)


async def test_a_packet_that_has_come_too_far_is_answered_by_the_router(town):
    a = town.guest(11)
    await town.apply()
    await ping(town.guests, place(a), MACHINE)
    with await careful(town, place(a)) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
        assert (await refused(sender, b"too far", MACHINE))[:2] == (11, 0)


async def test_long_packets_pass_in_fragments(town):
    a, b = town.guest(11), town.guest(21, town.second)
    for guest in (a, b):
        await town.guests.run(place(guest), "ip", "link", "set", "eth0", "mtu", str(town.first.mtu))
    await town.apply(floating=(floating(FLOATING, a),))
    await ping(town.guests, place(a), own(b))
    await ping(town.guests, town.outside, FLOATING)
    for source, target, address in ((town.outside, a, FLOATING), (place(a), b, own(b)), (place(a), None, MACHINE)):
        where = place(target) if target else town.outside
        with await datagrams(town.guests, where) as inner, await town.guests.datagrams(source, PORT + 1) as sender:
            sender.sendto(b"x" * 5000, (address, PORT))
            data, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_recvfrom(inner, 65535), 10)
            assert data == b"x" * 5000


async def test_a_fragment_alone_hides_nothing_from_the_router(town):
    """Of one that was cut so that no part has all of its ports, the parts are judged together."""
    a, b = town.guest(11, port_security=False), town.guest(21, town.second)
    await town.apply()
    await ping(town.guests, place(a), own(b))
    gateway = town.router.interfaces[0].mac
    with await town.guests.wire(place(a)) as outer, await town.guests.wire(place(b)) as inner:
        for part in fragments(ipv4("10.8.0.99", own(b), 17, udp(1, PORT, b"spoofed." * 4)), at=8):
            outer.send(frame(a.mac, gateway, 0x0800, part))
        for part in fragments(ipv4(own(a), own(b), 17, udp(1, PORT, b"honest.." * 4)), at=8):
            outer.send(frame(a.mac, gateway, 0x0800, part))
        assert not any(b"spoofed" in seen for seen in await until(inner, b"honest"))


async def test_odd_frames_do_not_pass_a_router(town):
    a, b = town.guest(11, port_security=False), town.guest(21, town.second)
    await town.apply()
    await ping(town.guests, place(a), own(b))
    gateway = town.router.interfaces[0].mac
    with await town.guests.wire(place(a)) as outer, await town.guests.wire(place(b)) as inner:
        for odd in odd_frames(a.mac, own(a), gateway, own(b)).values():
            outer.send(odd)
        outer.send(frame(a.mac, gateway, 0x0800, ipv4(own(a), own(b), 17, udp(1, PORT, b"honest"))))
        assert not any(b"odd" in seen for seen in await until(inner, b"honest"))


@pytest.mark.parametrize("how", ["allowed pair", "without port security"])
async def test_nobody_poses_as_the_router(town, how):
    leg = town.router.interfaces[0]
    ways = {
        "allowed pair": {"allowed_pairs": ((leg.addresses[0], leg.mac), ("10.7.0.1/32", "fa:16:3e:00:00:0c"))},
        "without port security": {"port_security": False},
    }
    a, thief = town.guest(11), town.guest(12, **ways[how])
    await town.apply()
    await ping(town.guests, place(a), MACHINE)
    await ping(town.guests, place(thief), MACHINE)
    with await town.guests.wire(place(thief)) as wire, await town.guests.wire(place(a)) as victim:
        for mac in (thief.mac, leg.mac):
            for operation in (1, 2):
                claim = frame(mac, BROADCAST, 0x0806, arp(operation, mac, "10.7.0.1", "10.7.0.1"))
                wire.send(claim)
                wire.send(tagged(claim, (0x8100, 0)))
        wire.send(frame(leg.mac, a.mac, 0x0800, ipv4("10.7.0.1", own(a), 17, udp(1, PORT, b"from a false router"))))
        wire.send(frame(thief.mac, a.mac, 0x0800, ipv4("10.7.0.1", own(a), 17, udp(1, PORT, b"from a false router"))))
        wire.send(frame(thief.mac, a.mac, 0x0800, ipv4(own(thief), own(a), 17, udp(1, PORT, b"honest"))))
        before = await until(victim, b"honest")
        assert not any(b"false router" in seen for seen in before)
        claims = [seen for seen in before if seen[12:14] == b"\x08\x06" and seen[28:32] == socket.inet_aton("10.7.0.1")]
        assert not [seen for seen in claims if packed(thief.mac) in (seen[6:12], seen[22:28])]
        forwarding = subprocess.run(
            ["bridge", "fdb", "show", "br", bridge_name(town.first.network_id)],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        [entry] = [line for line in forwarding.splitlines() if line.startswith(leg.mac)]
        assert leg_device(leg.port_id) in entry
    assert await sees(town.guests, place(a), town.outside, MACHINE) == GATEWAY


async def test_another_tenants_networks_are_reached_by_the_outside_alone(town):
    """Also where both have the same ranges of addresses."""
    third = town.world.segment(5, dhcp=False)
    fourth = town.world.segment(6, dhcp=False, net="10.66.0")
    other = town.world.router(2, third, fourth, outside=town.public)
    a, b, c = town.guest(11), town.guest(51, third), town.guest(61, fourth)
    town.world.changed(other, floating=(floating(OTHER, b),))
    await town.apply(floating=(floating(FLOATING, a),), routes=())
    for guest in (a, b):
        await ping(town.guests, place(guest), MACHINE)
    assert await sees(town.guests, place(a), place(b), OTHER) == FLOATING
    await town.guests.run(town.outside, "ip", "route", "add", "10.66.0.0/24", "via", "172.24.4.102")
    await town.guests.run(town.outside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    with await datagrams(town.guests, place(c)) as inner, await town.guests.datagrams(place(a), PORT + 1) as sender:
        await ping(town.guests, place(c), MACHINE)
        sender.sendto(b"across", (own(c), PORT))
        with await town.guests.datagrams(place(b), PORT + 1) as neighbour:
            neighbour.sendto(b"from its neighbour", (own(c), PORT))
            assert await heard(inner, b"from its neighbour") == []


async def test_metadata_is_asked_for_at_the_router_by_its_own_networks_alone(town):
    a = town.guest(11)
    stranger = town.guest(12, port_security=False)
    await town.apply(floating=(floating(FLOATING, a),), snat=False)  # else answers would not leave, either
    await ping(town.guests, place(a), MACHINE)
    [address] = await town.plane.metadata_addresses()
    assert (address.router_id, address.namespace) == (
        town.router.router_id,
        router_namespace(town.router.router_id),
    )
    loop = asyncio.get_running_loop()
    with await town.plane.metadata_socket(address) as served:
        for where, source in ((place(stranger), "10.8.0.5"), (place(stranger), "10.9.0.5")):
            with await town.guests.wire(where) as wire:
                syn = struct.pack("!HHIIBBHHH", 5000, 80, 1, 0, 5 << 4, 2, 1000, 0, 0)
                wire.send(
                    frame(stranger.mac, town.router.interfaces[0].mac, 0x0800, ipv4(source, "169.254.169.254", 6, syn))
                )
        await town.guests.run(town.outside, "ip", "route", "add", "169.254.169.254/32", "via", GATEWAY)
        with await town.guests.client(town.outside) as outer, await town.guests.client(place(a)) as client:
            outer.connect_ex(("169.254.169.254", 80))
            async with asyncio.timeout(10):
                await loop.sock_connect(client, ("169.254.169.254", 80))
                accepted, peer = await loop.sock_accept(served)
            accepted.close()
            assert peer[0] == own(a)
            served.setblocking(False)
            with pytest.raises(BlockingIOError):
                served.accept()


async def test_one_routers_connections_are_bounded_and_what_is_there_stays(town, tmp_path):
    a, b = town.guest(11), town.guest(21, town.second)
    small = LinuxPlane(tmp_path, LEADING, connections=8)
    await small.open()
    await small.apply(town.world.network)
    with (
        await datagrams(town.guests, place(b)) as inner,
        contextlib.ExitStack() as opened,
        await town.guests.datagrams(place(a), 5000) as first,
    ):
        async with asyncio.timeout(20):
            while not await came(first, inner, own(b)):
                continue
        senders = [opened.enter_context(await town.guests.datagrams(place(a), 5001 + each)) for each in range(40)]
        for sender in senders:
            sender.sendto(b"one of many", (own(b), PORT))
        first.sendto(b"the first again", (own(b), PORT))
        got = [text for text, _ in await heard(inner, b"the first again")]
        assert got.count(b"one of many") == 7
    await small.close()


async def came(sender: socket.socket, receiver: socket.socket, address: str) -> bool:
    """Send, and say whether it arrives within a moment: the kernel enables new ports a little later."""
    sender.sendto(b"first", (address, PORT))
    try:
        async with asyncio.timeout(0.2):
            return bool(await asyncio.get_running_loop().sock_recv(receiver, 100))
    except TimeoutError:
        return False
