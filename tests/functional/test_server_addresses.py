"""Addresses that servers are given and lose while they run, and that their hosts are told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sites import PORTS, SERVERS, Site, furnished, refused

from floe.cloud import audits
from floe.testing import EmbeddedCloud

NOBODY = "99999999-9999-4999-8999-999999999999"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an image, an outside, and a network that is joined to it."""
    async with furnished(embedded) as made:
        yield made


async def test_a_floating_ip_is_added_moved_and_removed(site: Site) -> None:
    one, two = await site.server("one"), await site.server("two")
    floating = (await site.ask("POST", "/compute/v2.1/os-floating-ips", {"pool": "outer"}, version="2.35")).json()[
        "floating_ip"
    ]
    address = floating["ip"]
    fixed = {server: (await site.port(server))["fixed_ips"][0]["ip_address"] for server in (one, two)}
    assert (await site.act(one, "addFloatingIp", address=address)).status_code == 202
    assert site.floating() == {address: fixed[one]}
    assert await site.addresses(one) == [(fixed[one], "fixed"), (address, "floating")]
    path = f"/compute/v2.1/os-floating-ips/{floating['id']}"
    shown = (await site.ask("GET", path, version="2.35")).json()["floating_ip"]
    assert (shown["instance_id"], shown["fixed_ip"]) == (one, fixed[one])
    refused(
        await site.act(two, "removeFloatingIp", address=address), 409,
        f"Floating IP {address} is not associated with instance {two}.",
    )  # fmt: skip
    assert (await site.act(two, "addFloatingIp", address=address, fixed_address=fixed[two])).status_code == 202
    assert site.floating() == {address: fixed[two]}
    assert (await site.act(two, "removeFloatingIp", address=address)).status_code == 202
    assert site.floating() == {}
    refused(await site.act(two, "removeFloatingIp", address=address), 409, "is not associated with instance")
    assert (await site.act(one, "addFloatingIp", address=address)).status_code == 202
    assert (await site.ask("DELETE", path, version="2.35")).status_code == 202
    await site.cloud.settled()
    assert site.floating() == {}


async def test_a_floating_ip_that_cannot_be_added_says_why(site: Site) -> None:
    one, lone = await site.server("one"), await site.server("lone", None)
    first, second = [
        (await site.made("floatingip", floating_network_id=site.ids["outer"]))["floating_ip_address"] for _ in range(2)
    ]
    foreign = await site.made("floatingip", "admin", floating_network_id=site.ids["outer"])
    for server, fields, status, text in (
        (one, {"address": "192.0.2.9"}, 404, "floating IP not found"),
        (one, {"address": foreign["floating_ip_address"]}, 404, "floating IP not found"),
        (one, {"address": "nonsense"}, 400, "address"),
        (one, {"address": first, "fixed_address": "nonsense"}, 400, "fixed_address"),
        (one, {"address": first, "fixed_address": "10.77.0.99"}, 400, "Specified fixed address not assigned"),
        (one, {}, 400, "address"),
        (lone, {"address": first}, 400, "Instance network is not ready yet"),
        (NOBODY, {"address": first}, 404, "could not be found"),
    ):
        refused(await site.act(server, "addFloatingIp", **fields), status, text)
    assert (await site.act(one, "addFloatingIp", address=first)).status_code == 202
    refused(await site.act(one, "addFloatingIp", address=second), 400, "Unable to associate floating IP")
    port = await site.port(one)
    away = {"port": {"fixed_ips": []}}
    await site.act(one, "removeFloatingIp", address=first)
    assert (await site.ask("PUT", f"{PORTS}/{port['id']}", away)).status_code == 200
    refused(await site.act(one, "addFloatingIp", address=first), 400, "No fixed IPs associated to instance")
    refused(await site.act(one, "removeFloatingIp", address="192.0.2.9"), 404, "floating IP not found")
    apart = await site.made("network", name="apart")
    await site.made("subnet", network_id=apart["id"], cidr="10.78.0.0/28", ip_version=4)
    site.ids["apart"] = apart["id"]
    far = await site.server("far", "apart")
    refused(await site.act(far, "addFloatingIp", address=first), 400, "is not reachable from subnet")


async def test_fixed_addresses_come_and_go_and_hosts_are_told(site: Site) -> None:
    one = await site.server("one")
    port = await site.port(one)
    first = port["fixed_ips"][0]["ip_address"]
    assert (await site.act(one, "addFixedIp", networkId=site.ids["inner"])).status_code == 202
    changed = await site.port(one)
    (second,) = {each["ip_address"] for each in changed["fixed_ips"]} - {first}
    assert changed["revision_number"] > port["revision_number"]
    assert site.fixed(port["id"]) == {first, second}
    assert {address for address, _ in await site.addresses(one)} == {first, second}
    floating = await site.made(
        "floatingip", floating_network_id=site.ids["outer"], port_id=port["id"], fixed_ip_address=second
    )
    refused(await site.act(one, "removeFixedIp", address=second), 400, floating["floating_ip_address"])
    await site.ask("DELETE", f"/network/v2.0/floatingips/{floating['id']}")
    assert (await site.act(one, "removeFixedIp", address=second)).status_code == 202
    assert site.fixed(port["id"]) == {first}
    again = {"fixed_ips": [{"ip_address": second}]}
    await site.made("port", network_id=site.ids["inner"], **again)  # it is free for others
    for fields, status, text in (
        ({"address": second}, 400, f"Instance {one} does not have fixed IP address '{second}'."),
        ({"address": "2001:db8::1"}, 400, "does not have fixed IP address"),
        ({"address": "nonsense"}, 400, "address"),
    ):
        refused(await site.act(one, "removeFixedIp", **fields), status, text)
    lost = f"Network could not be found for instance {one}."
    for network in (site.ids["outer"], NOBODY, "nonsense", 7):
        refused(await site.act(one, "addFixedIp", networkId=network), 404, lost)
    for action, fields in (("addFixedIp", {"networkId": site.ids["inner"]}), ("removeFixedIp", {"address": first})):
        refused(await site.act(NOBODY, action, **fields), 404, "could not be found")
        await site.act(one, "lock", who="admin", version="2.1")
        refused(await site.act(one, action, **fields), 409, "is locked")
        await site.act(one, "unlock", who="admin", version="2.1")


