"""What guests may send and receive at most: real packets, counted where they arrive."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time

import pytest
from msgspec.structs import replace

from floe.core.host_network import GroupRule, HostPort
from floe.core.nic_limits import NIC_LIMITS_TRAIT, NicLimits, Rate
from floe.dataplane.linux import loaded, nic_limits
from floe.dataplane.linux.plane import LinuxPlane
from floe.dataplane.linux.run import run
from floe.dataplane.protocol import PortsFailure

from .test_packets import ANY_OUT, datagram, joined

pytestmark = pytest.mark.e2e

ANY_IN = GroupRule(direction="ingress")
FLOOD, PACKET = 400, 1400 + 28
"""Packets that are sent at once, and the bytes of each: of the text, UDP and IP."""
SLOW = Rate(average=100)
SECOND = 100_000 + nic_limits.LARGEST
"""Bytes that may come at once by it."""


async def flooded(guests, sender: HostPort, receiver: HostPort) -> tuple[int, float]:
    """Send a flood from one guest to another, and return how much of it arrived, and how long that took at most."""
    text = datagram(sender, receiver, 7, text=bytes(1400))
    loop = asyncio.get_running_loop()
    with (
        await guests.wire(f"guest-{receiver.tap}") as inner,
        await guests.wire(f"guest-{sender.tap}") as outer,
    ):
        inner.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE: nothing is lost here
        await joined(inner, outer, datagram(sender, receiver, 7, text=b"joining"))
        began, arrived = time.monotonic(), 0
        for _ in range(FLOOD):
            await loop.sock_sendall(outer, text)
        async with asyncio.timeout(20):
            while True:
                outer.send(datagram(sender, receiver, 7, text=b"that was all"))
                try:
                    async with asyncio.timeout(0.1):
                        while b"that was all" not in (got := await loop.sock_recv(inner, 65535)):
                            arrived += len(got) == len(text)
                    return arrived * PACKET, time.monotonic() - began
                except TimeoutError:
                    continue


@pytest.fixture
async def pair(linux_plane, world, guests):
    """Return two guests on one network, that may send and receive anything."""
    segment, group = world.segment(mtu=1500), world.group(1, ANY_OUT, ANY_IN)
    ports = [world.port(number, segment, groups=(group,)) for number in (11, 12)]
    for port in ports:
        guests.add(port)
    await linux_plane.apply(world.network)
    return ports


def limited(world, port: HostPort, **ways: Rate):
    return replace(world.network, limited={port.port_id: NicLimits(**ways)})


@pytest.mark.parametrize(
    ("rate", "at_once", "per_second"),
    [
        (SLOW, SECOND, 100_000),
        (Rate(average=100, burst=300), 300 * 1024, 100_000),
        (Rate(average=10, burst=2000, peak=200), 200_000 + nic_limits.LARGEST, 200_000),
        (Rate(average=1), 1000 + nic_limits.LARGEST, 1000),
    ],
)
@pytest.mark.parametrize("way", ["outbound", "inbound"])
async def test_a_guest_has_what_it_may_and_no_more(linux_plane, world, guests, pair, way, rate, at_once, per_second):
    sender, receiver = pair
    whose = sender if way == "outbound" else receiver
    await linux_plane.apply(limited(world, whose, **{way: rate}))
    assert await linux_plane.drift(limited(world, whose, **{way: rate})) == []
    arrived, took = await flooded(guests, sender, receiver)
    assert 0.8 * at_once <= arrived <= at_once + per_second * took
    assert (await flooded(guests, receiver, sender))[0] == FLOOD * PACKET, "the other way it has no limit"


async def test_limits_go_and_come_while_guests_run_and_outlive_who_made_them(
    linux_plane, world, guests, pair, tmp_path
):
    sender, receiver = pair
    slow = limited(world, receiver, inbound=SLOW)
    for network in (slow, world.network, slow):
        await linux_plane.apply(network)
        arrived, _ = await flooded(guests, sender, receiver)
        assert (arrived < FLOOD * PACKET) == bool(network.limited)
        assert await linux_plane.drift(network) == []
    assert await linux_plane.drift(world.network) == ["the rules in force are those of another state"]
    await linux_plane.close()
    arrived, _ = await flooded(guests, sender, receiver)
    assert arrived < FLOOD * PACKET
    successor = LinuxPlane(tmp_path)
    await successor.open()
    await successor.apply(slow)
    arrived, _ = await flooded(guests, sender, receiver)
    assert arrived < FLOOD * PACKET
    await successor.apply(replace(world.without(receiver), limited=slow.limited))
    listed = json.loads((await run(["nft", "-j", "list", "table", "bridge", "floe"])).out)["nftables"]
    names = {entry["chain"]["name"] for entry in listed if "chain" in entry}
    assert not any(name.startswith(("to_", "received")) for name in names)
    await successor.close()
    await linux_plane.open()


async def test_what_the_rules_drop_is_not_of_a_guests_share(linux_plane, world, guests, pair):
    """Nobody takes it with packets that it never gets."""
    sender, receiver = pair
    rate, shut = Rate(average=1), world.group(2, GroupRule(direction="ingress", protocol="tcp"))
    ports = tuple(replace(port, groups=(shut,)) if port is receiver else port for port in world.network.ports)
    await linux_plane.apply(replace(limited(world, receiver, inbound=rate), ports=ports))
    with await guests.wire(f"guest-{sender.tap}") as outer:
        for _ in range(FLOOD):
            await asyncio.get_running_loop().sock_sendall(outer, datagram(sender, receiver, 7, text=bytes(1400)))
    await linux_plane.apply(limited(world, receiver, inbound=rate))
    arrived, _ = await flooded(guests, sender, receiver)
    assert arrived >= 0.8 * nic_limits.LARGEST


async def test_a_connection_goes_at_the_rate_of_the_nic_and_no_slower_than_that_by_much(
    linux_plane, world, guests, pair
):
    sender, receiver = pair
    both = NicLimits(inbound=Rate(average=2000), outbound=Rate(average=3000))
    await linux_plane.apply(replace(world.network, limited={port.port_id: both for port in pair}))
    loop, size, at_once = asyncio.get_running_loop(), 6_000_000, 2_000_000 + nic_limits.LARGEST
    with await guests.listen(f"guest-{receiver.tap}", 7000) as door, await guests.client(f"guest-{sender.tap}") as out:
        began = time.monotonic()
        async with asyncio.timeout(30):  # it is fifteen times what it should take
            await loop.sock_connect(out, (receiver.addresses[0].address, 7000))
            inner, _ = await loop.sock_accept(door)
            with inner:
                sending = asyncio.create_task(loop.sock_sendall(out, os.urandom(size)))
                left = size
                while left:
                    left -= len(await loop.sock_recv(inner, 1 << 16))
                await sending
    assert size - at_once <= 2_000_000 * (time.monotonic() - began)


async def test_a_host_that_cannot_limit_says_so_and_serves_the_others(linux_plane, world, guests, pair, monkeypatch):
    assert linux_plane.traits() == (NIC_LIMITS_TRAIT,)
    assert not await loaded.are_loadable({("bridge", "floe_trial"): {"one": nic_limits.chain(["no such rule"])}})
    _, receiver = pair
    await linux_plane.close()
    monkeypatch.setattr(nic_limits, "TRIAL", {("bridge", "floe_trial"): {"one": nic_limits.chain(["no such rule"])}})
    await linux_plane.open()
    assert linux_plane.traits() == ()
    with pytest.raises(PortsFailure, match="nft_limit") as raised:
        await linux_plane.apply(limited(world, receiver, inbound=SLOW))
    assert raised.value.ports.keys() == {receiver.port_id}
    await linux_plane.apply(world.network)
