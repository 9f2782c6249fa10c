"""What one guest may take of its host's connection tracking: real packets, of a flood and beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from floe.core.host_network import GroupRule
from floe.dataplane.linux import shares
from floe.dataplane.linux.plane import LinuxPlane
from floe.dataplane.linux.run import run

from .test_packets import ANY_OUT, datagram, received

pytestmark = pytest.mark.e2e

SHARE = 8
ANY_IN = GroupRule(direction="ingress")


@pytest.fixture
async def narrow(private_network: None, tmp_path: Path) -> AsyncIterator[LinuxPlane]:
    """Return a host on which a guest may have 8 connections."""
    made = LinuxPlane(tmp_path, guest_connections=SHARE)
    await made.open()
    yield made
    await made.remove_all()
    await made.close()


@pytest.fixture
async def three(narrow, world, guests):
    """Return three guests on one network, that may send and receive anything."""
    segment, group = world.segment(), world.group(1, ANY_OUT, ANY_IN)
    ports = [world.port(number, segment, groups=(group,)) for number in (11, 12, 13)]
    for port in ports:
        guests.add(port)
    await narrow.apply(world.network)
    return ports


def flow(sender, receiver, number: int) -> bytes:
    """Return a packet of a connection by itself."""
    return datagram(sender, receiver, 7, source_port=5000 + number, text=b"flood")


async def got_in(guests, sender, receiver, numbers) -> list[int]:
    """Send a packet of each connection, and return which of them arrived; one more connection is the sentinel's."""
    sent = {number: flow(sender, receiver, number) for number in numbers}
    seen = await received(guests, sender, receiver, *sent.values())
    return [number for number, packet in sent.items() if any(got[: len(packet)] == packet for got in seen)]


async def test_a_guest_that_floods_takes_its_share_and_its_neighbours_go_on(three, guests):
    flooder, victim, neighbour = three
    # The first packet of all is the sentinel's, so 7 are left.
    assert await got_in(guests, flooder, victim, range(100)) == list(range(SHARE - 1))
    # Those go on, and nothing else begins, to others neither.
    assert await got_in(guests, flooder, victim, range(100, -1, -1)) == list(range(SHARE - 2, -1, -1))
    assert await got_in(guests, neighbour, victim, range(3)) == [0, 1, 2]
    # Whom it flooded has all of its own share.
    assert await got_in(guests, victim, neighbour, range(3)) == [0, 1, 2]


async def test_a_guest_without_port_security_has_a_share_as_well(narrow, world, guests):
    segment, group = world.segment(), world.group(1, ANY_OUT, ANY_IN)
    flooder = world.port(11, segment, port_security=False)
    victim = world.port(12, segment, groups=(group,))
    for port in (flooder, victim):
        guests.add(port)
    await narrow.apply(world.network)
    assert await got_in(guests, flooder, victim, range(20)) == list(range(SHARE - 1))
    assert await got_in(guests, victim, flooder, range(3)) == [0, 1, 2]


async def test_neither_a_changed_rule_nor_a_new_process_gives_a_share_again(three, guests, narrow, world, tmp_path):
    flooder, victim, _ = three
    assert await got_in(guests, flooder, victim, range(20)) == list(range(SHARE - 1))
    world.group(1, ANY_OUT, ANY_IN, GroupRule(direction="ingress", protocol="icmp"))
    await narrow.apply(world.network)
    assert await got_in(guests, flooder, victim, range(20, 40)) == []
    await run(["nft", "add", "table", "ip", "others"])  # then the rules are loaded as a whole
    world.group(1, ANY_OUT, ANY_IN)
    await narrow.apply(world.network)
    assert await got_in(guests, flooder, victim, range(40, 60)) == []
    await narrow.close()
    again = LinuxPlane(tmp_path, guest_connections=SHARE)
    await again.open()
    await again.apply(world.network)
    assert await got_in(guests, flooder, victim, range(60, 80)) == []
    assert await got_in(guests, flooder, victim, range(5)) == [0, 1, 2, 3, 4]
    assert await again.drift(world.network) == []
    await again.close()


async def test_the_connections_of_a_port_end_with_it(three, guests, narrow, world, tmp_path):
    flooder, victim, neighbour = three
    assert await got_in(guests, flooder, victim, range(3)) == [0, 1, 2]
    assert await got_in(guests, neighbour, victim, range(10, 13)) == [10, 11, 12]
    await narrow.close()
    again = LinuxPlane(tmp_path, guest_connections=SHARE)  # which saw none of them begin
    await again.open()
    await again.apply(world.network)
    assert tracked(5001), "what goes on is left alone"
    await again.apply(world.without(flooder))
    assert not tracked(5001)
    assert tracked(5011)
    await again.close()


def tracked(port: int) -> list[str]:
    """Return what connection tracking knows of a source port."""
    entries = Path("/proc/net/nf_conntrack").read_text().splitlines()
    return [entry for entry in entries if f"sport={port} " in entry]


@pytest.mark.parametrize("connections", [64, shares.GUEST, shares.ROUTER])
def test_a_share_is_counted_in_parts_that_are_together_all_of_it(connections):
    [rule] = [rule for rule in shares.of_guests(connections)["begun"].body if "ct count" in rule]
    [parts] = {
        rule.split("mod ")[1].split()[0] for rule in shares.of_guests(connections)["begun"].body if "mod" in rule
    }
    assert int(parts) * int(rule.split("over ")[1].split()[0]) == connections