async def test_what_is_forwarded_to_a_fixed_address_ends_with_it_and_hosts_are_told(site: Site) -> None:
    one = await site.server("one")
    port = await site.port(one)
    first = port["fixed_ips"][0]["ip_address"]
    assert (await site.act(one, "addFixedIp", networkId=site.ids["inner"])).status_code == 202
    (second,) = {each["ip_address"] for each in (await site.port(one))["fixed_ips"]} - {first}
    floating = await site.made("floatingip", floating_network_id=site.ids["outer"])
    where = f"/network/v2.0/floatingips/{floating['id']}"
    for number, address in enumerate((first, second)):
        ports = {"protocol": "tcp", "external_port": 2200 + number, "internal_port": 22}
        body = {**ports, "internal_port_id": port["id"], "internal_ip_address": address}
        reply = await site.ask("POST", f"{where}/port_forwardings", {"port_forwarding": body})
        assert reply.status_code == 201, reply.text
    await site.cloud.settled()
    assert site.forwarded() == {first, second}
    assert (await site.act(one, "removeFixedIp", address=second)).status_code == 202
    left = (await site.ask("GET", f"{where}/port_forwardings")).json()["port_forwardings"]
    assert [each["internal_ip_address"] for each in left] == [first]
    assert site.forwarded() == {first}
    assert (await site.act(one, "removeFixedIp", address=first)).status_code == 202
    found = (await site.ask("GET", where)).json()["floatingip"]
    assert (found["router_id"], found["port_forwardings"]) == (None, [])
    assert await audits.run(site.cloud.node.cloud) == [], "a server may be without an address"


async def test_fixed_addresses_end_with_the_port_and_with_the_subnet(site: Site) -> None:
    one = await site.server("one")
    while (reply := await site.act(one, "addFixedIp", networkId=site.ids["inner"])).status_code == 202:
        pass
    held = len((await site.port(one))["fixed_ips"])
    refused(reply, 400, "takes no more" if held >= 5 else "No fixed IP addresses available for network")
    assert held > 2
    two = await site.server("two")
    while (reply := await site.act(two, "addFixedIp", networkId=site.ids["inner"])).status_code == 202:
        pass
    left = 16 - 2 - 2 - held  # network and broadcast, gateway and DHCP
    assert len((await site.port(two))["fixed_ips"]) == min(held, left)


async def test_groups_are_added_and_removed_while_a_server_runs(site: Site) -> None:
    one, lone = await site.server("one"), await site.server("lone", None)
    groups = []
    for name in ("web", "twin", "twin"):
        body = {"security_group": {"name": name}}
        reply = await site.ask("POST", "/network/v2.0/security-groups", body)
        groups.append(reply.json()["security_group"])
    web = groups[0]["id"]
    before = (await site.port(one))["security_groups"]
    for _ in range(2):  # what is so already stays
        assert (await site.act(one, "addSecurityGroup", name="web", version="2.96")).status_code == 202
    assert sorted((await site.port(one))["security_groups"]) == sorted([*before, web])
    told = [port for network in site.told() for port in network.ports if port.server_id == one]
    assert [web in port.groups for port in told] == [True]
    shown = (await site.ask("GET", f"{SERVERS}/{one}/os-security-groups")).json()["security_groups"]
    assert [group["name"] for group in shown] == ["default", "web"]
    refused(await site.act(one, "addSecurityGroup", name="twin"), 409, "Multiple security groups found matching 'twin'")
    assert (await site.act(one, "addSecurityGroup", name=groups[1]["id"])).status_code == 202
    assert (await site.act(one, "removeSecurityGroup", name=groups[1]["id"])).status_code == 202
    assert (await site.act(one, "removeSecurityGroup", name="web")).status_code == 202
    assert (await site.port(one))["security_groups"] == before
    refused(await site.act(one, "removeSecurityGroup", name="web"), 404, "not associated with the instance")
    refused(await site.act(one, "addSecurityGroup", name="none"), 404, "Security group none not found.")
    refused(await site.act(lone, "addSecurityGroup", name="web"), 404, "could not be found as device id on any ports")
    refused(await site.act(NOBODY, "addSecurityGroup", name="web"), 404, "could not be found")


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("addFloatingIp", {"address": "192.0.2.1"}),
        ("removeFloatingIp", {"address": "192.0.2.1"}),
        ("addFixedIp", {"networkId": NOBODY}),
        ("removeFixedIp", {"address": "192.0.2.1"}),
    ],
)
async def test_from_2_44_on_they_are_not_there(site: Site, action: str, fields: dict[str, Any]) -> None:
    refused(await site.act(NOBODY, action, version="2.44", **fields), 404, "at microversions to 2.43")
    assert "microversion" not in (await site.act(NOBODY, action, version="2.43", **fields)).text


async def test_images_are_removed_by_way_of_compute(site: Site) -> None:
    path = "/compute/v2.1/images/"
    refused(await site.ask("DELETE", path + NOBODY, version="2.35"), 404, "Image not found.")
    assert (await site.ask("DELETE", path + site.ids["image"], version="2.35")).status_code == 204
    refused(await site.ask("GET", path + site.ids["image"], version="2.35"), 404, "Image not found.")
