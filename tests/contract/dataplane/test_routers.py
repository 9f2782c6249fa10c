"""What passes a router and what does not: real packets between guests, and from and to a machine outside.

That something is dropped is shown by what is sent after it by a way that is open, and arrives without it.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.core.addresses import mac_on
from floe.core.host_network import HostRoute
from floe.dataplane.linux import flows, kernel, router_rules
from floe.dataplane.linux.names import inner_leg, router_namespace
from floe.dataplane.linux.plane import LinuxPlane

from .conftest import LEADING, floating
from .test_packets import BROADCAST, arp, frame, ipv4, packed, udp, until

pytestmark = pytest.mark.e2e

GATEWAY = "172.24.4.101"
FLOATING = "172.24.4.50"
OTHER = "172.24.4.51"
MACHINE = "172.24.4.1"
PORT = 4000


def place(port) -> str:
    return f"guest-{port.tap}"


def own(port) -> str:
    return port.addresses[0].address


async def ping(guests, source: str, address: str) -> None:
    """Wait until an echo comes back; the kernel enables new ports a little after they are joined."""
    async with asyncio.timeout(20):
        while True:
            try:
                await guests.run(source, "busybox", "ping", "-c", "1", "-W", "1", address)
                return
            except AssertionError:
                continue


async def talk(guests, source: str, target: str, address: str, *, port: int = PORT, outer: int | None = None):
    """Connect by TCP, to the port `outer` where that is another; return both ends, and whom the target sees."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        with await guests.listen(target, port) as listener:
            client = await guests.client(source)
            await loop.sock_connect(client, (address, outer or port))
            served, peer = await loop.sock_accept(listener)
            served.setblocking(False)
    return client, served, peer[0]


async def sees(guests, source: str, target: str, address: str) -> str:
    """Return from where a connection comes, as its target sees it."""
    client, served, peer = await talk(guests, source, target, address)
    with client, served:
        assert await carries(client, served)
    return peer


async def carries(*ends: socket.socket) -> bool:
    """Say whether a connection carries bytes, both ways."""
    loop = asyncio.get_running_loop()
    for sender, receiver in (ends, ends[::-1]):
        await loop.sock_sendall(sender, b"?")
        async with asyncio.timeout(10):
            assert await loop.sock_recv(receiver, 1) == b"?"
    return True


async def datagrams(guests, where: str) -> socket.socket:
    """Return a UDP socket at PORT."""
    return await guests.datagrams(where, PORT)


async def heard(inner: socket.socket, text: bytes) -> list[tuple[bytes, str]]:
    """Return the datagrams before the one with the text, and whom they are from."""
    loop = asyncio.get_running_loop()
    found = []
    async with asyncio.timeout(10):
        while True:
            data, sender = await loop.sock_recvfrom(inner, 2000)
            if data == text:
                return found
            found.append((data, sender[0]))


async def test_guests_of_two_networks_reach_each_other_as_themselves(town):
    a, b = town.guest(11), town.guest(21, town.second)
    await town.apply()
    await ping(town.guests, place(a), own(b))
    assert await sees(town.guests, place(a), place(b), own(b)) == own(a)
    assert await sees(town.guests, place(b), place(a), own(a)) == own(b)


async def test_what_leaves_is_from_the_gateways_first_address(town):
    a = town.guest(11)
    await town.apply()
    await ping(town.guests, place(a), MACHINE)
    assert await sees(town.guests, place(a), town.outside, MACHINE) == GATEWAY


async def test_a_guest_is_reached_by_its_floating_ip_and_leaves_with_it(town):
    a, b = town.guest(11), town.guest(12)
    await town.apply(floating=(floating(FLOATING, a),))
    await ping(town.guests, town.outside, FLOATING)
    assert await sees(town.guests, town.outside, place(a), FLOATING) == MACHINE
    assert await sees(town.guests, place(a), town.outside, MACHINE) == FLOATING
    assert await sees(town.guests, place(b), town.outside, MACHINE) == GATEWAY


