"""Ports of one floating IP that lead to several guests: real packets from a machine outside, and between guests."""

from __future__ import annotations

import asyncio

import pytest

from floe.dataplane.linux import kernel
from floe.dataplane.linux.names import router_namespace
from floe.dataplane.linux.plane import LinuxPlane

from .conftest import LEADING, floating, forwarding
from .test_packets import until
from .test_routers import (
    FLOATING,
    GATEWAY,
    MACHINE,
    PORT,
    carries,
    heard,
    own,
    ping,
    place,
    plain,
    probe,
    talk,
    wire_mac,
)

pytestmark = pytest.mark.e2e


def forward(port, external, internal=PORT, **values):
    """Lead a port of the floating IP, or a range of them, to a guest's."""
    return forwarding(FLOATING, port, external, internal, **values)


async def connect(guests, source: str, target: str, external: int, internal: int = PORT):
    """Connect to a port of the floating IP; return both ends, and whom the target sees."""
    return await talk(guests, source, target, FLOATING, port=internal, outer=external)


async def reaches(guests, source: str, target: str, external: int, internal: int = PORT) -> str:
    """Return from where a connection to a port of the floating IP comes, as its target sees it."""
    client, served, peer = await connect(guests, source, target, external, internal)
    with client, served:
        assert client.getpeername() == (FLOATING, external)
        assert await carries(client, served)
    return peer


async def test_ports_of_one_address_lead_to_several_guests_on_two_networks(town):
    a, b = town.guest(11), town.guest(21, town.second)
    await town.apply(forwarded=(forward(a, 2211, 22), forward(b, 2221, 22), forward(a, 53, protocol="udp")))
    await ping(town.guests, town.outside, FLOATING)
    assert await reaches(town.guests, town.outside, place(a), 2211, 22) == MACHINE
    assert await reaches(town.guests, town.outside, place(b), 2221, 22) == MACHINE
    with (
        await town.guests.datagrams(place(a), PORT) as inner,
        await town.guests.datagrams(town.outside, PORT) as machine,
    ):
        machine.sendto(b"question", (FLOATING, 53))
        assert await heard(inner, b"question") == []
        inner.sendto(b"answer", (MACHINE, PORT))
        async with asyncio.timeout(10):
            answer = await asyncio.get_running_loop().sock_recvfrom(machine, 100)
        assert answer == (b"answer", (FLOATING, 53))


async def test_each_port_of_a_range_leads_to_the_one_beside_it_or_all_to_one(town):
    a, b = town.guest(11), town.guest(12)
    await town.apply(forwarded=(forward(a, (8000, 8003), (80, 83)), forward(b, (9000, 9002), 90)))
    await ping(town.guests, town.outside, FLOATING)
    for external, internal in ((8000, 80), (8002, 82), (8003, 83)):
        assert await reaches(town.guests, town.outside, place(a), external, internal) == MACHINE
    for external in (9000, 9002):
        assert await reaches(town.guests, town.outside, place(b), external, 90) == MACHINE


async def test_what_a_guest_begins_itself_leaves_as_from_any_other(town):
    a = town.guest(11)
    await town.apply(forwarded=(forward(a, 2211),))
    await ping(town.guests, place(a), MACHINE)
    client, served, peer = await talk(town.guests, place(a), town.outside, MACHINE)
    client.close()
    served.close()
    assert peer == GATEWAY


async def test_guests_reach_each_other_and_themselves_by_forwarded_ports(town):
    a, b, c = town.guest(11), town.guest(12), town.guest(21, town.second)
    await town.apply(forwarded=(forward(a, 2211),))
    for source in (a, b, c):
        await ping(town.guests, place(source), town.first.subnets[0].gateway)
        assert await reaches(town.guests, place(source), place(a), 2211) == GATEWAY


async def test_other_ports_and_other_protocols_reach_nobody(town):
    a = town.guest(11)
    await town.apply(forwarded=(forward(a, 2211),))
    await ping(town.guests, town.outside, FLOATING)
    loop = asyncio.get_running_loop()
    with await town.guests.wire(place(a)) as wire, await town.guests.datagrams(town.outside, PORT) as machine:
        with await town.guests.client(town.outside) as client:
            async with asyncio.timeout(10):
                with pytest.raises(ConnectionRefusedError):
                    await loop.sock_connect(client, (FLOATING, PORT))
        machine.sendto(b"not forwarded", (FLOATING, 2211))
        machine.sendto(b"not forwarded", (FLOATING, PORT))
        with await kernel.in_namespace(router_namespace(town.router.router_id), plain) as router:
            router.sendto(b"the last word", (own(a), 4444))
        frames = await until(wire, b"the last word")
    assert not [seen for seen in frames if b"not forwarded" in seen]


async def test_security_groups_judge_what_comes_by_forwarded_ports(town):
    await town.apply()
    shut = town.world.group(2)
    open_, closed = town.guest(11), town.guest(12, groups=(shut,))
    forwarded = (forward(open_, 53, protocol="udp"), forward(closed, 54, protocol="udp"))
    await town.apply(forwarded=forwarded)
    await ping(town.guests, town.outside, FLOATING)
    with (
        await town.guests.wire(place(closed)) as wire,
        await town.guests.datagrams(place(open_), PORT) as inner,
        await town.guests.datagrams(town.outside, PORT) as machine,
    ):
        machine.sendto(b"not admitted", (FLOATING, 54))
        machine.sendto(b"admitted", (FLOATING, 53))
        assert await heard(inner, b"admitted") == []
        [rules] = [group.rules for group in town.world.network.groups if group.group_id == town.group]
        town.world.group(2, *rules)
        await town.apply()
        machine.sendto(b"now admitted", (FLOATING, 54))
        frames = await until(wire, b"now admitted")
    assert not [seen for seen in frames if b"not admitted" in seen]


