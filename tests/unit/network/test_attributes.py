"""How values of attributes are read: facts about Neutron's converters and validators, and what holds for any value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.api.kit.resource import Fields, Use, Wire
from floe.api.network import networks, ports, quotas, security_groups, subnets
from floe.core.errors import Invalid

NOUNS: dict[str, Fields[Any]] = {
    "network": networks.NETWORK.fields,
    "port": ports.PORT.fields,
    "quota": quotas.QUOTA,
    "group": security_groups.GROUP.fields,
    "rule": security_groups.RULE.fields,
    "subnet": subnets.SUBNET.fields,
}
EVERY = [(noun, attribute) for noun, found in NOUNS.items() for attribute in found.by_name.values()]
BOOLEANS = [("network", "admin_state_up"), ("network", "shared"), ("network", "port_security_enabled"),
            ("network", "router:external"), ("port", "admin_state_up"), ("port", "port_security_enabled"),
            ("group", "stateful"), ("subnet", "enable_dhcp")]  # fmt: skip
NUMBERS = [("network", "mtu"), ("network", "provider:segmentation_id"), ("subnet", "ip_version"), ("quota", "port"),
           ("rule", "port_range_min"), ("rule", "port_range_max")]  # fmt: skip
NAMES = [(noun, "name") for noun in ("network", "port", "subnet")]
IDENT = "0f0e0d0c-1111-4111-8111-111111111111"


def attribute(noun: str, name: str) -> Wire[Any]:
    return NOUNS[noun].by_name[name]


@pytest.mark.parametrize(("noun", "name"), BOOLEANS)
@pytest.mark.parametrize("sent", [True, 1, "true", "True", "TRUE", " true ", "t", "1", "yes", "y", "on"])
def test_what_means_true_is_true(noun: str, name: str, sent: Any) -> None:
    assert attribute(noun, name).read(sent) is True


@pytest.mark.parametrize(("noun", "name"), BOOLEANS)
@pytest.mark.parametrize("sent", [False, 0, "false", "False", "f", "0", "no", "n", "OFF"])
def test_what_means_false_is_false(noun: str, name: str, sent: Any) -> None:
    if name == "stateful":
        with pytest.raises(Invalid, match="stateless"):
            attribute(noun, name).read(sent)
    else:
        assert attribute(noun, name).read(sent) is False


@pytest.mark.parametrize(("noun", "name"), BOOLEANS)
@pytest.mark.parametrize("sent", [None, "", "maybe", 2, -1, 1.0, [], {}, [True], "None", "²"])
def test_what_means_neither_is_refused(noun: str, name: str, sent: Any) -> None:
    with pytest.raises(Invalid, match="no boolean"):
        attribute(noun, name).read(sent)


@pytest.mark.parametrize(("noun", "name"), NUMBERS)
@pytest.mark.parametrize("sent", [4, "4", " 4 ", "+4", "0004", 4.0, 4.9])
def test_what_means_a_number_is_one(noun: str, name: str, sent: Any) -> None:
    assert attribute(noun, name).read(sent) == 4


@pytest.mark.parametrize(("noun", "name"), NUMBERS)
@pytest.mark.parametrize("sent", ["", "four", "²", "①", "0x4", "4.0", "4e0", "9" * 5000, 10**30, 1e300, [], [4], {}])
def test_what_means_no_number_is_refused(noun: str, name: str, sent: Any) -> None:
    with pytest.raises(Invalid) as caught:
        attribute(noun, name).read(sent)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(("noun", "name"), NUMBERS[:4])
def test_null_is_no_number(noun: str, name: str) -> None:
    with pytest.raises(Invalid):
        attribute(noun, name).read(None)


@pytest.mark.parametrize(("noun", "name"), NAMES)
@pytest.mark.parametrize(
    "sent", ["", "a", "a b", "a\u3000b", "a\u00a0b", "ä", "x" * 255, "<b>'\"", "web (1)", "one line\n"]
)
def test_a_name_may_be_any_printable_text(noun: str, name: str, sent: str) -> None:
    assert attribute(noun, name).read(sent) == sent


@pytest.mark.parametrize(("noun", "name"), NAMES)
@pytest.mark.parametrize(
    "sent",
    [None, 1, [], " a", "a ", "\u00a0", "a\u3000", "a\tb", "a\nb", "\n", "a\x00", "a\u200bb", "\U0001f600", "x" * 256],
)
def test_a_name_is_refused_where_neutron_refuses_it(noun: str, name: str, sent: Any) -> None:
    with pytest.raises(Invalid, match=name):
        attribute(noun, name).read(sent)


@pytest.mark.parametrize("sent", ["", " a ", "a\tb\nc", "\U0001f600", "x" * 255])
def test_the_name_of_a_group_may_be_any_text(sent: str) -> None:
    assert attribute("group", "name").read(sent) == sent


@pytest.mark.parametrize(
    ("noun", "name", "sent", "read"),
    [
        ("rule", "ethertype", "ipv4", "IPv4"),
        ("rule", "ethertype", "IPV6", "IPv6"),
        ("rule", "protocol", "TCP", "tcp"),
        ("rule", "protocol", 6, "6"),
        ("rule", "protocol", "006", "6"),
        ("rule", "protocol", None, None),
        ("rule", "protocol", "any", None),
        ("rule", "port_range_min", None, None),
        ("rule", "port_range_max", "0", 0),
        ("rule", "remote_ip_prefix", "", None),
        ("rule", "remote_ip_prefix", None, None),
        ("rule", "remote_ip_prefix", "10.0.0.5", "10.0.0.5/32"),
        ("rule", "remote_ip_prefix", "10.0.0.5/24", "10.0.0.5/24"),
        ("rule", "remote_ip_prefix", "10.0.0.0/255.255.255.0", "10.0.0.0/24"),
        ("rule", "remote_ip_prefix", "FD00::1/64", "fd00::1/64"),
        ("rule", "remote_group_id", "", None),
        ("rule", "remote_address_group_id", None, None),
        ("port", "mac_address", "FA-16-3E-00-00-0A", "fa:16:3e:00:00:0a"),
        ("port", "mac_address", "fa16.3e00.000a", "fa:16:3e:00:00:0a"),
        ("port", "security_groups", None, []),
        ("port", "security_groups", [IDENT.upper(), IDENT.replace("1", "2")], [IDENT.upper(), IDENT.replace("1", "2")]),
        ("port", "allowed_address_pairs", None, []),
        ("port", "allowed_address_pairs", [{"ip_address": "0.0.0.0/0"}], [("0.0.0.0/0", None)]),
        ("port", "fixed_ips", [], []),
        ("port", "fixed_ips", [{"subnet_id": IDENT}], [(IDENT, None)]),
        ("port", "binding:profile", None, {}),
        ("port", "binding:profile", {}, {}),
        ("port", "dns_name", "Web.Shop", "web.shop"),
        ("port", "dns_name", "", ""),
        ("network", "dns_domain", "Floe.example.", "floe.example."),
        ("port", "extra_dhcp_opts", None, []),
        (
            "port",
            "extra_dhcp_opts",
            [{"opt_name": "mtu", "opt_value": None, "ip_version": "4"}],
            [("mtu", None)],
        ),
        ("port", "binding:vnic_type", "normal", "normal"),
        ("port", "binding:host_id", "", None),
        ("subnet", "gateway_ip", None, None),
        ("subnet", "dns_nameservers", None, []),
        ("subnet", "host_routes", None, []),
        ("subnet", "allocation_pools", None, []),
        ("subnet", "allocation_pools", [{"start": "10.0.0.2", "end": "10.0.0.9"}], [("10.0.0.2", "10.0.0.9")]),
        ("subnet", "subnetpool_id", None, None),
        ("subnet", "ipv6_ra_mode", None, None),
        ("quota", "port", -1, -1),
    ],
)
def test_neutron_converts_and_so_do_we(noun: str, name: str, sent: Any, read: Any) -> None:
    assert attribute(noun, name).read(sent) == read


@pytest.mark.parametrize(
    ("noun", "name", "sent"),
    [
        ("rule", "ethertype", None),
        ("rule", "ethertype", "IPX"),
        ("rule", "direction", "INGRESS"),
        ("rule", "direction", None),
        ("rule", "protocol", ""),
        ("rule", "protocol", "256"),
        ("rule", "protocol", "²"),
        ("rule", "protocol", 1.5),
        ("rule", "port_range_min", -1),
        ("rule", "port_range_max", "65536"),
        ("rule", "remote_ip_prefix", "10.0.0.0/33"),
        ("rule", "remote_ip_prefix", 10),
        ("rule", "security_group_id", None),
        ("rule", "security_group_id", "x" * 37),
        ("port", "mac_address", None),
        ("port", "mac_address", 5),
        ("port", "security_groups", "default"),
        ("port", "security_groups", [IDENT, IDENT]),
        ("port", "security_groups", ["default"]),
        ("port", "fixed_ips", None),
        ("port", "fixed_ips", [{"ip_address": None}]),
        ("port", "fixed_ips", [{"subnet_id": None, "ip_address": "10.0.0.3"}]),
        ("port", "fixed_ips", [{"ip_address": "10.0.0.3"}, {"ip_address": "10.0.0.3"}]),
        ("port", "allowed_address_pairs", [{"ip_address": "10.0.0.3", "mac_address": None}]),
        ("port", "allowed_address_pairs", [{"ip_address": "10.0.0.3", "colour": "red"}]),
        ("port", "allowed_address_pairs", {}),
        ("port", "binding:profile", []),
        ("port", "binding:vnic_type", None),
        ("port", "binding:vnic_type", "direct"),
        ("port", "device_id", None),
        ("port", "network_id", "nowhere"),
        ("subnet", "cidr", None),
        ("subnet", "dns_nameservers", "10.0.0.1"),
        ("subnet", "dns_nameservers", ["10.0.0.1", "10.0.0.1"]),
        ("subnet", "host_routes", [{"destination": "10.0.0.0/8"}]),
        ("subnet", "allocation_pools", [{"start": "10.0.0.2", "end": None}]),
        ("subnet", "ip_version", 6),
        ("subnet", "ip_version", 5),
        ("network", "description", None),
        ("network", "description", "x" * 256),
        ("network", "project_id", None),
        ("network", "mtu", -1),
        ("quota", "port", -2),
        ("quota", "port", 2**31),
    ],
)
def test_neutron_refuses_and_so_do_we(noun: str, name: str, sent: Any) -> None:
    with pytest.raises(Invalid):
        attribute(noun, name).read(sent)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from([IDENT, "10.0.0.0/8"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["ip_address", "mac_address", "subnet_id", "start", "end", "destination", "nexthop", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(value=VALUES)
@settings(max_examples=200, deadline=None)
def test_any_value_of_any_attribute_is_read_or_refused(value: Any) -> None:
    for _, each in EVERY:
        try:
            each.read(value)
        except Invalid as error:
            assert each.name in error.message
            assert len(error.message) < 1000


@given(text=st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_of_any_filter_is_read_or_refused(text: str) -> None:
    for _, each in EVERY:
        if Use.FILTER in each.use:
            try:
                assert each.read_filter(text) is not None
            except Invalid as error:
                assert each.name in error.message


@given(number=st.integers(-(10**6), 10**6))
@settings(deadline=None)
def test_a_filter_reads_a_number_as_a_body_does(number: int) -> None:
    each = attribute("network", "mtu")
    if number >= 0:
        assert each.read_filter(str(number)) == each.read(number) == each.read(str(number)) == number
    else:
        with pytest.raises(Invalid):
            each.read(number)
