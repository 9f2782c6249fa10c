"""What is made and removed, given what is there."""

from __future__ import annotations

from msgspec.structs import replace

from floe.core.host_network import HostAddress, HostNetwork, HostPort, HostSegment, HostSubnet
from floe.dataplane.linux import links, names
from floe.dataplane.linux.links import Device

NETWORK = "11111111-0000-4000-8000-000000000000"
BRIDGE, OUTER, INNER = "fbr11111111000", "fdh11111111000", "fdhcp-11111111000"
SUBNET = HostSubnet(subnet_id="s", cidr="10.7.0.0/24", dhcp_address="10.7.0.2")
SEGMENT = HostSegment(network_id=NETWORK, name="n", tag=1, mtu=1400, subnets=(SUBNET,))
PORT = HostPort(
    port_id="p",
    network_id=NETWORK,
    server_id="v",
    mac="fa:16:3e:00:00:01",
    tap="tap1",
    addresses=(HostAddress(subnet_id="s", address="10.7.0.11"),),
)
WANTED = HostNetwork(segments=(SEGMENT,), ports=(PORT,))
THERE = {
    "lo": Device(name="lo", up=True),
    BRIDGE: Device(name=BRIDGE, kind="bridge", mtu=1400, up=True, alias=f"floe:{NETWORK}", filtered=True),
    OUTER: Device(name=OUTER, kind="veth", master=BRIDGE, mtu=1400, up=True, alias=f"floe:{NETWORK}"),
    "tap1": Device(name="tap1", kind="tun", master=BRIDGE, mtu=1400, up=True, alias="floe:p"),
}
SPACES = frozenset({INNER, "other"})


def texts(lines: list[links.Line]) -> list[str]:
    return [line.text for line in lines]


def test_from_nothing_all_is_made_and_attached_last():
    made = links.plan(WANTED, {}, frozenset())
    assert texts(made.before) == [
        f"link add name {BRIDGE} type bridge forward_delay 0 mcast_snooping 0",
        f"link set dev {BRIDGE} alias floe:{NETWORK}",
        f"link set dev {BRIDGE} addrgenmode none mtu 1400",
        f"link set dev {BRIDGE} up",
        f"netns add {INNER}",
        f"link add name {OUTER} mtu 1400 type veth peer name dh0 mtu 1400 netns {INNER}",
        f"link set dev {OUTER} alias floe:{NETWORK} addrgenmode none",
        f"netns exec {INNER} ip link set dev lo up",
        f"netns exec {INNER} ip link set dev dh0 addrgenmode none up",
        "tuntap add dev tap1 mode tap",
        "link set dev tap1 alias floe:p",
        "link set dev tap1 addrgenmode none mtu 1400",
        f"link set dev {BRIDGE} type bridge nf_call_iptables 1",
    ]
    assert texts(made.after) == [
        f"link set dev {OUTER} master {BRIDGE}",
        f"link set dev {OUTER} up",
        f"link set dev tap1 master {BRIDGE}",
        "link set dev tap1 up",
    ]
    assert made.renewed == [NETWORK]


def test_where_all_is_there_nothing_is_done():
    made = links.plan(WANTED, THERE, SPACES)
    assert (made.before, made.after, made.problems, made.renewed) == ([], [], {}, [])


def test_what_is_not_wanted_goes_and_what_is_foreign_stays():
    foreign = {
        "tap9": Device(name="tap9", kind="tun"),
        "fbr": Device(name="fbr", kind="bridge"),
        "br0": Device(name="br0", kind="bridge", alias="mine"),
    }
    made = links.plan(HostNetwork(), THERE | foreign, SPACES | {"fdhcp-theirs"})
    assert texts(made.before) == [
        f"link del dev {BRIDGE}",
        f"link del dev {OUTER}",
        "link del dev tap1",
        f"netns del {INNER}",
    ]
    assert [line.owner for line in made.before[:3]] == [NETWORK, NETWORK, "p"]


def test_a_bridge_without_its_alias_is_known_by_its_name():
    """The process may have died between the two."""
    orphan = {BRIDGE: replace(THERE[BRIDGE], alias="")}
    assert texts(links.plan(HostNetwork(), orphan, frozenset()).before) == [f"link del dev {BRIDGE}"]