async def test_security_groups_judge_what_comes_by_floating_ip(town):
    await town.apply()
    shut = town.world.group(2)
    open_, closed = town.guest(11), town.guest(12, groups=(shut,))
    await town.apply(floating=(floating(FLOATING, open_), floating(OTHER, closed)))
    await ping(town.guests, town.outside, FLOATING)
    with await town.guests.wire(place(closed)) as wire, await datagrams(town.guests, town.outside) as sender:
        await neighbours(town, closed, wire)
        sender.sendto(b"not admitted", (OTHER, PORT))
        admitted = town.world.group(2, *town.world.network.groups[0].rules)
        assert admitted == shut
        await town.apply()
        sender.sendto(b"admitted", (OTHER, PORT))
        assert not any(b"not admitted" in seen for seen in await until(wire, b"admitted"))


async def neighbours(town, port, wire) -> None:
    """Have the router know a guest's MAC: it asks, and the guest answers, whatever its groups."""
    await town.guests.run(place(port), "busybox", "arping", "-c", "1", "-I", "eth0", town.first.subnets[0].gateway)


@pytest.mark.parametrize("with_own", [False, True], ids=["without one", "with one"])
async def test_guests_reach_each_other_and_themselves_by_floating_ip(town, with_own):
    a, neighbour, b = town.guest(11), town.guest(12), town.guest(21, town.second)
    addresses = [floating("172.24.4.52", neighbour), floating("172.24.4.53", b)]
    if with_own:
        addresses.append(floating(FLOATING, a))
    await town.apply(floating=tuple(addresses))
    seen_as = FLOATING if with_own else GATEWAY
    await ping(town.guests, place(a), "172.24.4.52")
    assert await sees(town.guests, place(a), place(neighbour), "172.24.4.52") == seen_as
    await ping(town.guests, place(a), "172.24.4.53")
    assert await sees(town.guests, place(a), place(b), "172.24.4.53") == seen_as
    if with_own:
        assert await sees(town.guests, place(a), place(a), FLOATING) == FLOATING


async def test_nothing_comes_in_without_a_floating_ip(town):
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    await town.guests.run(town.outside, "ip", "route", "add", "10.7.0.0/24", "via", GATEWAY)
    await ping(town.guests, town.outside, FLOATING)
    with await datagrams(town.guests, place(a)) as inner, await datagrams(town.guests, town.outside) as sender:
        sender.sendto(b"straight", (own(a), PORT))
        sender.sendto(b"by floating IP", (FLOATING, PORT))
        assert await heard(inner, b"by floating IP") == []


async def test_without_translation_inner_addresses_are_routed(town):
    a = town.guest(11)
    await town.apply(snat=False)
    await town.guests.run(town.outside, "ip", "route", "add", "10.7.0.0/24", "via", GATEWAY)
    await ping(town.guests, town.outside, own(a))
    assert await sees(town.guests, town.outside, place(a), own(a)) == MACHINE
    assert await sees(town.guests, place(a), town.outside, MACHINE) == own(a)


async def test_what_is_of_the_outsides_scope_leaves_as_itself_and_all_else_as_the_gateway(town):
    a, c = town.guest(11), town.guest(21, town.second)
    first, second = town.router.interfaces
    gateway = replace(town.router.gateway, scope="ours")
    await town.apply(interfaces=(replace(first, scope="ours"), second), gateway=gateway)
    for net in ("10.7.0.0/24", "10.8.0.0/24"):
        await town.guests.run(town.outside, "ip", "route", "add", net, "via", GATEWAY)
    await ping(town.guests, town.outside, own(a))
    assert await sees(town.guests, place(a), town.outside, MACHINE) == own(a)
    assert await sees(town.guests, town.outside, place(a), own(a)) == MACHINE
    assert await sees(town.guests, place(c), town.outside, MACHINE) == GATEWAY


async def test_what_began_untranslated_does_not_leave_untranslated(town):
    a = town.guest(11)
    await town.apply(snat=False)
    await town.guests.run(town.outside, "ip", "route", "add", "10.7.0.0/24", "via", GATEWAY)
    await ping(town.guests, place(a), MACHINE)
    with await datagrams(town.guests, place(a)) as inner, await datagrams(town.guests, town.outside) as machine:
        inner.sendto(b"before", (MACHINE, PORT))
        assert await heard(machine, b"before") == []
        await town.apply(snat=True)
        inner.sendto(b"as before", (MACHINE, PORT))
        with await town.guests.datagrams(place(a), PORT + 1) as fresh:
            fresh.sendto(b"anew", (MACHINE, PORT))
            assert await heard(machine, b"anew") == []


