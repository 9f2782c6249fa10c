"""What dnsmasq is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core.host_network import HostAddress, HostPort, HostRoute, HostSegment, HostSubnet
from floe.dataplane.linux import dhcp

SUBNET = HostSubnet(
    subnet_id="11111111-0000-4000-8000-000000000000",
    cidr="10.7.0.0/24",
    gateway="10.7.0.1",
    dhcp_address="10.7.0.2",
)
SEGMENT = HostSegment(network_id="n", name="n", tag=1, mtu=1400, dns_domain="cloud.internal", subnets=(SUBNET,))
PORT = HostPort(
    port_id="p",
    network_id="n",
    server_id="v",
    mac="FA:16:3E:00:00:01",
    tap="tap1",
    addresses=(HostAddress(subnet_id=SUBNET.subnet_id, address="10.7.0.11"),),
    hostname="Web-1",
)


def arguments(segment: HostSegment) -> list[str]:
    folder = Path("/x")
    return dhcp.arguments(
        segment,
        hosts=folder / "h",
        options=folder / "o",
        names=folder / "n",
        pid_file=folder / "p",
        user="u",
        group="g",
    )


def option(segment: HostSegment, name: str) -> str:
    """Return the value of an option, with its comma; empty where it is suppressed."""
    prefix = f"tag:s11111111000,{name}"
    [line] = [line for line in dhcp.files(segment, ()).options.splitlines() if line.startswith(prefix)]
    return line.removeprefix(prefix)


def test_only_known_ports_are_served_and_with_authority():
    argv = arguments(SEGMENT)
    assert "--dhcp-range=set:s11111111000,10.7.0.0,static,255.255.255.0,86400s" in argv
    assert "--dhcp-authoritative" in argv
    assert "--no-resolv" in argv
    assert "--interface=dh0" in argv


def test_the_mtu_is_sent_even_to_clients_that_do_not_ask():
    assert "--dhcp-option-force=option:mtu,1400" in arguments(SEGMENT)


def test_the_domain_loses_its_final_dot():
    argv = arguments(replace(SEGMENT, dns_domain="Example.org."))
    assert "--domain=example.org" in argv


def test_ports_do_not_change_the_arguments():
    """A change of arguments means a restart; a port must cost no more than a signal."""
    assert dhcp.files(SEGMENT, (PORT,)) != dhcp.files(SEGMENT, ())
    assert not any("10.7.0.11" in argument for argument in arguments(SEGMENT))


def test_a_port_has_its_address_and_name():
    made = dhcp.files(SEGMENT, (PORT,))
    assert made.hosts == "fa:16:3e:00:00:01,10.7.0.11,web-1\n"
    assert made.names == "10.7.0.11 web-1 host-10-7-0-11\n"


def test_routes_begin_with_metadata_and_end_with_the_default():
    segment = replace(
        SEGMENT,
        subnets=(replace(SUBNET, routes=(HostRoute(destination="192.168.0.0/16", nexthop="10.7.0.9"),)),),
    )
    wanted = ",169.254.169.254/32,10.7.0.2,192.168.0.0/16,10.7.0.9,0.0.0.0/0,10.7.0.1"
    assert option(segment, "option:classless-static-route") == wanted
    assert option(segment, "249") == wanted
    assert option(segment, "option:router") == ",10.7.0.1"


def test_without_a_gateway_no_router_is_offered():
    segment = replace(SEGMENT, subnets=(replace(SUBNET, gateway=None),))
    assert option(segment, "option:router") == ""
    assert option(segment, "option:classless-static-route") == ",169.254.169.254/32,10.7.0.2"


def test_name_servers_are_the_subnets_own_or_this_one():
    assert option(SEGMENT, "option:dns-server") == ",10.7.0.2"
    named = replace(SEGMENT, subnets=(replace(SUBNET, nameservers=("192.0.2.1", "not an address")),))
    assert option(named, "option:dns-server") == ",192.0.2.1"


def test_a_route_that_is_none_is_left_out():
    routes = (
        HostRoute(destination="10.0.0.0/8\nevil", nexthop="10.7.0.9"),
        HostRoute(destination="10.0.0.0/8", nexthop="x"),
    )
    segment = replace(SEGMENT, subnets=(replace(SUBNET, gateway=None, routes=routes),))
    assert option(segment, "option:classless-static-route") == ",169.254.169.254/32,10.7.0.2"


def test_a_subnet_without_dhcp_is_not_served():
    segment = replace(SEGMENT, subnets=(replace(SUBNET, dhcp=False),))
    assert not any(argument.startswith("--dhcp-range") for argument in arguments(segment))
    made = dhcp.files(segment, (PORT,))
    assert (made.hosts, made.options) == ("", "")


def test_of_two_addresses_in_a_subnet_the_first_is_leased_and_both_are_named():
    second = HostAddress(subnet_id=SUBNET.subnet_id, address="10.7.0.12")
    made = dhcp.files(SEGMENT, (replace(PORT, addresses=(*PORT.addresses, second)),))
    assert made.hosts == "fa:16:3e:00:00:01,10.7.0.11,web-1\n"
    assert made.names.splitlines() == ["10.7.0.11 web-1 host-10-7-0-11", "10.7.0.12 web-1 host-10-7-0-12"]


def test_it_answers_for_every_name_since_it_can_ask_nobody():
    assert "--local=/#/" in arguments(SEGMENT)


def test_a_name_with_a_domain_resolves_whole_and_by_its_label():
    made = dhcp.files(SEGMENT, (replace(PORT, hostname="Web.example.org"),))
    assert made.hosts == "fa:16:3e:00:00:01,10.7.0.11,web\n"
    assert made.names == "10.7.0.11 web.example.org web.example.org.cloud.internal web host-10-7-0-11\n"


def test_two_servers_of_one_name_have_both_addresses():
    other = replace(PORT, mac="fa:16:3e:00:00:02", addresses=(replace(PORT.addresses[0], address="10.7.0.12"),))
    made = dhcp.files(SEGMENT, (PORT, other))
    assert made.names.splitlines() == ["10.7.0.11 web-1 host-10-7-0-11", "10.7.0.12 web-1 host-10-7-0-12"]


@pytest.mark.parametrize("name", ["host-10-7-0-12", "HOST-10-7-0-12.example.org"])
def test_nobody_has_the_name_of_anothers_address(name):
    made = dhcp.files(SEGMENT, (replace(PORT, hostname=name),))
    assert made.names == "10.7.0.11 host-10-7-0-11\n"


@given(name=st.text(max_size=300) | st.from_regex(r"[a-z0-9.,:# \n\\/-]{1,40}", fullmatch=True))
def test_no_name_becomes_a_line_or_a_word_of_its_own(name):
    made = dhcp.files(SEGMENT, (replace(PORT, hostname=name),))
    assert re.fullmatch(r"fa:16:3e:00:00:01,10\.7\.0\.11,[a-z0-9-]{1,63}\n", made.hosts)
    assert re.fullmatch(r"10\.7\.0\.11( [a-z0-9.-]{1,253}){1,3}\n", made.names)


def test_an_address_is_given_back_as_its_client_would():
    message = dhcp.release("fa:16:3e:00:00:01", "10.7.0.11", "10.7.0.2")
    assert message[12:16] == bytes((10, 7, 0, 11))
    assert message[28:34] == bytes.fromhex("fa163e000001")
    assert message[236:] == bytes((99, 130, 83, 99, 53, 1, 7, 54, 4, 10, 7, 0, 2, 255))
    assert dhcp.leases(dhcp.files(SEGMENT, (PORT,)).hosts) == {("fa:16:3e:00:00:01", "10.7.0.11")}
    assert dhcp.leases("damaged\n\n") == set()
    assert dhcp.server_of(SEGMENT, "10.7.0.11") == "10.7.0.2"
    assert dhcp.server_of(SEGMENT, "10.8.0.11") is None


@pytest.mark.parametrize("name", ["", "-x", "x-", "a b", "a\nb", "a,b", "ü", "x" * 64, "_x", "tag:x"])
def test_a_name_that_is_no_label_becomes_that_of_the_address(name):
    assert dhcp.host_label(name, "10.7.0.11") == "host-10-7-0-11"


@pytest.mark.parametrize("name", ["ignore", "infinite", "60", "12h", "7d"])
def test_a_name_that_means_something_else_to_dnsmasq_stays_out_of_its_hosts_file(name):
    made = dhcp.files(SEGMENT, (replace(PORT, hostname=name),))
    assert made.hosts == "fa:16:3e:00:00:01,10.7.0.11,host-10-7-0-11\n"
    assert made.names == f"10.7.0.11 {name} host-10-7-0-11\n"


def test_a_gateway_outside_the_subnet_is_reached_on_the_link():
    outside = replace(SEGMENT, subnets=(replace(SUBNET, gateway="192.0.2.1"),))
    routes = "169.254.169.254/32,10.7.0.2,192.0.2.1/32,0.0.0.0,0.0.0.0/0,192.0.2.1"
    assert option(outside, "option:classless-static-route") == f",{routes}"
    assert option(outside, "249") == f",{routes}"
    assert option(outside, "option:router") == ",192.0.2.1"