async def test_all_flows_of_a_forwarding_end_with_it_and_no_others(town):
    a, b = town.guest(11), town.guest(12)
    stays = (forward(a, 2212, 4002), forward(b, 2221, 4003))
    await town.apply(forwarded=(forward(a, 2211), *stays))
    await ping(town.guests, town.outside, FLOATING)
    await ping(town.guests, place(a), MACHINE)
    gone = (await connect(town.guests, town.outside, place(a), 2211))[:2]
    kept = [
        (await connect(town.guests, town.outside, place(a), 2212, 4002))[:2],
        (await connect(town.guests, town.outside, place(b), 2221, 4003))[:2],
        (await talk(town.guests, place(a), town.outside, MACHINE, port=4005))[:2],
    ]
    loop = asyncio.get_running_loop()
    with await town.guests.wire(place(a)) as guest, await town.guests.wire(town.outside) as machine:
        await town.apply(forwarded=stays)
        for end in gone:
            await loop.sock_sendall(end, b"after the end")
        for ends in kept:
            assert await carries(*ends)
        await probe(town, a)
        for wire, mark in ((guest, b"to the guest"), (machine, b"to the machine")):
            frames = await until(wire, mark)
            received = [seen for seen in frames if seen[:6] == wire_mac(wire)]
            assert not [seen for seen in received if b"after the end" in seen]
    for ends in (gone, *kept):
        for end in ends:
            end.close()


@pytest.mark.parametrize("how", ["by another's port", "as a floating IP"])
async def test_a_port_serves_another_guest_at_once_also_whoever_goes_on(town, how):
    a, b = town.guest(11), town.guest(21, town.second)
    await town.apply(forwarded=(forward(a, PORT, protocol="udp"),))
    await ping(town.guests, town.outside, FLOATING)
    await ping(town.guests, place(a), own(b))
    with (
        await town.guests.datagrams(place(a), PORT) as first,
        await town.guests.datagrams(place(b), PORT) as second,
        await town.guests.datagrams(town.outside, PORT) as machine,
    ):
        machine.sendto(b"one", (FLOATING, PORT))
        assert await heard(first, b"one") == []
        first.sendto(b"answer", (MACHINE, PORT))
        assert await heard(machine, b"answer") == []
        if how == "as a floating IP":
            await town.apply(forwarded=(), floating=(floating(FLOATING, b),))
        else:
            await town.apply(forwarded=(forward(b, PORT, protocol="udp"),))
        machine.sendto(b"two", (FLOATING, PORT))
        assert await heard(second, b"two") == []
        second.sendto(b"answer of the second", (MACHINE, PORT))
        assert await heard(machine, b"answer of the second") == []
        first.sendto(b"from the first", (MACHINE, PORT))
        async with asyncio.timeout(10):
            text, sender = await asyncio.get_running_loop().sock_recvfrom(machine, 100)
        assert (text, sender[0]) == (b"from the first", GATEWAY)


async def test_errors_about_forwarded_packets_find_the_machine_and_the_guest(town):
    a = town.guest(11)
    await town.apply(forwarded=(forward(a, 53, 4999, protocol="udp"),))
    await ping(town.guests, town.outside, FLOATING)
    loop = asyncio.get_running_loop()
    with await town.guests.datagrams(town.outside, PORT) as machine:
        async with asyncio.timeout(10):
            await loop.sock_connect(machine, (FLOATING, 53))
            await loop.sock_sendall(machine, b"to a port at which nobody listens")
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_recv(machine, 100)


async def test_a_new_process_cuts_no_forwarded_flow_and_ends_those_that_should_have_been(town, tmp_path):
    a, b = town.guest(11), town.guest(12)
    stays = forward(b, 2221)
    await town.apply(forwarded=(forward(a, 53, protocol="udp"), stays))
    await ping(town.guests, town.outside, FLOATING)
    kept = (await connect(town.guests, town.outside, place(b), 2221))[:2]
    with (
        await town.guests.datagrams(place(a), PORT) as first,
        await town.guests.datagrams(place(b), PORT) as second,
        await town.guests.datagrams(town.outside, PORT) as machine,
    ):
        machine.sendto(b"one", (FLOATING, 53))
        assert await heard(first, b"one") == []
        again = LinuxPlane(tmp_path, LEADING)
        await again.open()
        await again.apply(town.world.network)
        assert await carries(*kept)
        last = LinuxPlane(tmp_path, LEADING)
        await last.open()
        await last.apply(town.world.changed(town.router, forwarded=(forward(b, 53, protocol="udp"), stays)))
        machine.sendto(b"two", (FLOATING, 53))
        assert await heard(second, b"two") == []
        assert await carries(*kept)
        assert await last.drift(town.world.network) == []
        for plane in (again, last):
            await plane.close()
    for end in kept:
        end.close()
