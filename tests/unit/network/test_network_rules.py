"""The pure rules of networks, subnets, ports and groups."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.core import addresses, networks, ports, security_groups, subnets
from floe.core.clock import FixedClock
from floe.core.errors import Conflict, Invalid
from floe.core.security_groups import PluggedRule, Rule

NOW = FixedClock().now()


def test_the_gateway_may_stand_amid_the_subnet() -> None:
    plan = subnets.new_subnet({"cidr": "192.0.2.0/29", "gateway": "192.0.2.4"})
    assert [(addresses.text_of(a), addresses.text_of(b)) for a, b in plan.pools] == [
        ("192.0.2.1", "192.0.2.3"),
        ("192.0.2.5", "192.0.2.6"),
    ]


def test_no_gateway_leaves_all_hosts() -> None:
    plan = subnets.new_subnet({"cidr": "192.0.2.0/29", "gateway": None})
    assert plan.gateway is None
    assert [(addresses.text_of(a), addresses.text_of(b)) for a, b in plan.pools] == [("192.0.2.1", "192.0.2.6")]


def test_a_pool_over_the_gateway_nobody_named_is_refused() -> None:
    with pytest.raises(Conflict, match=r"192\.0\.2\.1"):
        subnets.new_subnet({"cidr": "192.0.2.0/29", "pools": [("192.0.2.1", "192.0.2.3")]})


def test_a_point_to_point_subnet_has_two_hosts() -> None:
    plan = subnets.new_subnet({"cidr": "192.0.2.0/31", "gateway": None, "dhcp": False})
    assert [(addresses.text_of(a), addresses.text_of(b)) for a, b in plan.pools] == [("192.0.2.0", "192.0.2.1")]


@pytest.mark.parametrize("servers", [["1.1.1.1", "1.1.1.1"], ["1.1.1.1"] * 6, ["::1"], ["dns.example"]])
def test_senseless_name_servers_are_refused(servers: list[str]) -> None:
    with pytest.raises(Invalid, match="dns_nameservers"):
        subnets.read_nameservers(servers)


def test_a_new_gateway_must_not_lie_in_a_pool() -> None:
    subnet = subnets.Subnet(
        id="s", network_id="n", project_id="p", cidr="192.0.2.0/24", gateway="192.0.2.1",
        pools=((addresses.number_of("192.0.2.2"), addresses.number_of("192.0.2.254")),), created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    with pytest.raises(Conflict, match=r"192\.0\.2\.9"):
        subnets.changed_subnet(subnet, {"gateway": "192.0.2.9"})
    changes = subnets.changed_subnet(subnet, {"gateway": "192.0.2.9", "pools": [("192.0.2.10", "192.0.2.20")]})
    assert changes["gateway"] == "192.0.2.9"
    assert subnets.changed_subnet(subnet, {"gateway": None}) == {"gateway": None}


def test_macs_are_unicast_and_ours() -> None:
    for text in ("FA-16-3E-AA-BB-CC", "fa16.3eaa.bbcc", "FA163EAABBCC", "fa163e:aabbcc"):
        assert addresses.mac_of(text) == "fa:16:3e:aa:bb:cc"
    assert addresses.mac_of("fa:16:3e:0:b:c") == "fa:16:3e:00:0b:0c"
    for text in (
        "fa:16-3e:aa:bb:cc",
        " fa:16:3e:aa:bb:cc",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "fa:16:3e:aa:bb",
        "fa:16:3e:aa:bb:cc\nx",
    ):
        with pytest.raises(Invalid):
            addresses.mac_of(text)
    first, second = addresses.mac_for("port"), addresses.mac_for("port", 1)
    assert first != second
    assert addresses.mac_of(first) == first == addresses.mac_for("port")


def test_tap_names_fit_the_kernel() -> None:
    assert ports.tap_name("0f0e0d0c-1111-4111-8111-111111111111") == "tap0f0e0d0c-11"
    assert len(ports.tap_name("0f0e0d0c-1111-4111-8111-111111111111")) <= 15


def test_mtu_zero_means_the_largest() -> None:
    assert networks.checked_mtu(0, 1450) == networks.checked_mtu(None, 1450) == 1450
    assert networks.checked_mtu(68, 1450) == 68


def test_a_network_name_is_harmless_on_a_host() -> None:
    assert networks.plain_name('x"; drop\ntable ' + "y" * 80) == "x___drop_table_" + "y" * 48


def rule(**fields: object) -> dict[str, object]:
    return security_groups.checked_rule({"direction": "ingress", **fields})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"protocol": "tcp"}, {"protocol": 6}, True),
        ({"protocol": "ANY"}, {}, True),
        ({"remote_cidr": "0.0.0.0/0"}, {}, True),
        ({"remote_cidr": "10.0.0.1"}, {"remote_cidr": "10.0.0.1/32"}, True),
        ({"protocol": "tcp"}, {"protocol": "udp"}, False),
        ({"remote_cidr": "10.0.0.0/8"}, {"remote_cidr": "10.0.0.0/9"}, False),
        ({"remote_group": "g"}, {}, False),
        ({"remote_address_group": "g"}, {}, False),
        ({"remote_address_group": "g"}, {"remote_group": "g"}, False),
        ({"remote_address_group": "g"}, {"remote_address_group": "g", "protocol": "any"}, True),
        ({"ethertype": "IPv6"}, {}, False),
    ],
)
def test_rules_that_mean_the_same_are_the_same(one: dict[str, object], other: dict[str, object], same: bool) -> None:
    first, second = (
        Rule(id=ident, group_id="a", project_id="p", created_at=NOW, updated_at=NOW, **rule(**fields))
        for ident, fields in (("x", one), ("y", other))
    )
    assert (security_groups.fingerprint(first) == security_groups.fingerprint(second)) is same


@pytest.mark.parametrize(
    ("protocol", "on_host"),
    [("tcp", "tcp"), ("6", "tcp"), ("icmp", "icmp"), ("vrrp", "112"), ("47", "47"), ("any", None), (0, None)],
)
def test_a_host_gets_names_it_knows_or_numbers(protocol: object, on_host: str | None) -> None:
    checked = rule(protocol=protocol)
    seen = security_groups.host_rule(PluggedRule(*(checked[name] for name in PluggedRule._fields)))
    assert seen.protocol == on_host


@given(st.integers(0, 2**32 - 1))
def test_an_address_is_written_as_a_dotted_quad_and_read_back(number: int) -> None:
    assert addresses.text_of(number) == str(IPv4Address(number))
    assert addresses.number_of(addresses.text_of(number)) == number
