"""What is left, found, mended and removed of routers and of what leads outside, on a real (private) host network."""

from __future__ import annotations

import json
import subprocess

import pytest
from msgspec.structs import replace

from floe.core.host_network import HostFloating, HostNetwork, HostRoute, RouterLeg
from floe.dataplane.linux import kernel, ruleset
from floe.dataplane.linux.names import (
    bridge_name,
    inner_leg,
    leg_device,
    physical_device,
    router_namespace,
    their_device,
)
from floe.dataplane.linux.plane import LinuxPlane
from floe.dataplane.linux.router_rules import TABLE, rules
from floe.dataplane.protocol import PortsFailure

from .conftest import LEADING, floating, forwarding, ident
from .test_linux_plane import links, printed
from .test_routers import FLOATING, MACHINE, OTHER, PORT, datagrams, heard, own, ping, place, sees

pytestmark = pytest.mark.e2e

ROUTER = ident(0x90, 1)
FIRST, GATEWAY = ident(0xA1, 1), ident(0xA1, 3)
SPACE = router_namespace(ROUTER)


def all_there() -> tuple[object, ...]:
    return links(), printed("ip", "netns"), printed("nft", "list", "ruleset")


def inside() -> str:
    """Return all there is in the router's namespace, less what changes by itself."""
    shown = [
        {key: value for key, value in link.items() if key not in ("ifindex", "link_index", "operstate", "flags")}
        for link in json.loads(printed("ip", "-n", SPACE, "-j", "addr"))
    ]
    addresses = sorted((link["ifname"], link["mtu"], link.get("address", ""), *_addresses(link)) for link in shown)
    routes = sorted(printed("ip", "-n", SPACE, "route").replace(" linkdown", "").splitlines())
    return "\n".join([str(addresses), *routes, printed("ip", "netns", "exec", SPACE, "nft", "list", "ruleset")])


def _addresses(link: dict) -> list[str]:
    return sorted(each["local"] for each in link["addr_info"])


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "netns", "del", SPACE],
        ["ip", "link", "del", leg_device(FIRST)],
        ["ip", "link", "set", leg_device(FIRST), "nomaster"],
        ["ip", "link", "set", leg_device(FIRST), "down"],
        ["ip", "link", "set", leg_device(FIRST), "mtu", "1000"],
        ["ip", "-n", SPACE, "link", "del", inner_leg(GATEWAY)],
        ["ip", "-n", SPACE, "link", "set", inner_leg(FIRST), "down"],
        ["ip", "-n", SPACE, "link", "set", inner_leg(FIRST), "mtu", "1000"],
        ["ip", "-n", SPACE, "link", "set", inner_leg(FIRST), "address", "fa:16:3e:00:00:99"],
        ["ip", "-n", SPACE, "link", "set", inner_leg(GATEWAY), "name", "renamed"],
        ["ip", "-n", SPACE, "addr", "flush", "dev", inner_leg(GATEWAY)],
        ["ip", "-n", SPACE, "addr", "del", "169.254.169.254/32", "dev", "lo"],
        ["ip", "-n", SPACE, "addr", "add", "10.7.0.77/24", "dev", inner_leg(FIRST)],
        ["ip", "-n", SPACE, "route", "del", "default"],
        ["ip", "-n", SPACE, "route", "replace", "default", "via", "172.24.4.9"],
        ["ip", "-n", SPACE, "route", "add", "192.0.2.0/24", "via", "10.7.0.9"],
        ["ip", "netns", "exec", SPACE, "nft", "flush", "ruleset"],
        *(
            ["ip", "netns", "exec", SPACE, "nft", "flush", kind, "ip", "floe", name]
            for kind, name in (("map", "inward"), ("map", "inward_ports"), ("set", "tcp_pairs"), ("chain", "aimed"))
        ),
        ["ip", "netns", "exec", SPACE, "nft", "insert", "rule", "ip", "floe", "passed", "accept"],
        ["ip", "netns", "exec", SPACE, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"],
        ["ip", "netns", "exec", SPACE, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter"],
        ["ip", "link", "del", physical_device("00400003-0000-4000-8000-000000000000")],
        ["ip", "link", "set", their_device("00400003-0000-4000-8000-000000000000"), "nomaster"],
        ["nft", "flush", "ruleset"],
    ],
    ids=" ".join,
)
async def test_what_is_changed_behind_its_back_is_drift_until_it_is_mended(town, damage):
    a = town.guest(11)
    await town.apply(
        floating=(floating(FLOATING, a),),
        forwarded=(forwarding(OTHER, a, (2220, 2222), 22),),
        routes=(HostRoute(destination="10.50.0.0/16", nexthop="10.7.0.50"),),
    )
    before, rules = inside(), printed("nft", "list", "ruleset")
    assert await town.plane.drift(town.world.network) == []
    subprocess.run(damage, check=True)
    assert await town.plane.drift(town.world.network) != []
    await town.apply()
    assert await town.plane.drift(town.world.network) == []
    assert (inside(), printed("nft", "list", "ruleset")) == (before, rules)
    await ping(town.guests, town.outside, FLOATING)
    assert await sees(town.guests, place(a), town.outside, MACHINE) == FLOATING


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "netns", "del", SPACE],
        ["ip", "link", "del", leg_device(FIRST)],
        ["ip", "netns", "exec", SPACE, "nft", "flush", "ruleset"],
        ["nft", "flush", "ruleset"],
    ],
    ids=" ".join,
)
async def test_a_change_of_a_router_mends_what_it_needs(town, damage):
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    subprocess.run(damage, check=True)
    await town.apply(floating=(floating(OTHER, a),))
    assert await town.plane.drift(town.world.network) == []
    await ping(town.guests, town.outside, OTHER)