def test_a_device_that_is_there_for_a_tap_is_taken():
    found = THERE | {"tap1": Device(name="tap1", kind="veth", mtu=1500)}
    made = links.plan(WANTED, found, SPACES)
    assert texts(made.before) == ["link set dev tap1 alias floe:p", "link set dev tap1 addrgenmode none mtu 1400"]
    assert texts(made.after) == [f"link set dev tap1 master {BRIDGE}", "link set dev tap1 up"]


def test_a_port_joins_no_bridge_whose_packets_are_not_filtered():
    found = THERE | {BRIDGE: replace(THERE[BRIDGE], filtered=False)}
    found["tap1"] = replace(found["tap1"], master="")
    made = links.plan(WANTED, found, SPACES)
    [line] = made.before
    assert (line.owner, line.text) == ("p", f"link set dev {BRIDGE} type bridge nf_call_iptables 1")
    assert [line.owner for line in made.after] == ["p"], "what comes after is left out where an owner's line failed"


def test_where_the_last_port_went_packets_are_filtered_no_more_once_it_is_gone():
    made = links.plan(replace(WANTED, ports=()), THERE, SPACES)
    assert texts(made.before) == ["link del dev tap1"]
    assert texts(made.after) == [f"link set dev {BRIDGE} type bridge nf_call_iptables 0"]


def test_a_device_on_somebody_elses_bridge_is_refused():
    found = THERE | {"tap1": Device(name="tap1", kind="tun", master="br0")}
    made = links.plan(WANTED, found, SPACES)
    assert (made.before, made.after) == ([], [])
    assert "br0" in made.problems["p"]


def test_a_namespace_without_its_device_is_made_anew():
    found = {name: device for name, device in THERE.items() if name != OUTER}
    made = links.plan(WANTED, found, SPACES)
    assert texts(made.before)[:2] == [f"netns del {INNER}", f"netns add {INNER}"]
    assert made.renewed == [NETWORK]


def test_a_new_mtu_reaches_every_device():
    wanted = replace(WANTED, segments=(replace(SEGMENT, mtu=9000),))
    assert texts(links.plan(wanted, THERE, SPACES).before) == [
        f"link set dev {BRIDGE} mtu 9000",
        f"link set dev {OUTER} mtu 9000",
        f"netns exec {INNER} ip link set dev dh0 mtu 9000",
        "link set dev tap1 mtu 9000",
    ]


def test_a_segment_without_dhcp_has_no_namespace():
    bare = replace(WANTED, segments=(replace(SEGMENT, subnets=(replace(SUBNET, dhcp=False),)),))
    made = links.plan(bare, THERE, SPACES)
    assert texts(made.before) == [f"link del dev {OUTER}", f"netns del {INNER}"]


def test_inner_addresses_are_compared():
    found = frozenset({"169.254.169.254/32", "10.7.0.3/24"})
    assert texts(links.addresses(SEGMENT, found)) == [
        f"netns exec {INNER} ip addr del 10.7.0.3/24 dev dh0",
        f"netns exec {INNER} ip addr add 10.7.0.2/24 dev dh0",
    ]


def test_names_fit_the_kernel_and_depend_on_the_id_alone():
    for ident in (NETWORK, NETWORK.upper(), "any text; rm -rf /", ""):
        for name in (names.bridge_name(ident), names.dhcp_device(ident)):
            assert len(name) <= 15
            assert names.owns_device(name, "")
        assert names.owns_namespace(names.namespace_name(ident))
    assert names.bridge_name(NETWORK.upper()) == names.bridge_name(NETWORK) == BRIDGE


def test_a_tap_for_several_queues_is_made_anew_as_one_unless_a_guest_has_it():
    wanted = replace(WANTED, queued=frozenset({"p"}))
    assert "tuntap add dev tap1 mode tap multi_queue" in texts(links.plan(wanted, {}, frozenset()).before)
    remade = texts(links.plan(wanted, THERE, SPACES).before)
    assert remade[:2] == ["link del dev tap1", "tuntap add dev tap1 mode tap multi_queue"]
    for device, network in (
        (replace(THERE["tap1"], held=True), wanted),
        (replace(THERE["tap1"], queued=True), wanted),
        (replace(THERE["tap1"], queued=True, held=True), WANTED),
    ):
        made = links.plan(network, {**THERE, "tap1": device}, SPACES)
        assert (made.before, made.after, made.problems) == ([], [], {})