async def test_all_flows_of_a_floating_ip_end_with_it_and_no_others(town):
    a, b = town.guest(11), town.guest(12)
    await town.apply(floating=(floating(FLOATING, a), floating(OTHER, b)))
    for address in (FLOATING, OTHER):
        await ping(town.guests, town.outside, address)
    inward = await talk(town.guests, town.outside, place(a), FLOATING)
    outward = await talk(town.guests, place(a), town.outside, MACHINE)
    kept = [
        (await talk(town.guests, town.outside, place(b), OTHER, port=4001))[:2],
        (await talk(town.guests, place(b), town.outside, MACHINE, port=4002))[:2],
    ]
    loop = asyncio.get_running_loop()
    with await town.guests.wire(place(a)) as guest, await town.guests.wire(town.outside) as machine:
        await town.apply(floating=(floating(OTHER, b),))
        for ends in (inward, outward):
            for end in ends[:2]:
                await loop.sock_sendall(end, b"after the end")
        for ends in kept:
            assert await carries(*ends)
        await probe(town, a)
        for wire, mark in ((guest, b"to the guest"), (machine, b"to the machine")):
            frames = await until(wire, mark)
            received = [seen for seen in frames if seen[:6] == wire_mac(wire)]
            assert not [seen for seen in received if b"after the end" in seen]
    for ends in (inward, outward, *kept):
        for end in ends[:2]:
            end.close()


def wire_mac(wire: socket.socket) -> bytes:
    return wire.getsockname()[4]


async def probe(town, port) -> None:
    """Send the last word to the guest, from its neighbour's network, and from the guest to the machine."""
    with await town.guests.datagrams(place(port), 4444) as inner:
        inner.sendto(b"to the machine", (MACHINE, 4444))
    with await kernel.in_namespace(router_namespace(town.router.router_id), plain) as router:
        router.sendto(b"to the guest", (own(port), 4444))


def plain() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


async def test_a_floating_ip_serves_another_guest_at_once_also_whoever_goes_on(town):
    a, b = town.guest(11), town.guest(21, town.second)
    await town.apply(floating=(floating(FLOATING, a),))
    await ping(town.guests, town.outside, FLOATING)
    await ping(town.guests, place(a), own(b))
    with (
        await datagrams(town.guests, place(a)) as first,
        await datagrams(town.guests, place(b)) as second,
        await datagrams(town.guests, town.outside) as machine,
    ):
        machine.sendto(b"one", (FLOATING, PORT))
        assert await heard(first, b"one") == []
        first.sendto(b"answer", (MACHINE, PORT))
        assert await heard(machine, b"answer") == []
        await town.apply(floating=(floating(FLOATING, b),))
        machine.sendto(b"two", (FLOATING, PORT))
        assert await heard(second, b"two") == []
        second.sendto(b"from the second", (MACHINE, PORT))
        assert await heard(machine, b"from the second") == []
        first.sendto(b"from the first", (MACHINE, PORT))
        [(text, sender)] = await heard_first(machine)
        assert (text, sender) == (b"from the first", GATEWAY)


async def heard_first(inner: socket.socket) -> list[tuple[bytes, str]]:
    async with asyncio.timeout(10):
        data, sender = await asyncio.get_running_loop().sock_recvfrom(inner, 2000)
    return [(data, sender[0])]