async def test_a_change_of_a_routers_addresses_leaves_alone_what_is_not_inside_of_it(town):
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    subprocess.run(["ip", "link", "set", leg_device(FIRST), "mtu", "1000"], check=True)
    await town.apply(floating=(floating(OTHER, a),))
    assert await town.plane.drift(town.world.network) != []
    await town.apply()
    assert await town.plane.drift(town.world.network) == []


async def test_nothing_is_left_of_a_router_that_is_removed(town):
    a, b = town.guest(11), town.guest(21, town.second)
    whole = town.world.changed(town.router, floating=(floating(FLOATING, a), floating(OTHER, b)))
    without = replace(whole, routers=(), segments=(town.first, town.second))
    await town.plane.apply(without)
    before = all_there()
    await town.plane.apply(whole)
    assert all_there() != before
    await town.plane.apply(without)
    assert all_there() == before


async def test_a_leg_goes_and_another_comes_and_the_rest_stays(town):
    a, b = town.guest(11), town.guest(21, town.second)
    await town.apply()
    await ping(town.guests, place(a), own(b))
    stays = kernel.devices()[leg_device(FIRST)], printed("ip", "-n", SPACE, "-o", "link", "show", inner_leg(FIRST))
    interfaces = town.router.interfaces
    await town.apply(interfaces=interfaces[:1])
    assert leg_device(interfaces[1].port_id) not in kernel.devices()
    assert (
        kernel.devices()[leg_device(FIRST)],
        printed("ip", "-n", SPACE, "-o", "link", "show", inner_leg(FIRST)),
    ) == stays
    await town.apply(interfaces=interfaces)
    await ping(town.guests, place(a), own(b))
    await town.apply(interfaces=interfaces, gateway=None, next_hop=None)
    assert "default" not in printed("ip", "-n", SPACE, "route")
    assert await town.plane.drift(town.world.network) == []


