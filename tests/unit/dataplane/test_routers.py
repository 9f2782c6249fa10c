"""What a router is made of, given what is there; and which translations of addresses may go on."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from floe.core.host_network import (
    HostFloating,
    HostForwarding,
    HostNetwork,
    HostRoute,
    HostRouter,
    HostSegment,
    RouterLeg,
)
from floe.dataplane.checks import sound_part
from floe.dataplane.linux import links, nftables, physical, router_rules, routers, ruleset
from floe.dataplane.linux.links import Device, LinkPlan
from floe.dataplane.linux.router_rules import Ends, Translation
from floe.dataplane.linux.routers import Inside

ROUTER = "33333333-0000-4000-8000-000000000000"
SPACE = "frtr-33333333000"
NETWORKS = ("11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000")
PORTS = ("aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000")
SEGMENTS = {
    network: HostSegment(network_id=network, name="n", tag=tag, mtu=1400) for tag, network in enumerate(NETWORKS, 1)
}
INNER = RouterLeg(port_id=PORTS[0], network_id=NETWORKS[0], mac="fa:16:3e:00:00:01", addresses=("10.7.0.1/24",))
GATE = RouterLeg(port_id=PORTS[1], network_id=NETWORKS[1], mac="fa:16:3e:00:00:02", addresses=("172.24.4.10/24",))
FLOATING = HostFloating(floating_id="f", address="172.24.4.50", fixed="10.7.0.11", port_id="p")
WHOLE = HostRouter(
    router_id=ROUTER,
    interfaces=(INNER,),
    gateway=GATE,
    next_hop="172.24.4.1",
    floating=(FLOATING,),
    routes=(HostRoute(destination="10.50.0.0/16", nexthop="10.7.0.50"),),
)
DEVICES = {
    "fqraaaaaaaa000": Device(
        name="fqraaaaaaaa000", kind="veth", master="fbr11111111000", mtu=1400, up=True, alias=f"floe:{PORTS[0]}"
    ),
    "fqrbbbbbbbb000": Device(
        name="fqrbbbbbbbb000", kind="veth", master="fbr22222222000", mtu=1400, up=True, alias=f"floe:{PORTS[1]}"
    ),
}
THERE = Inside(
    devices={
        "lo": Device(name="lo", up=True),
        "qr-aaaaaaaa000": Device(name="qr-aaaaaaaa000", mtu=1400, up=True, mac=INNER.mac),
        "qr-bbbbbbbb000": Device(name="qr-bbbbbbbb000", mtu=1400, up=True, mac=GATE.mac),
    },
    addresses={
        "lo": ["127.0.0.1/8", "169.254.169.254/32"],
        "qr-aaaaaaaa000": ["10.7.0.1/24"],
        "qr-bbbbbbbb000": ["172.24.4.10/24", "172.24.4.50/32"],
    },
    routes=frozenset({("0.0.0.0/0", "172.24.4.1", "qr-bbbbbbbb000"), ("10.50.0.0/16", "10.7.0.50", "qr-aaaaaaaa000")}),
    unlike={},
)


def joined(router: HostRouter, devices: dict[str, Device], namespaces: frozenset[str], inside: Inside) -> LinkPlan:
    made = LinkPlan()
    routers.join(made, [router], SEGMENTS, devices, namespaces, {ROUTER: inside})
    return made


def texts(lines: list[links.Line]) -> list[str]:
    return [line.text for line in lines]


def test_where_all_is_there_nothing_is_done() -> None:
    made = joined(WHOLE, DEVICES, frozenset({SPACE}), THERE)
    assert (made.before, made.after, made.renewed, made.problems) == ([], [], [], {})
    assert routers.within(WHOLE, SEGMENTS, THERE) == routers.InsidePlan(lines=(), announced=())


def test_from_nothing_all_is_made_and_attached_last() -> None:
    made = LinkPlan()
    routers.join(made, [replace(WHOLE, gateway=None, next_hop=None)], SEGMENTS, {}, frozenset(), {})
    assert texts(made.before) == [
        f"netns add {SPACE}",
        "link add name fqraaaaaaaa000 mtu 1400 type veth "
        f"peer name qr-aaaaaaaa000 mtu 1400 address fa:16:3e:00:00:01 netns {SPACE}",
        f"link set dev fqraaaaaaaa000 alias floe:{PORTS[0]} addrgenmode none",
    ]
    assert texts(made.after) == [
        "link set dev fqraaaaaaaa000 master fbr11111111000",
        "link set dev fqraaaaaaaa000 up",
    ]
    assert {line.owner for line in [*made.before, *made.after]} == {ROUTER}


def test_an_outer_end_without_its_inner_end_is_made_anew() -> None:
    gone = replace(THERE, devices={name: each for name, each in THERE.devices.items() if name != "qr-aaaaaaaa000"})
    made = joined(WHOLE, DEVICES, frozenset({SPACE}), gone)
    assert texts(made.before)[0] == "link del dev fqraaaaaaaa000"
    assert made.renewed == [ROUTER]


def test_only_what_differs_is_changed_and_what_is_new_is_announced() -> None:
    more = replace(WHOLE, floating=(FLOATING, replace(FLOATING, address="172.24.4.51", fixed="10.7.0.12")))
    todo = routers.within(more, SEGMENTS, THERE)
    assert todo.lines == ("addr add 172.24.4.51/32 dev qr-bbbbbbbb000",)
    assert todo.announced == (("qr-bbbbbbbb000", "172.24.4.51"),)
    fewer = routers.within(replace(WHOLE, floating=()), SEGMENTS, THERE)
    assert fewer.lines == ("addr del 172.24.4.50/32 dev qr-bbbbbbbb000",)
    assert fewer.announced == ()


def test_one_change_is_as_small_with_500_floating_ips() -> None:
    many = tuple(
        replace(FLOATING, address=f"172.24.{6 + n // 250}.{n % 250 + 1}", fixed=f"10.7.{n // 250}.{n % 250 + 1}")
        for n in range(500)
    )
    wide = replace(WHOLE, interfaces=(replace(INNER, addresses=("10.7.0.1/16",)),))
    before, after = (replace(wide, floating=each) for each in (many, many[1:]))
    seen = replace(
        THERE,
        addresses=THERE.addresses
        | {"qr-aaaaaaaa000": ["10.7.0.1/16"]}
        | {"qr-bbbbbbbb000": ["172.24.4.10/24", *(f"{each.address}/32" for each in many)]},
    )
    assert routers.within(after, SEGMENTS, seen).lines == ("addr del 172.24.6.1/32 dev qr-bbbbbbbb000",)
    old, new = ({router_rules.TABLE: router_rules.rules(each)} for each in (before, after))
    assert len(ruleset.difference(old, new).splitlines()) == 10
    assert router_rules.translation(before).ended(router_rules.translation(after)) == {many[0].address}


def test_a_leg_that_is_down_has_no_address_no_route_and_no_rule() -> None:
    down = replace(WHOLE, gateway=replace(GATE, up=False))
    made = joined(down, DEVICES, frozenset({SPACE}), THERE)
    assert texts(made.before) == ["link set dev fqrbbbbbbbb000 down"]
    todo = routers.within(down, SEGMENTS, THERE)
    assert "link set dev qr-bbbbbbbb000 down" in todo.lines
    assert "route del 0.0.0.0/0 via 172.24.4.1 dev qr-bbbbbbbb000" in todo.lines
    assert sum("addr del" in line for line in todo.lines) == 2
    assert router_rules.translation(down) == Translation()
    assert not any("qr-bbbbbbbb000" in rule for item in router_rules.rules(down).values() for rule in item.body)


def test_a_leg_that_comes_up_has_its_routes_again() -> None:
    low = replace(THERE.devices["qr-bbbbbbbb000"], up=False)
    todo = routers.within(WHOLE, SEGMENTS, replace(THERE, devices=THERE.devices | {"qr-bbbbbbbb000": low}))
    assert todo.lines == (
        "link set dev qr-bbbbbbbb000 up",
        "route replace 0.0.0.0/0 via 172.24.4.1 dev qr-bbbbbbbb000 onlink proto static",
    )
    assert todo.announced == (("qr-bbbbbbbb000", "172.24.4.10"), ("qr-bbbbbbbb000", "172.24.4.50"))


def test_a_next_hop_beyond_the_subnet_is_reached_on_the_link() -> None:
    todo = routers.within(replace(WHOLE, next_hop="192.0.2.1"), SEGMENTS, THERE)
    assert todo.lines == ("route replace 0.0.0.0/0 via 192.0.2.1 dev qr-bbbbbbbb000 onlink proto static",)


def test_a_router_that_is_no_longer_wanted_goes() -> None:
    made = links.plan(HostNetwork(), DEVICES, frozenset({SPACE, "frtr-theirs"}))
    assert texts(made.before) == ["link del dev fqraaaaaaaa000", "link del dev fqrbbbbbbbb000", f"netns del {SPACE}"]


@pytest.mark.parametrize(
    ("original", "reply", "source", "target", "kept"),
    [
        (("192.0.2.1", "172.24.4.50"), ("10.7.0.11", "192.0.2.1"), False, True, True),
        (("192.0.2.1", "172.24.4.50"), ("10.7.0.12", "192.0.2.1"), False, True, False),
        (("192.0.2.1", "172.24.4.51"), ("10.7.0.11", "192.0.2.1"), False, True, False),
        (("10.7.0.11", "192.0.2.1"), ("192.0.2.1", "172.24.4.50"), True, False, True),
        (("10.7.0.12", "192.0.2.1"), ("192.0.2.1", "172.24.4.50"), True, False, False),
        (("10.7.0.12", "192.0.2.1"), ("192.0.2.1", "172.24.4.10"), True, False, True),
        (("10.7.0.12", "192.0.2.1"), ("192.0.2.1", "172.24.4.9"), True, False, False),
        (("10.7.0.12", "172.24.4.50"), ("10.7.0.11", "172.24.4.10"), True, True, True),
        (("10.7.0.12", "172.24.4.51"), ("10.7.0.11", "172.24.4.10"), True, True, False),
        (("10.7.0.12", "10.8.0.1"), ("10.8.0.1", "10.7.0.12"), False, False, True),
    ],
)
def test_a_flow_goes_on_while_its_translation_is_in_force(original, reply, source, target, kept) -> None:
    ends = Ends(*original), Ends(*reply)
    assert router_rules.translation(WHOLE).keeps(*ends, source=source, target=target) is kept


FORWARDED = HostForwarding(
    forwarding_id="w",
    address="172.24.4.60",
    protocol="tcp",
    external=(8000, 8002),
    fixed="10.7.0.11",
    internal=(80, 82),
    port_id="p",
)
FORWARDING = replace(WHOLE, forwarded=(FORWARDED,))


@pytest.mark.parametrize(
    ("protocol", "external", "fixed", "internal", "kept"),
    [
        ("tcp", 8000, "10.7.0.11", 80, True),
        ("tcp", 8002, "10.7.0.11", 82, True),
        ("tcp", 8002, "10.7.0.11", 80, False),
        ("tcp", 8003, "10.7.0.11", 83, False),
        ("tcp", 8000, "10.7.0.12", 80, False),
        ("udp", 8000, "10.7.0.11", 80, False),
        ("", 0, "10.7.0.11", 0, False),
    ],
)
def test_a_forwarded_flow_goes_on_while_its_ports_are_forwarded(protocol, external, fixed, internal, kept) -> None:
    original = Ends("192.0.2.1", "172.24.4.60", protocol, 4000, external)
    reply = Ends(fixed, "192.0.2.1", protocol, internal, 4000)
    assert router_rules.translation(FORWARDING).keeps(original, reply, source=False, target=True) is kept


def test_each_external_port_leads_to_its_own_or_to_the_one() -> None:
    several, one = router_rules.rules(FORWARDING), replace(FORWARDED, protocol="udp", internal=(53, 53))
    assert several["inward_ports"].body == (
        "172.24.4.60 . tcp . 8000 : 10.7.0.11 . 80",
        "172.24.4.60 . tcp . 8001 : 10.7.0.11 . 81",
        "172.24.4.60 . tcp . 8002 : 10.7.0.11 . 82",
    )
    assert several["tcp_pairs"].body[0] == "172.24.4.60 . 8000 . 10.7.0.11 . 80"
    both = router_rules.rules(replace(FORWARDING, forwarded=(FORWARDED, one)))
    assert both["udp_pairs"].body == tuple(f"172.24.4.60 . {port} . 10.7.0.11 . 53" for port in (8000, 8001, 8002))
    assert both["tcp_pairs"] == several["tcp_pairs"]
    assert "172.24.4.60" in both["outer"].body
    changed = ruleset.difference({router_rules.TABLE: several}, {router_rules.TABLE: both})
    flushed = [line.split()[-1] for line in changed.splitlines() if line.startswith("flush")]
    assert flushed == ["judged", "remembered"], "what is there stays while another comes"


def test_a_flow_is_judged_once_and_again_when_other_translations_are_in_force() -> None:
    before, after = router_rules.rules(FORWARDING), router_rules.rules(replace(FORWARDING, floating=()))
    for rules in (before, after):
        remembered = rules["judged"].body[0].removesuffix(" return")
        assert rules["judged"].body == (f"{remembered} return", "goto judged_anew")
        assert rules["remembered"].body == (remembered.replace("ct mark", "ct mark set"),)
        assert rules["passed"].body[0] == "jump judged", "before anything else is accepted"
    assert before["remembered"] != after["remembered"]
    again = router_rules.rules(replace(FORWARDING, floating=tuple(reversed(FORWARDING.floating)), routes=()))
    assert again["remembered"] == before["remembered"]


def test_an_address_with_ports_forwarded_is_on_the_gateway_once() -> None:
    twice = replace(FORWARDING, forwarded=(FORWARDED, replace(FORWARDED, forwarding_id="v", external=(22, 22))))
    plan = routers.within(twice, SEGMENTS, THERE)
    assert plan.lines == ("addr add 172.24.4.60/32 dev qr-bbbbbbbb000",)
    assert plan.announced == (("qr-bbbbbbbb000", "172.24.4.60"),)


def test_guests_do_not_pose_as_an_address_with_ports_forwarded() -> None:
    network = HostNetwork(segments=tuple(SEGMENTS.values()), routers=(replace(FORWARDING, floating=()),))
    items = nftables.rules(network)["bridge", "floe"]
    assert items["held_22222222000"].body == ("172.24.4.10", "172.24.4.60", "172.24.4.1")


def test_outer_addresses_of_which_some_flow_ended_are_told() -> None:
    before, after = router_rules.translation(FORWARDING), router_rules.translation(WHOLE)
    assert before.ended(after) == {"172.24.4.60"}
    assert after.ended(before) == frozenset()
    fewer = router_rules.translation(
        replace(WHOLE, forwarded=(replace(FORWARDED, external=(8000, 8001), internal=(80, 81)),))
    )
    assert before.ended(fewer) == {"172.24.4.60"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"protocol": "icmp"}, "'icmp'"),
        ({"external": (0, 2)}, "ports 0 to 2"),
        ({"external": (65535, 65537)}, "ports 65535 to 65537"),
        ({"internal": (82, 80)}, "ports 82 to 80"),
        ({"internal": (80, 81)}, "one internal port"),
        ({"fixed": "10.9.0.1"}, "10.9.0.1"),
        ({"fixed": "there }; drop"}, "'there }; drop'"),
        ({"address": "here"}, "'here'"),
        ({"address": FLOATING.address}, "lead elsewhere"),
        ({"external": (8002, 8004)}, "lead elsewhere"),
    ],
)
def test_a_port_forwarding_that_cannot_be_is_left_out_and_told(wrong, told) -> None:
    network = HostNetwork(
        segments=tuple(SEGMENTS.values()),
        routers=(replace(FORWARDING, forwarded=(FORWARDED, replace(FORWARDED, forwarding_id="v", **wrong))),),
    )
    sound, problems = sound_part(network)
    assert sound.routers == (FORWARDING,)
    assert told in problems[ROUTER]


def test_what_is_wrong_is_left_out_and_told() -> None:
    bad = replace(
        WHOLE,
        interfaces=(INNER, replace(INNER, port_id="x", mac="y")),
        next_hop="nowhere",
        routes=(*WHOLE.routes, HostRoute(destination="10.0.0.1/8", nexthop="10.7.0.9")),
        floating=(FLOATING, FLOATING, replace(FLOATING, address="172.24.4.51")),
    )
    sound, problems = sound_part(HostNetwork(segments=tuple(SEGMENTS.values()), routers=(bad,)))
    assert sound.routers == (replace(WHOLE, next_hop=None),)
    assert list(problems) == [ROUTER]
    for told in ("'y'", "'nowhere'", "'10.0.0.1/8'", "172.24.4.50 of 10.7.0.11 is there twice", "172.24.4.51"):
        assert told in problems[ROUTER]


def test_a_leg_on_a_network_that_cannot_be_made_is_left_out() -> None:
    narrow = replace(SEGMENTS[NETWORKS[1]], mtu=20)
    sound, problems = sound_part(HostNetwork(segments=(SEGMENTS[NETWORKS[0]], narrow), routers=(WHOLE,)))
    [router] = sound.routers
    assert (router.interfaces, router.gateway) == ((INNER,), None)
    assert set(problems) == {NETWORKS[1], ROUTER}


PUBLIC = replace(SEGMENTS[NETWORKS[1]], physical="public")
OUTSIDE = HostNetwork(segments=(SEGMENTS[NETWORKS[0]], PUBLIC))


def physically(leading: dict[str, str], devices: dict[str, Device]) -> tuple[LinkPlan, dict[str, str]]:
    made = LinkPlan()
    found, problems = physical.joins(OUTSIDE, leading, devices)
    physical.join(made, OUTSIDE, found, devices)
    return made, problems


def test_a_bridge_of_the_host_is_joined_by_a_pair_that_keeps_its_mtu() -> None:
    made, problems = physically({"public": "br0"}, {"br0": Device(name="br0", kind="bridge", mtu=9000)})
    assert problems == {}
    assert texts(made.before) == [
        "link add name fph22222222000 mtu 1400 type veth peer name fpx22222222000 mtu 9000",
        f"link set dev fph22222222000 alias floe:{NETWORKS[1]} addrgenmode none",
        f"link set dev fpx22222222000 alias floe:{NETWORKS[1]} addrgenmode none",
    ]
    assert texts(made.after) == [
        "link set dev fph22222222000 master fbr22222222000",
        "link set dev fph22222222000 up",
        "link set dev fpx22222222000 master br0",
        "link set dev fpx22222222000 up",
    ]


def test_an_interface_is_put_into_the_bridge_and_another_that_was_there_let_go() -> None:
    devices = {
        "eth1": Device(name="eth1", up=True),
        "eth2": Device(name="eth2", up=True, master="fbr22222222000"),
        "eth3": Device(name="eth3", up=True, master="fbr11111111000"),
    }
    devices |= {name: Device(name=name, kind="bridge") for name in ("fbr11111111000", "fbr22222222000")}
    made, problems = physically({"public": "eth1"}, devices)
    assert problems == {}
    assert texts(made.before) == ["link set dev eth2 nomaster"]
    assert texts(made.after) == ["link set dev eth1 master fbr22222222000"]


def test_a_name_that_the_host_does_not_have_joins_nothing() -> None:
    made, problems = physically({"other": "eth1"}, {"eth1": Device(name="eth1")})
    assert (made.before, made.after, problems) == ([], [], {})