async def test_a_new_process_cuts_no_flow_and_ends_those_that_should_have_been(town, tmp_path):
    a, b = town.guest(11), town.guest(12)
    await town.apply(floating=(floating(FLOATING, a), floating(OTHER, b)))
    for address in (FLOATING, OTHER):
        await ping(town.guests, town.outside, address)
    kept = (await talk(town.guests, town.outside, place(b), OTHER))[:2]
    with (
        await datagrams(town.guests, town.outside) as machine,
        await datagrams(town.guests, place(a)) as first,
        await datagrams(town.guests, place(b)) as second,
    ):
        machine.sendto(b"one", (FLOATING, PORT))
        assert await heard(first, b"one") == []
        again = LinuxPlane(tmp_path, LEADING)
        await again.open()
        swapped = town.world.changed(town.router, floating=(floating(FLOATING, b),))
        both = town.world.changed(town.router, floating=(floating(OTHER, b), floating(FLOATING, a)))
        await again.apply(both)
        assert await carries(*kept)
        last = LinuxPlane(tmp_path, LEADING)
        await last.open()
        await last.apply(swapped)
        machine.sendto(b"two", (FLOATING, PORT))
        assert await heard(second, b"two") == []
        for plane in (again, last):
            await plane.close()
    for end in kept:
        end.close()


async def test_an_address_that_appears_is_announced(town):
    a = town.guest(11)
    await town.apply()
    await ping(town.guests, place(a), MACHINE)
    with await town.guests.wire(town.outside) as wire:
        await town.apply(floating=(floating(FLOATING, a),))
        mac = town.router.gateway.mac
        seen = await until(wire, arp(1, mac, FLOATING, FLOATING))
        assert not any(own(a).encode() in each for each in seen)
        await until(wire, packed(BROADCAST) + packed(mac) + b"\x08\x06")


@pytest.mark.parametrize("by", ["rules", "kernel", "both"])
async def test_spoofed_sources_do_not_pass(town, by):
    """The rules say so and the kernel's own filter of reverse paths; each holds without the other."""
    a, b = town.guest(11, port_security=False), town.guest(21, town.second)
    await town.apply()
    await ping(town.guests, place(a), own(b))
    space = router_namespace(town.router.router_id)
    if by == "kernel":
        await town.guests.run(space, "nft", "insert", "rule", "ip", "floe", "sources", "return")
    elif by == "rules":
        for name in ("all", *(inner_leg(leg.port_id) for leg in town.router.legs)):
            await town.guests.run(space, "sh", "-c", f"echo 0 > /proc/sys/net/ipv4/conf/{name}/rp_filter")
    with await town.guests.wire(place(a)) as outer, await town.guests.wire(place(b)) as inner:
        gateway = town.router.interfaces[0].mac
        for source in ("10.8.0.77", "10.9.0.1", "192.0.2.1", FLOATING, "127.0.0.1", "0.0.0.0"):
            packet = ipv4(source, own(b), 17, udp(1, PORT, b"spoofed"))
            outer.send(frame(a.mac, gateway, 0x0800, packet))
        outer.send(frame(a.mac, gateway, 0x0800, ipv4(own(a), own(b), 17, udp(1, PORT, b"honest"))))
        assert not any(b"spoofed" in seen for seen in await until(inner, b"honest"))


async def test_extra_routes_are_followed_both_ways(town):
    a, appliance = town.guest(11), town.guest(21, town.second, allowed_pairs=(("10.99.0.0/24", "fa:16:3e:00:00:15"),))
    await town.guests.run(place(appliance), "ip", "addr", "add", "10.99.0.5/32", "dev", "lo")
    await town.guests.run(place(appliance), "ip", "link", "set", "lo", "up")
    await town.apply(routes=(HostRoute(destination="10.99.0.0/24", nexthop=own(appliance)),))
    await ping(town.guests, place(a), "10.99.0.5")
    await town.apply(routes=())
    with await datagrams(town.guests, place(appliance)) as inner, await datagrams(town.guests, place(a)) as sender:
        sender.sendto(b"to nowhere", ("10.99.0.5", PORT))
        sender.sendto(b"to the appliance", (own(appliance), PORT))
        assert await heard(inner, b"to the appliance") == []


