"""The rules of a host, read as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.core.host_network import (
    GroupRule,
    HostAddress,
    HostGroup,
    HostNetwork,
    HostPort,
    HostSegment,
    HostSubnet,
)
from floe.dataplane.linux import nftables

GOLDENS = Path(__file__).parent / "goldens"
SUBNET = HostSubnet(subnet_id="s", cidr="10.7.0.0/24", gateway="10.7.0.1", dhcp_address="10.7.0.2")
SEGMENT = HostSegment(network_id="11111111-0000-4000-8000-000000000000", name="n", tag=100, subnets=(SUBNET,))
REMOVAL = ["table bridge floe", "delete table bridge floe", "table inet floe", "delete table inet floe"]
GROUP = "33333333-0000-4000-8000-000000000000"


def port(number: int, **values: object) -> HostPort:
    made = HostPort(
        port_id=f"2222222{number}-0000-4000-8000-000000000000",
        network_id=SEGMENT.network_id,
        server_id="v",
        mac=f"fa:16:3e:00:00:0{number}",
        tap=f"tap{number}",
        addresses=(HostAddress(subnet_id="s", address=f"10.7.0.1{number}"),),
        groups=(GROUP,),
    )
    return replace(made, **values)  # type: ignore[arg-type]


def network(*ports: HostPort, rules: tuple[GroupRule, ...] = (), members: tuple[str, ...] = ()) -> HostNetwork:
    group = HostGroup(group_id=GROUP, rules=rules, remote_members=members)
    return HostNetwork(generation=1, segments=(SEGMENT,), ports=ports, groups=(group,))


def chain(text: str, name: str) -> list[str]:
    """Return the rules of a chain."""
    found = re.search(rf"chain {name} {{\n(.*?)  }}", text, re.DOTALL)
    assert found, f"no chain {name} in {text}"
    return [line.strip() for line in found.group(1).splitlines()]


def rules_of(*rules: GroupRule) -> list[str]:
    """Return what ingress rules come to."""
    return chain(nftables.ruleset(network(port(1), rules=rules)), "in_sg_3333333300004000")


def test_the_whole_of_a_host_is_as_recorded():
    rules = (
        GroupRule(direction="egress"),
        GroupRule(direction="egress", ethertype="IPv6"),
        GroupRule(direction="ingress", remote_group=GROUP),
        GroupRule(direction="ingress", protocol="tcp", port_min=22, port_max=22, remote_cidr="192.0.2.0/24"),
        GroupRule(direction="ingress", protocol="icmp", port_min=8, port_max=0),
    )
    pairs = (("10.7.0.64/28", "00:00:5e:00:01:01"),)
    whole = network(
        port(1),
        port(2, allowed_pairs=pairs),
        port(3, up=False),
        port(4, port_security=False, groups=()),
        rules=rules,
        members=("10.7.0.200",),
    )
    assert nftables.ruleset(whole) == (GOLDENS / "host.nft").read_text()


def test_a_host_without_networks_has_no_tables():
    text = nftables.ruleset(HostNetwork())
    assert text.split("\n")[:4] == REMOVAL
    assert text.strip().count("\n") == 3


def test_old_rules_go_in_the_same_transaction():
    assert nftables.ruleset(network(port(1))).split("\n")[:4] == REMOVAL


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (GroupRule(direction="ingress"), "meta nfproto ipv4 accept"),
        (GroupRule(direction="ingress", protocol="any"), "meta nfproto ipv4 accept"),
        (GroupRule(direction="ingress", protocol="0"), "meta nfproto ipv4 accept"),
        (GroupRule(direction="ingress", remote_cidr="0.0.0.0/0"), "meta nfproto ipv4 accept"),
        (GroupRule(direction="ingress", remote_cidr="10.1.2.3/8"), "ip saddr 10.0.0.0/8 accept"),
        (GroupRule(direction="ingress", remote_cidr="10.1.2.3/32"), "ip saddr 10.1.2.3 accept"),
        (GroupRule(direction="ingress", remote_group=GROUP), "ip saddr @sg_3333333300004000 accept"),
        (GroupRule(direction="ingress", protocol="tcp"), "meta nfproto ipv4 ip protocol 6 accept"),
        (
            GroupRule(direction="ingress", protocol="TCP", port_min=1, port_max=9),
            "meta nfproto ipv4 tcp dport 1-9 accept",
        ),
        (
            GroupRule(direction="ingress", protocol="17", port_min=53),
            "meta nfproto ipv4 udp dport 53 accept",
        ),
        (GroupRule(direction="ingress", protocol="icmp", port_min=3), "meta nfproto ipv4 icmp type 3 accept"),
        (
            GroupRule(direction="ingress", protocol="1", port_min=3, port_max=4),
            "meta nfproto ipv4 icmp type 3 icmp code 4 accept",
        ),
        (GroupRule(direction="ingress", protocol="vrrp"), "meta nfproto ipv4 ip protocol 112 accept"),
    ],
)
def test_a_rule_comes_to_one_line(rule, text):
    assert rules_of(rule) == [text]


@pytest.mark.parametrize(
    "rule",
    [
        GroupRule(direction="ingress", ethertype="IPv6"),
        GroupRule(direction="ingress", remote_cidr="2001:db8::/32"),
        GroupRule(direction="ingress", remote_cidr="} flush ruleset"),
        GroupRule(direction="ingress", protocol="tcp accept }"),
        GroupRule(direction="ingress", protocol="256"),
        GroupRule(direction="ingress", protocol="²"),
    ],
)
def test_a_rule_that_cannot_match_ipv4_admits_nothing(rule):
    assert rules_of(rule) == []


def test_equal_rules_are_one():
    assert len(rules_of(GroupRule(direction="ingress"), GroupRule(direction="ingress", protocol="any"))) == 1


def test_members_of_a_group_are_here_and_elsewhere_with_their_pairs():
    rules = (GroupRule(direction="ingress", remote_group=GROUP),)
    pairs = (("10.9.0.0/24", "fa:16:3e:00:00:01"),)
    text = nftables.ruleset(network(port(1, allowed_pairs=pairs), rules=rules, members=("10.7.0.99", "10.9.0.7")))
    assert "elements = { 10.9.0.0/24, 10.7.0.11, 10.7.0.99 };" in text


def test_a_group_without_members_matches_nothing():
    other = "44444444-0000-4000-8000-000000000000"
    text = nftables.ruleset(network(port(1), rules=(GroupRule(direction="ingress", remote_group=other),)))
    assert "set sg_4444444400004000 {\n    type ipv4_addr;\n    flags interval;\n  }" in text


def test_a_port_without_groups_has_dhcp_and_metadata_alone():
    text = nftables.ruleset(network(port(1, groups=())))
    assert chain(text, "in_2222222100004000") == [
        "ip saddr { 10.7.0.2 } udp sport 67 udp dport 68 accept",
        "drop",
    ]
    assert chain(text, "out_2222222100004000") == [
        "ip daddr { 255.255.255.255, 10.7.0.2 } udp sport 68 udp dport 67 accept",
        "ip daddr 169.254.169.254 tcp dport 80 accept",
        "drop",
    ]


PORT_1 = "2222222100004000"


def test_a_port_without_port_security_is_not_judged():
    text = nftables.ruleset(network(port(1, port_security=False)))
    source = nftables.rules(network(port(1, port_security=False)))[nftables.BRIDGE][f"src_{PORT_1}"]
    assert source.body == ("meta mark set 0x22222221", "jump kept_11111111000"), "it is counted, and is no server"
    assert "meta mark { 0, 0x22222221 } return" in text
    assert "in_2222" not in text
    assert 'elements = { "tap1", "fdh11111111000" };' in text  # but it is kept apart from the host


def test_marks_stay_as_ports_come_and_go():
    some, more = nftables.port_marks([port(1), port(2)]), nftables.port_marks([port(1), port(2), port(3)])
    assert some.items() <= more.items()
    assert 0 not in more.values()


def test_marks_of_ports_whose_ids_begin_alike_differ():
    twins = [port(1, port_id=f"00000000-0000-4000-8000-00000000000{number}") for number in range(3)]
    assert sorted(nftables.port_marks(twins).values()) == [1, 2, 3]


@pytest.mark.parametrize(("tag", "zone"), [(1, 1), (65535, 65535), (65536, 1), (16777215, 16777215 % 65535)])
def test_a_zone_fits_sixteen_bits(tag, zone):
    assert nftables.zone(replace(SEGMENT, tag=tag)) == (zone or 65535)