async def test_an_interface_takes_another_address_mac_and_mtu(town):
    a = town.guest(11)
    await town.apply(routes=(HostRoute(destination="10.50.0.0/16", nexthop="10.7.0.50"),))
    first, second = town.router.interfaces
    other = replace(first, addresses=("10.7.0.254/24", "10.7.0.253/24"), mac="fa:16:3e:aa:bb:cc")
    wide = replace(town.first, mtu=1300)
    segments = tuple(wide if each.network_id == wide.network_id else each for each in town.world.network.segments)
    town.world.network = replace(town.world.network, segments=segments)
    await town.apply(interfaces=(other, second))
    assert await town.plane.drift(town.world.network) == []
    shown = printed("ip", "-n", SPACE, "addr", "show", "dev", inner_leg(FIRST))
    assert "10.7.0.1/" not in shown
    assert "mtu 1300" in shown
    await town.guests.run(place(a), "ip", "route", "replace", "default", "via", "10.7.0.254")
    await ping(town.guests, place(a), MACHINE)
    await town.apply(interfaces=(replace(other, addresses=("10.7.0.253/24",)), second))
    assert await town.plane.drift(town.world.network) == []


async def test_a_new_process_finds_all_in_place(town, tmp_path):
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    before, found = links(), inside()
    again = LinuxPlane(tmp_path, LEADING)
    await again.open()
    await again.apply(town.world.network)
    assert (links(), inside()) == (before, found)
    assert await again.metadata_addresses() == await town.plane.metadata_addresses()
    await again.close()


async def test_all_of_it_can_be_removed_also_by_another_process(town, tmp_path):
    a = town.guest(11)
    before = {name for name in kernel.devices() if not name.startswith("tap")}
    await town.apply(floating=(floating(FLOATING, a),))
    again = LinuxPlane(tmp_path)
    await again.remove_all()
    assert kernel.devices().keys() - {a.tap} == before
    assert SPACE not in kernel.namespaces()
    assert printed("nft", "list", "ruleset") == ""
    town.world.network = HostNetwork()


async def test_an_interface_of_the_host_leads_outside_and_is_let_go_again(town, tmp_path):
    subprocess.run(["ip", "link", "set", "beyond", "nomaster"], check=True)
    direct = LinuxPlane(tmp_path, {"public": "beyond"})
    await direct.open()
    a = town.guest(11)
    network = town.world.changed(town.router, floating=(floating(FLOATING, a),))
    await direct.apply(network)
    assert kernel.devices()["beyond"].master == bridge_name(town.public.network_id)
    assert await direct.drift(network) == []
    await ping(town.guests, town.outside, FLOATING)
    await direct.close()
    without = LinuxPlane(tmp_path)
    await without.open()
    await without.apply(network)
    device = kernel.devices()["beyond"]
    assert (device.master, device.up, device.alias) == ("", True, "")
    assert await without.drift(network) == []
    await without.close()