@pytest.mark.parametrize("others", [0, 1200])
async def test_of_many_flows_those_of_an_address_are_found(town, others):
    """Few are all looked at; of many the kernel is asked for those by the address."""
    a, b = town.guest(11), town.guest(12)
    await town.apply(floating=(floating(FLOATING, a), floating(OTHER, b)))
    for address in (FLOATING, OTHER):
        await ping(town.guests, town.outside, address)
    with await datagrams(town.guests, town.outside) as machine, await datagrams(town.guests, place(a)) as inner:
        machine.sendto(b"inward", (FLOATING, PORT))
        assert await heard(inner, b"inward") == []
        inner.sendto(b"outward", (MACHINE, PORT + 1))
        with await town.guests.datagrams(place(b), PORT) as crowd:
            for number in range(others):
                crowd.sendto(b"one of many", (MACHINE, 10000 + number))
            await heard_from(crowd, machine)
        space = router_namespace(town.router.router_id)
        count = await kernel.in_namespace(space, known)
        assert count > others
        without = replace(town.router, floating=(floating(OTHER, b),))
        ended = await kernel.in_namespace(
            space, lambda: flows.end(router_rules.translation(without), frozenset({FLOATING}))
        )
        assert 2 <= ended <= 20
        assert count - ended - 5 <= await kernel.in_namespace(space, known) <= count - ended + 5


def known() -> int:
    return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text())


async def heard_from(sender: socket.socket, receiver: socket.socket) -> None:
    """Wait until all that was sent before is through."""
    sender.sendto(b"the last", (MACHINE, PORT))
    await heard(receiver, b"the last")


@pytest.mark.parametrize("what", ["interface", "router", "gateway"])
async def test_what_is_down_passes_nothing_until_it_is_up_again(town, what):
    a, b = town.guest(11), town.guest(21, town.second)
    await town.apply(floating=(floating(FLOATING, a),))
    await ping(town.guests, place(a), own(b))
    await ping(town.guests, town.outside, FLOATING)
    inner, gateway = town.router.interfaces, town.router.gateway
    down = {
        "interface": {"interfaces": (replace(inner[0], up=False), inner[1])},
        "router": {"up": False},
        "gateway": {"gateway": replace(gateway, up=False)},
    }[what]
    await town.apply(**down)
    target, by = {"interface": (b, place(a)), "router": (b, place(a)), "gateway": (a, town.outside)}[what]
    with await datagrams(town.guests, place(target)) as receiver:
        with await datagrams(town.guests, by) as sender, pytest.MonkeyPatch.context():
            try:
                sender.sendto(b"while it is down", (FLOATING if what == "gateway" else own(target), PORT))
            except OSError as error:
                pytest.fail(str(error))
        await town.apply(interfaces=inner, gateway=gateway, up=True)
        await ping(town.guests, place(a), own(b))
        await ping(town.guests, town.outside, FLOATING)
        with await datagrams(town.guests, by) as sender:
            sender.sendto(b"up again", (FLOATING if what == "gateway" else own(target), PORT))
            assert await heard(receiver, b"up again") == []


async def test_a_router_on_two_machines_of_a_real_network_has_its_floating_ips_where_their_guests_are(town):
    """The switch between them learns of each machine by a MAC of its own, whoever has spoken last."""
    here, there = [mac_on(town.router.gateway.port_id, host) for host in ("h1", "h2")]
    commands = [
        "netns add second",
        f"link add name second type veth peer name eth0 address {there} netns second",
        f"link set dev second master {LEADING['public']} up",
        "netns exec second ip link set dev eth0 addrgenmode none up",
        f"netns exec second ip addr add {OTHER}/24 dev eth0",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
    try:
        a = town.guest(11)
        gateway = replace(town.router.gateway, mac=here)
        await town.apply(floating=(floating(FLOATING, a),), gateway=gateway)
        for address in (FLOATING, OTHER):
            await ping(town.guests, town.outside, address)
        for _ in range(3):
            for address in (OTHER, FLOATING):
                await town.guests.run(town.outside, "busybox", "ping", "-c", "1", "-W", "2", address)
        # Nor does anybody but the real router answer for the gateway of the network.
        entry = await town.guests.run(place(a), "busybox", "ping", "-c", "1", "-W", "2", MACHINE)
        assert "1 packets received" in entry
        found = await kernel.in_namespace(router_namespace(town.router.router_id), kernel.addresses)
        assert not any(text.startswith(f"{MACHINE}/") for texts in found.values() for text in texts)
        assert not any(text.startswith(f"{MACHINE}/") for texts in kernel.addresses().values() for text in texts)
    finally:
        subprocess.run(["ip", "netns", "del", "second"], check=True)
