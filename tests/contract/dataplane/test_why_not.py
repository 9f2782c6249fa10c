"""The model of `floe why-not` against real packets: what it says is stopped is not answered, and all else is."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from floe.core.host_network import GroupRule, HostAddress, HostPort, HostRoute

from .conftest import Town, floating, forwarding, ident
from .packets_sent import FAR, OUT, Case, Sending, found
from .test_routers import FLOATING, GATEWAY, OTHER, own, place

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Phase:
    """How the first router is, or anything else is changed, and the packets that are sent then."""

    cases: tuple[Case, ...]
    router: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[Town, dict[str, HostPort]], None] | None = None


@dataclass(frozen=True)
class Place:
    """Guests by name, and what is tried with them."""

    build: Callable[[Town], dict[str, HostPort]]
    phases: tuple[Phase, ...]


def rule(direction: str = "ingress", protocol: str | None = None, ports: tuple[int, int] | None = None, **more: Any):
    low, high = ports or (None, None)
    return GroupRule(direction=direction, protocol=protocol, port_min=low, port_max=high, **more)


ANY_OUT = rule("egress")


def usual(town: Town) -> dict[str, HostPort]:
    """A web server with a floating IP, guests that admit each other, and one elsewhere that admits anything."""
    web = town.world.group(
        2, ANY_OUT, rule("ingress", "tcp", (22, 22)), rule("ingress", "tcp", (8000, 8010)), rule("ingress", "icmp")
    )
    friends = town.world.group(3, ANY_OUT, rule(remote_group=ident(0x80, 3)))
    a = town.guest(11, groups=(web,))
    town.router = town.world.router(1, town.first, town.second, outside=town.public, floating=(floating(FLOATING, a),))
    return {
        "a": a,
        "b": town.guest(12, groups=(friends,)),
        "b2": town.guest(13, groups=(friends,)),
        "c": town.guest(21, town.second),
    }


USUAL = (
    Case(OUT, "a", FLOATING, "tcp", 22),
    Case(OUT, "a", FLOATING, "tcp", 80, "security_group"),
    Case(OUT, "a", FLOATING, "tcp", 8005),
    Case(OUT, "a", FLOATING, "tcp", 8011, "security_group"),
    Case(OUT, "a", FLOATING, "icmp"),
    Case(OUT, "a", FLOATING, "udp", 22, "security_group"),
    Case(FAR, "a", FLOATING, "tcp", 22),
    Case("c", "a", "10.7.0.11", "tcp", 22),
    Case("c", "a", "10.7.0.11", "tcp", 23, "security_group"),
    Case("c", "a", "10.7.0.11", "icmp"),
    Case("c", "b", "10.7.0.12", "tcp", 22, "security_group"),
    Case("b2", "b", "10.7.0.12", "tcp", 22),
    Case("b2", "b", "10.7.0.12", "udp", 22),
    Case("a", "b", "10.7.0.12", "icmp", None, "security_group"),
    Case("b", "c", "10.8.0.21", "tcp", 80),
    Case("b", "c", "10.8.0.21", "icmp"),
    Case("b", "a", FLOATING, "tcp", 22),
    Case("c", "a", FLOATING, "udp", 5, "security_group"),
    Case("a", "a", FLOATING, "tcp", 22),
    Case(OUT, "a", "10.7.0.11", "tcp", 22, "router"),
    Case(OUT, "c", "10.8.0.21", "icmp", None, "router"),
)
ROUTER_DOWN = (
    Case(OUT, "a", FLOATING, "tcp", 22, "router"),
    Case("c", "a", "10.7.0.11", "icmp", None, "router"),
    Case("b2", "b", "10.7.0.12", "icmp"),
)
INTERFACE_DOWN = (
    Case(OUT, "a", FLOATING, "tcp", 22, "router"),
    Case("a", "c", "10.8.0.21", "icmp", None, "router"),
    Case("c", "a", "10.7.0.11", "tcp", 22, "router"),
    Case("b2", "b", "10.7.0.12", "tcp", 1),
)
GATEWAY_DOWN = (
    Case(OUT, "a", FLOATING, "icmp", None, "router"),
    Case("b", "a", FLOATING, "tcp", 22, "router"),
    Case("b", "c", "10.8.0.21", "udp", 53),
)
NO_NEXT_HOP = (
    Case(OUT, "a", FLOATING, "tcp", 22),
    Case(FAR, "a", FLOATING, "tcp", 22, "router"),
    Case("c", "a", FLOATING, "icmp"),
)
UNTRANSLATED = (
    Case(OUT, "a", "10.7.0.11", "tcp", 22),
    Case(OUT, "b", "10.7.0.12", "tcp", 22, "security_group"),
    Case(OUT, "c", "10.8.0.21", "udp", 9),
    Case(OUT, "a", FLOATING, "tcp", 22),
    Case("c", "a", FLOATING, "tcp", 22),
)


def changed_leg(town: Town, number: int, **values: Any) -> dict[str, Any]:
    legs = list(town.router.interfaces)
    legs[number] = replace(legs[number], **values)
    return {"interfaces": tuple(legs)}


TWO_SCOPES = (
    Case("c", "a", "10.7.0.11", "tcp", 22, "router"),
    Case("b", "c", "10.8.0.21", "icmp", None, "router"),
    Case("c", "a", FLOATING, "tcp", 22),
    Case("b2", "b", "10.7.0.12", "tcp", 22),
    Case(OUT, "a", FLOATING, "tcp", 22),
    Case(OUT, "a", "10.7.0.11", "tcp", 22, "router"),
    Case(OUT, "c", "10.8.0.21", "icmp", None, "router"),
)
OF_THE_OUTSIDES_SCOPE = (
    Case(OUT, "a", "10.7.0.11", "tcp", 22),
    Case(OUT, "a", "10.7.0.11", "tcp", 23, "security_group"),
    Case(FAR, "a", "10.7.0.11", "icmp"),
    Case(OUT, "a", FLOATING, "tcp", 22),
    Case(OUT, "c", "10.8.0.21", "icmp", None, "router"),
    Case("c", "a", "10.7.0.11", "tcp", 22, "router"),
    Case("c", "a", FLOATING, "tcp", 22),
)
UNTRANSLATED_SCOPES = (
    Case(OUT, "a", "10.7.0.11", "tcp", 22, "router"),
    Case(OUT, "a", FLOATING, "tcp", 22),
    Case(OUT, "c", "10.8.0.21", "icmp"),
    Case("c", "a", "10.7.0.11", "tcp", 22, "router"),
    Case("c", "a", FLOATING, "tcp", 22),
)


def scopes(first: str, second: str, outside: str, **values: Any) -> Callable[[Town, dict[str, HostPort]], None]:
    """Have the networks be of these address scopes."""

    def change(town: Town, _guests: dict[str, HostPort]) -> None:
        legs = [replace(leg, scope=scope) for leg, scope in zip(town.router.interfaces, (first, second), strict=True)]
        gateway = replace(town.router.gateway, scope=outside)
        town.world.changed(town.router, interfaces=tuple(legs), gateway=gateway, **values)

    return change


def first_leg_down(town: Town, _guests: dict[str, HostPort]) -> None:
    town.world.changed(town.router, **changed_leg(town, 0, up=False))


def gateway_down(town: Town, _guests: dict[str, HostPort]) -> None:
    town.world.changed(town.router, gateway=replace(town.router.gateway, up=False))


def as_it_was(town: Town, _guests: dict[str, HostPort]) -> None:
    town.world.changed(town.router)


def particular(town: Town) -> dict[str, HostPort]:
    """Groups that look at who is at the other end, and guests whose ports are odd."""
    group = town.world.group
    judged = group(
        2,
        rule(protocol="tcp", remote_cidr="172.24.4.0/24"),
        rule(protocol="udp", remote_cidr="10.8.0.21/32"),
        rule("egress", "udp", remote_cidr="10.8.0.0/24"),
        rule("egress", "tcp", (1, 99)),
        rule(ethertype="IPv6"),
    )
    odd = group(3, rule(protocol="6"), rule("ingress", "icmp", (13, 0)), rule("egress", ethertype="IPv6"))
    echo = group(4, rule("ingress", "icmp", (8, 0)), rule("ingress", "udp", (5000, 5000), remote_group=ident(0x80, 5)))
    named = group(5, ANY_OUT, remote_members=("10.7.0.14/32",))
    guests = {
        "a": town.guest(11, groups=(judged,)),
        "b": town.guest(12),
        "c": town.guest(21, town.second),
        "odd": town.guest(22, town.second, groups=(odd,)),
        "echo": town.guest(23, town.second, groups=(echo, named)),
        "member": town.guest(14),
        "paired": town.guest(15, groups=(named,), allowed_pairs=(("10.7.0.12/32", "fa:16:3e:00:00:0f"),)),
        "down": town.guest(16, up=False),
        "free": town.guest(17, groups=(), port_security=False),
        "bare": town.guest(18, groups=()),
    }
    two = (floating(FLOATING, guests["a"]), floating(OTHER, guests["c"]), floating("172.24.4.52", guests["down"]))
    town.router = town.world.router(1, town.first, town.second, outside=town.public, floating=two)
    return guests


PARTICULAR = (
    Case(OUT, "a", FLOATING, "tcp", 9),
    Case(OUT, "a", FLOATING, "udp", 9, "security_group"),
    Case("c", "a", "10.7.0.11", "tcp", 9, "security_group"),
    Case("c", "a", "10.7.0.11", "udp", 9),
    Case("b", "a", "10.7.0.11", "udp", 9, "security_group"),
    Case("a", "c", "10.8.0.21", "udp", 9),
    Case("a", "c", "10.8.0.21", "icmp", None, "security_group"),
    Case("a", "c", OTHER, "udp", 9, "security_group"),
    Case("a", "c", OTHER, "tcp", 99),
    Case("a", "c", OTHER, "tcp", 100, "security_group"),
    Case("a", "b", "10.7.0.12", "udp", 9, "security_group"),
    Case("c", "a", FLOATING, "tcp", 9),
    Case("b", "a", FLOATING, "tcp", 9),
    Case("c", "a", FLOATING, "udp", 9, "security_group"),
    Case("b", "odd", "10.8.0.22", "tcp", 1234),
    Case("b", "odd", "10.8.0.22", "udp", 1234, "security_group"),
    Case("b", "odd", "10.8.0.22", "icmp", None, "security_group"),
    Case("odd", "b", "10.7.0.12", "tcp", 1, "security_group"),
    Case("b", "echo", "10.8.0.23", "icmp"),
    Case("member", "echo", "10.8.0.23", "udp", 5000),
    Case("paired", "echo", "10.8.0.23", "udp", 5000),
    Case("b", "echo", "10.8.0.23", "udp", 5000),
    Case("c", "echo", "10.8.0.23", "udp", 5000, "security_group"),
    Case("member", "echo", "10.8.0.23", "udp", 5001, "security_group"),
    Case(OUT, "down", "172.24.4.52", "tcp", 22, "port"),
    Case("b", "down", "10.7.0.16", "icmp", None, "port"),
    Case("down", "b", "10.7.0.12", "icmp", None, "port"),
    Case("free", "c", "10.8.0.21", "tcp", 22),
    Case("free", "a", "10.7.0.11", "tcp", 22, "security_group"),
    Case("b", "free", "10.7.0.17", "tcp", 22),
    Case("b", "bare", "10.7.0.18", "tcp", 22, "port"),
    Case("bare", "b", "10.7.0.12", "tcp", 22, "port"),
)


def astray(town: Town) -> dict[str, HostPort]:
    """A network whose subnet has no gateway, a guest with the router's address, and one with two NICs."""
    bare = town.world.segment(4, dhcp=False, net="10.9.0")
    subnet = replace(bare.subnets[0], gateway=None)
    bare = replace(bare, subnets=(subnet,))
    others = tuple(each for each in town.world.network.segments if each.network_id != bare.network_id)
    town.world.network = replace(town.world.network, segments=(*others, bare))
    guests = {
        "a": town.guest(11),
        "b": town.guest(12),
        "c": town.guest(21, town.second),
        "nowhere": town.guest(41, bare),
        "near": town.guest(42, bare),
        "thief": town.guest(
            14, addresses=(HostAddress(subnet_id=town.first.subnets[0].subnet_id, address="10.7.0.1"),)
        ),
        "two": town.guest(15),
    }
    second = town.world.port(25, town.second, groups=(town.group,), server_id=guests["two"].server_id, nic=1)
    lines = [
        f"link add name {second.tap} type veth peer name eth1 address {second.mac} netns {place(guests['two'])}",
        f"netns exec {place(guests['two'])} ip link set eth1 addrgenmode none up",
        f"netns exec {place(guests['two'])} ip addr add {own(second)}/24 dev eth1",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    many = (
        floating(FLOATING, guests["nowhere"]),
        floating("172.24.4.61", guests["two"]),
        floating("172.24.4.62", second),
    )
    outside = town.public
    town.router = town.world.router(1, town.first, town.second, bare, outside=outside, floating=many)
    return guests


ASTRAY = (
    Case(OUT, "nowhere", FLOATING, "tcp", 22, "subnet"),
    Case("a", "nowhere", "10.9.0.41", "icmp", None, "subnet"),
    Case("nowhere", "a", "10.7.0.11", "icmp", None, "subnet"),
    Case("near", "nowhere", "10.9.0.41", "tcp", 22),
    Case("thief", "a", "10.7.0.11", "udp", 22, "port"),
    Case("a", "thief", "10.7.0.1", "tcp", 22, "router"),
    Case(OUT, "two", "172.24.4.61", "tcp", 22),
    Case(OUT, "two", "172.24.4.62", "tcp", 22, "port"),
    Case("c", "two", "10.8.0.25", "tcp", 22),
    Case("a", "two", "10.8.0.25", "icmp", None, "port"),
    Case("two", "c", "10.8.0.21", "udp", 22),
)


def far_apart(town: Town) -> dict[str, HostPort]:
    """Two routers that lead out, and share a network; and a guest that is outside itself."""
    third = town.world.segment(4, dhcp=False, net="10.9.0")
    choosy = town.world.group(2, ANY_OUT, rule(protocol="tcp", remote_cidr=f"{GATEWAY}/32"))
    guests = {
        "a": town.guest(11),
        "b": town.guest(12),
        "c": town.guest(21, town.second),
        "d": town.guest(41, third),
        "choosy": town.guest(42, third, groups=(choosy,)),
        "p": town.guest(70, town.public),
    }
    town.router = town.world.router(
        1, town.first, town.second, outside=town.public, floating=(floating(FLOATING, guests["a"]),)
    )
    other = town.world.router(
        2,
        third,
        outside=town.public,
        floating=(floating("172.24.4.60", guests["d"]), floating("172.24.4.61", guests["choosy"])),
    )
    shared = replace(
        other.interfaces[0],
        port_id=ident(0xA2, 99),
        network_id=town.second.network_id,
        mac="fa:16:3e:aa:99:02",
        addresses=("10.8.0.254/24",),
    )
    town.world.changed(other, interfaces=(*other.interfaces, shared))
    return guests


APART = (
    Case("b", "d", "10.9.0.41", "tcp", 22, "network"),
    Case("b", "d", "172.24.4.60", "tcp", 22),
    Case("a", "choosy", "172.24.4.61", "tcp", 22, "security_group"),
    Case("b", "choosy", "172.24.4.61", "tcp", 22),
    Case("d", "a", FLOATING, "icmp"),
    Case(OUT, "d", "172.24.4.60", "tcp", 22),
    Case("c", "d", "10.9.0.41", "icmp", None, "network"),
    Case("d", "c", "10.8.0.21", "tcp", 22, "subnet"),
    Case(OUT, "p", "172.24.4.70", "tcp", 22),
    Case("b", "p", "172.24.4.70", "tcp", 22),
    Case("p", "a", FLOATING, "tcp", 22),
    Case("p", "a", "10.7.0.11", "tcp", 22, "network"),
)
JOINED = (
    Case("b", "d", "10.9.0.41", "tcp", 22),
    Case("d", "b", "10.7.0.12", "icmp"),
    Case("c", "d", "10.9.0.41", "tcp", 22, "router"),
    Case("c", "d", "10.9.0.41", "icmp"),
    Case("c", "d", "10.9.0.41", "udp", 22),
)
ONE_WAY = (
    Case("b", "d", "10.9.0.41", "tcp", 22, "router"),
    Case("d", "b", "10.7.0.12", "icmp", None, "network"),
)


def routes_both_ways(town: Town, _guests: dict[str, HostPort]) -> None:
    [other] = [each for each in town.world.network.routers if each.router_id != town.router.router_id]
    town.world.changed(town.router, routes=(HostRoute(destination="10.9.0.0/24", nexthop="10.8.0.254"),))
    town.world.changed(other, routes=(HostRoute(destination="10.7.0.0/24", nexthop="10.8.0.1"),))


def no_way_back(town: Town, _guests: dict[str, HostPort]) -> None:
    [other] = [each for each in town.world.network.routers if each.router_id != town.router.router_id]
    town.world.changed(other, routes=())


def forwarded(town: Town) -> dict[str, HostPort]:
    """Two guests behind ports of one floating IP."""
    web = town.world.group(2, ANY_OUT, rule(protocol="tcp", ports=(22, 22)), rule(protocol="udp", ports=(5000, 5001)))
    guests = {"a": town.guest(11, groups=(web,)), "b": town.guest(12), "c": town.guest(21, town.second)}
    a, c = guests["a"], guests["c"]
    town.router = town.world.router(
        1,
        town.first,
        town.second,
        outside=town.public,
        forwarded=(
            forwarding(FLOATING, a, 2222, 22),
            forwarding(FLOATING, a, 2280, 80),
            forwarding(FLOATING, c, 8080, 80),
            forwarding(FLOATING, a, (6000, 6002), (5000, 5002), protocol="udp"),
        ),
    )
    return guests


FORWARDED = (
    Case(OUT, "a", FLOATING, "tcp", 2222, inner=22),
    Case(FAR, "a", FLOATING, "tcp", 2222, inner=22),
    Case(OUT, "a", FLOATING, "tcp", 2280, "security_group", inner=80),
    Case(OUT, "c", FLOATING, "tcp", 8080, inner=80),
    Case(OUT, "c", FLOATING, "tcp", 80, "server", inner=8080),
    Case(OUT, "a", FLOATING, "udp", 6001, inner=5001),
    Case(OUT, "a", FLOATING, "udp", 6002, "security_group", inner=5002),
    Case("b", "a", FLOATING, "tcp", 2222, inner=22),
    Case("c", "a", FLOATING, "tcp", 2222, inner=22),
    Case("a", "c", FLOATING, "tcp", 8080, inner=80),
    Case("a", "b", "10.7.0.12", "tcp", 2222),
)
FORWARDED_ON_A_ROUTER_THAT_IS_DOWN = (
    Case(OUT, "a", FLOATING, "tcp", 2222, "router", inner=22),
    Case("b", "a", "10.7.0.11", "tcp", 22),
)

PLACES = {
    "forwarded": Place(forwarded, (Phase(FORWARDED), Phase(FORWARDED_ON_A_ROUTER_THAT_IS_DOWN, {"up": False}))),
    "usual": Place(
        usual,
        (
            Phase(USUAL),
            Phase(ROUTER_DOWN, {"up": False}),
            Phase(INTERFACE_DOWN, change=first_leg_down),
            Phase(GATEWAY_DOWN, change=gateway_down),
            Phase(NO_NEXT_HOP, {"next_hop": None}, as_it_was),
            Phase(UNTRANSLATED, {"snat": False}, as_it_was),
        ),
    ),
    "scopes": Place(
        usual,
        (
            Phase(TWO_SCOPES, change=scopes("ours", "theirs", "")),
            Phase(TWO_SCOPES, change=scopes("ours", "", "")),
            Phase(OF_THE_OUTSIDES_SCOPE, change=scopes("ours", "", "ours")),
            Phase(UNTRANSLATED_SCOPES, change=scopes("ours", "theirs", "theirs", snat=False)),
        ),
    ),
    "particular": Place(particular, (Phase(PARTICULAR),)),
    "astray": Place(astray, (Phase(ASTRAY),)),
    "far apart": Place(
        far_apart, (Phase(APART), Phase(JOINED, change=routes_both_ways), Phase(ONE_WAY, change=no_way_back))
    ),
}


def test_many_packets_are_tried() -> None:
    cases = [
        (name, number, case) for name, at in PLACES.items() for number, ph in enumerate(at.phases) for case in ph.cases
    ]
    assert len(cases) == len(set(cases)) >= 40, "each is tried once in each phase"
    assert len([case for *_, case in cases if case.stopped_by]) >= 20


@pytest.mark.parametrize("name", PLACES)
async def test_it_says_of_each_packet_what_becomes_of_it(town: Town, name: str) -> None:
    guests = PLACES[name].build(town)
    for net in INNER:
        await town.guests.run(town.outside, "ip", "route", "add", net, "via", GATEWAY)
    async with Sending(town, guests) as sending:
        for phase in PLACES[name].phases:
            if phase.change is not None:
                phase.change(town, guests)
            await town.apply(**phase.router)
            stops = {case: found(town, guests, case) for case in phase.cases}
            told = {case: step.kind if step else None for case, step in stops.items()}
            assert told == {case: case.stopped_by for case in phase.cases}
            await sending.check(phase.cases)


INNER = ("10.7.0.0/24", "10.8.0.0/24", "10.9.0.0/24")