@pytest.mark.parametrize(
    ("leading", "told"),
    [("nothere", "not on this host"), ("member", "part of brpublic"), (bridge_name(ident(0x40, 1)), "Floe made")],
)
async def test_what_cannot_lead_outside_is_told_and_the_rest_works(town, tmp_path, leading, told):
    subprocess.run(["ip", "link", "add", "member", "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "del", "member"], check=True)
    subprocess.run(["ip", "tuntap", "add", "dev", "member", "mode", "tap"], check=True)
    subprocess.run(["ip", "link", "set", "member", "master", LEADING["public"]], check=True)
    a, b = town.guest(11), town.guest(21, town.second)
    await town.plane.apply(town.world.network)
    wrong = LinuxPlane(tmp_path, {"public": leading})
    await wrong.open()
    with pytest.raises(PortsFailure, match=told) as caught:
        await wrong.apply(town.world.network)
    assert (set(caught.value.networks), set(caught.value.ports)) == ({town.public.network_id}, set())
    await ping(town.guests, place(a), own(b))
    await wrong.close()


BAD = {
    "router id": {"router_id": "../x"},
    "leg id": {"leg": {"port_id": "a b"}},
    "mac": {"leg": {"mac": "not a mac"}},
    "multicast mac": {"leg": {"mac": "01:00:5e:00:00:01"}},
    "address": {"leg": {"addresses": ("10.8.0.1",)}},
    "address text": {"leg": {"addresses": ("10.8.0.1/24; link del x",)}},
    "loopback": {"leg": {"addresses": ("127.0.0.1/8",)}},
    "unknown network": {"leg": {"network_id": "elsewhere"}},
    "port twice": {"leg": {"port_id": ident(0xA1, 1)}},
    "next hop": {"next_hop": "nowhere"},
    "route target": {"routes": (HostRoute(destination="10.0.0.0/8\nlink del x", nexthop="10.7.0.9"),)},
    "route host bits": {"routes": (HostRoute(destination="10.0.0.1/8", nexthop="10.7.0.9"),)},
    "route hop": {"routes": (HostRoute(destination="10.50.0.0/16", nexthop="192.0.2.1"),)},
    "floating": {"floating": (HostFloating(floating_id="f", address="x", fixed="10.7.0.11", port_id="p"),)},
    "fixed": {"floating": (HostFloating(floating_id="f", address=OTHER, fixed="192.0.2.1", port_id="p"),)},
}


@pytest.mark.parametrize("what", BAD)
async def test_what_is_wrong_with_a_router_is_its_own_problem(town, what):
    a, b = town.guest(11), town.guest(12)
    values = dict(BAD[what])
    bad_leg = values.pop("leg", None)
    leg = RouterLeg(port_id=ident(0xB0, 1), network_id=town.second.network_id, mac="fa:16:3e:bb:00:01")
    bad = replace(
        town.router,
        **{
            "router_id": ident(0x90, 7),
            "interfaces": (replace(leg, addresses=("10.8.0.7/24",)),)
            if bad_leg is None
            else (replace(leg, **bad_leg),),
            "gateway": None,
            "next_hop": None,
            **values,
        },
    )
    town.world.network = replace(town.world.network, routers=(town.router, bad))
    town.world.changed(town.router, floating=(floating(FLOATING, a),))
    with pytest.raises(PortsFailure) as caught:
        await town.plane.apply(town.world.network)
    assert (set(caught.value.routers), caught.value.ports, caught.value.networks) == ({bad.router_id}, {}, {})
    await ping(town.guests, town.outside, FLOATING)
    await ping(town.guests, place(b), MACHINE)


async def test_routes_to_a_routers_own_networks_break_nothing(town):
    """Neither while they are there, nor when they go."""
    a, b = town.guest(11), town.guest(21, town.second)
    clashing = (("10.8.0.0/24", "10.7.0.200"), ("10.7.0.200/32", "10.8.0.9"), ("10.9.0.0/24", "10.7.0.200"))
    await town.apply(routes=tuple(HostRoute(destination=target, nexthop=hop) for target, hop in clashing))
    await ping(town.guests, place(a), own(b))
    assert await town.plane.drift(town.world.network) == []
    await town.apply(routes=())
    await ping(town.guests, place(a), own(b))


async def test_rules_of_other_translations_stop_a_flow_that_was_judged_by_themselves(town):
    """Its entry in connection tracking goes too, but that takes a moment, and may fail."""
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    await ping(town.guests, town.outside, FLOATING)
    [router] = town.world.network.routers
    led, gone = ({TABLE: rules(each)} for each in (router, replace(router, floating=())))
    with await datagrams(town.guests, place(a)) as guest, await datagrams(town.guests, town.outside) as machine:
        for before, now, text in ((led, led, b"one"), (led, led, b"two"), (led, gone, b"gone"), (gone, led, b"back")):
            if script := ruleset.difference(before, now):
                subprocess.run(["ip", "netns", "exec", SPACE, "nft", "-f", "-"], input=script, text=True, check=True)
            machine.sendto(text, (FLOATING, PORT))
            if now is led:
                assert await heard(guest, text) == []
