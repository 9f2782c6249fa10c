"""Networks that dice make: anything that the API lets be, sense or none, and packets in them."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace

from floe.core.host_network import (
    GroupRule,
    HostFloating,
    HostForwarding,
    HostPort,
    HostRoute,
    HostRouter,
    HostSegment,
    RouterLeg,
)

from .conftest import World, forwarding, ident
from .packets_sent import FAR, OUT, Case

INNER = ("10.7.0", "10.8.0", "10.9.0")
PORTS = (22, 80)


def world_by(dice: Random) -> World:
    """Return three inner networks and one outside, up to two routers, and some guests with their groups."""
    world = World()
    nets = [_segment(dice, world, number, net) for number, net in enumerate(INNER, 1)]
    public = world.segment(4, dhcp=False, mtu=1500, net="172.24.4", physical="public")
    groups = [world.group(number, *_rules(dice)) for number in range(1, 5)]
    world.group(9, GroupRule(direction="ingress"), GroupRule(direction="egress"))
    for number in range(11, 17):
        where = dice.choices([*nets, public], [4, 3, 2, 1])[0]
        world.port(number, where, **_port(dice, groups, number))
    for number in range(1, dice.choice((2, 3, 3))):
        _router(dice, world, number, nets, public)
    for router in world.network.routers:
        leading = {"floating": _floating(dice, world, router), "forwarded": _forwarded(dice, world, router)}
        world.changed(router, routes=_routes(dice, world, router), **leading)
    return world


def cases_in(dice: Random, world: World, many: int) -> list[Case]:
    """Return some packets, each once, of which nothing is said yet."""
    targets = {f"g{port.tap}": port for port in world.network.ports}
    found: dict[Case, None] = {}
    for _ in range(many):
        name, port = dice.choice(list(targets.items()))
        floating = [each.address for router in world.network.routers for each in router.floating]
        own = [
            each.address for router in world.network.routers for each in router.floating if each.port_id == port.port_id
        ]
        outer = port.addresses[0].address.startswith("172.")
        source = dice.choice([*targets, OUT, FAR] if floating or outer else list(targets))
        fixed = [] if source in {OUT, FAR} and not outer else [port.addresses[0].address]
        led = [each for router in world.network.routers for each in router.forwarded if each.port_id == port.port_id]
        if led and dice.random() < 0.4:
            one = dice.choice(led)
            found[Case(source, name, one.address, one.protocol, one.external[0], inner=one.internal[0])] = None
            continue
        if not (fixed or own):
            continue
        protocol = dice.choice(("tcp", "tcp", "udp", "icmp"))
        to = dice.choice([*fixed, *own])
        found[Case(source, name, to, protocol, None if protocol == "icmp" else dice.choice(PORTS))] = None
    return list(found)


def _segment(dice: Random, world: World, number: int, net: str) -> HostSegment:
    made = world.segment(number, dhcp=False, net=net)
    if dice.random() < 0.15:
        made = replace(made, subnets=(replace(made.subnets[0], gateway=None),))
        world.network = replace(world.network, segments=(*world.network.segments[:-1], made))
    return made


def _rules(dice: Random) -> list[GroupRule]:
    rules = [] if dice.random() < 0.1 else [GroupRule(direction="egress")]
    for _ in range(dice.randrange(5)):
        direction = dice.choice(("ingress", "ingress", "egress"))
        protocol = dice.choice((None, "tcp", "tcp", "udp", "icmp", "6", "17"))
        low, high = None, None
        if protocol == "icmp" and dice.random() < 0.5:
            low, high = dice.choice(((8, None), (8, 0), (0, 0), (13, 0)))
        elif protocol in {"tcp", "udp", "6", "17"} and dice.random() < 0.6:
            low, high = dice.choice(((22, 22), (1, 79), (80, 80), (23, 65535)))
        remote: dict[str, Any] = {}
        if dice.random() < 0.4:
            remote = {"remote_group": ident(0x80, dice.randrange(1, 5))}
        elif dice.random() < 0.5:
            remote = {"remote_cidr": dice.choice((*(f"{net}.0/24" for net in INNER), "172.24.4.0/24", "0.0.0.0/0"))}
        rules.append(GroupRule(direction=direction, protocol=protocol, port_min=low, port_max=high, **remote))
    return rules


def _port(dice: Random, groups: list[str], number: int) -> dict[str, Any]:
    many = dice.choice((0, 1, 1, 2))
    values: dict[str, Any] = {"groups": tuple(dice.sample(groups, many)), "up": dice.random() < 0.92}
    if dice.random() < 0.35:
        values["groups"] = (*values["groups"], ident(0x80, 9))
    if dice.random() < 0.15:
        values |= {"port_security": False, "groups": ()}
    elif dice.random() < 0.2:
        values["allowed_pairs"] = (
            (f"{dice.choice(INNER)}.{dice.randrange(11, 17)}/32", f"fa:16:3e:00:00:{number:02x}"),
        )
    return values


def _router(dice: Random, world: World, number: int, nets: list[HostSegment], public: HostSegment) -> None:
    outside = public if dice.random() < 0.85 else None
    made = world.router(number, *dice.sample(nets, dice.choice((1, 2, 2, 3))), outside=outside)
    taken = {
        text for router in world.network.routers if router is not made for leg in router.legs for text in leg.addresses
    }
    legs = []
    for leg in made.interfaces:
        addresses = tuple(text.replace(".1/", ".254/") if text in taken else text for text in leg.addresses)
        legs.append(replace(leg, addresses=addresses, up=dice.random() < 0.93))
    values: dict[str, Any] = {"interfaces": tuple(legs), "up": dice.random() < 0.94, "snat": dice.random() < 0.75}
    if made.gateway is not None:
        values["gateway"] = replace(made.gateway, up=dice.random() < 0.95)
        values["next_hop"] = made.next_hop if dice.random() < 0.85 else None
    world.changed(made, **values)


def _routes(dice: Random, world: World, router: HostRouter) -> tuple[HostRoute, ...]:
    """Return routes by way of other routers, or of nobody."""
    others = [leg for each in world.network.routers if each is not router for leg in each.interfaces]
    hops = [leg.addresses[0].partition("/")[0] for leg in others if _shares(router, leg)]
    hops += [
        text.replace(".1/24", ".200").replace(".254/24", ".200") for leg in router.interfaces for text in leg.addresses
    ]
    targets = [f"{net}.0/24" for net in INNER] + [
        f"{INNER[2]}.12/32",
        f"{INNER[1]}.200/32",
        "203.0.113.0/24",
        "0.0.0.0/0",
    ]
    many = dice.choice((0, 0, 1, 2))
    return tuple(
        {
            target: HostRoute(destination=target, nexthop=dice.choice(hops)) for target in dice.sample(targets, many)
        }.values()
    )


def _shares(router: HostRouter, leg: RouterLeg) -> bool:
    return any(leg.network_id == own.network_id for own in router.interfaces)


def _floating(dice: Random, world: World, router: HostRouter) -> tuple[HostFloating, ...]:
    behind: list[HostPort] = [
        port for port in world.network.ports if any(port.network_id == leg.network_id for leg in router.interfaces)
    ]
    if router.gateway is None:
        return ()
    number = 50 if router.router_id == ident(0x90, 1) else 70
    return tuple(
        HostFloating(
            floating_id=f"f-{number + index}",
            address=f"172.24.4.{number + index}",
            fixed=port.addresses[0].address,
            port_id=port.port_id,
        )
        for index, port in enumerate(behind)
        if dice.random() < 0.6
    )


def _forwarded(dice: Random, world: World, router: HostRouter) -> tuple[HostForwarding, ...]:
    """Return what leads ports of one more address to the same port of each guest behind a router."""
    if router.gateway is None or dice.random() < 0.5:
        return ()
    behind = {leg.network_id for leg in router.interfaces}
    address = "172.24.4.90" if router.router_id == ident(0x90, 1) else "172.24.4.91"
    ports = [port for port in world.network.ports if port.network_id in behind]
    return tuple(
        forwarding(address, port, 1000 + 10 * index + PORTS.index(inner), inner, protocol=protocol)
        for index, port in enumerate(ports)
        for inner in PORTS
        for protocol in ("tcp", "udp")
        if dice.random() < 0.7
    )
