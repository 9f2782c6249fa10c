"""What ports are called in DNS, and told by DHCP, over HTTP and as hosts hear of it."""

from __future__ import annotations

from typing import Any

import pytest

from floe.cloud import host_networks, ports, server_ports
from floe.cloud.cloud import Cloud
from floe.cloud.quotas import room
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.host_network import HostNetwork, HostPort, HostSegment
from floe.core.nics import PlannedNic


@pytest.fixture
async def network(make: Any) -> dict[str, Any]:
    found: dict[str, Any] = await make("ann", "network", name="front")
    await make("ann", "subnet", network_id=found["id"], cidr="10.1.0.0/24")
    return found


async def bound(cloud: Cloud, who: Context, nic: PlannedNic, hostname: str = "web") -> HostPort:
    """Give a server a port on h1, as a create does."""
    now, project_id = cloud.clock.now(), who.project_id or ""

    def run(conn: Any) -> HostPort:
        wanted = server_ports.Wanted(networks=[nic], hostname=hostname)
        planned = ports.plan(conn, who, wanted, room(conn, project_id), cloud.new_id(), now, pytest.fail).nics
        (port,) = ports.bind(
            conn, now=now, server_id="s1", project_id=project_id, host="h1", zone="nova", hostname=hostname,
            planned=planned,
        )  # fmt: skip
        host_networks.fragment(conn, "h1", (port,), "cloud.internal", now)
        return port

    return await cloud.db.write(run)


async def told(cloud: Cloud) -> tuple[list[str], HostPort, HostSegment]:
    """Return the hosts that are to be told, and what h1 is: its one port and segment."""

    def read(conn: Any) -> tuple[list[str], HostNetwork]:
        return host_networks.stale(conn), host_networks.whole(conn, "h1", "cloud.internal")

    stale, whole = await cloud.db.read(read)
    await cloud.db.write(lambda conn: host_networks.applied(conn, "h1", whole, whole.generation))
    return stale, whole.ports[0], whole.segments[0]


async def changed(client: Any, who: str, kind: str, ident: str, **fields: Any) -> dict[str, Any]:
    reply = await client(who).put(f"/v2.0/{kind}s/{ident}", json={kind: fields})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()[kind]
    return found


async def test_addresses_are_assigned_names_below_the_domain_that_is_nearest(
    client: Any, make: Any, network: dict[str, Any]
) -> None:
    fixed_ips = [{"ip_address": "10.1.0.8"}, {"ip_address": "10.1.0.9"}]
    port = await make("ann", "port", network_id=network["id"], fixed_ips=fixed_ips)
    assert (port["dns_name"], port["dns_domain"], network["dns_domain"]) == ("", "", "")
    assert port["dns_assignment"] == [
        {"hostname": "host-10-1-0-8", "ip_address": "10.1.0.8", "fqdn": "host-10-1-0-8.cloud.internal."},
        {"hostname": "host-10-1-0-9", "ip_address": "10.1.0.9", "fqdn": "host-10-1-0-9.cloud.internal."},
    ]

    async def names(**fields: Any) -> set[tuple[str, str]]:
        seen = await changed(client, "ann", "port", port["id"], **fields)
        assert seen["dns_assignment"] == (await shown(client, port["id"]))["dns_assignment"]
        return {(each["hostname"], each["fqdn"]) for each in seen["dns_assignment"]}

    assert await names(dns_name="Web") == {("web", "web.cloud.internal.")}
    await changed(client, "ann", "network", network["id"], dns_domain="Floe.example.")
    assert await names() == {("web", "web.floe.example.")}
    assert await names(dns_domain="own.example.") == {("web", "web.own.example.")}
    assert await names(dns_name="web.own.example.") == {("web.own.example.", "web.own.example.")}
    assert await names(dns_domain="", dns_name="a.b") == {("a.b", "a.b.floe.example.")}
    assert {fqdn for _, fqdn in await names(dns_name="")} == {
        "host-10-1-0-8.floe.example.", "host-10-1-0-9.floe.example.",
    }  # fmt: skip
    await changed(client, "ann", "network", network["id"], dns_domain="")
    assert {fqdn for _, fqdn in await names(name="same")} == {
        "host-10-1-0-8.cloud.internal.", "host-10-1-0-9.cloud.internal.",
    }  # fmt: skip


async def shown(client: Any, ident: str, who: str = "ann") -> dict[str, Any]:
    found: dict[str, Any] = (await client(who).get(f"/v2.0/ports/{ident}")).json()["port"]
    return found


async def test_ports_and_networks_are_found_by_name_and_domain(client: Any, make: Any, network: dict[str, Any]) -> None:
    named = await make("ann", "port", network_id=network["id"], dns_name="web", dns_domain="floe.example.")
    await make("ann", "port", network_id=network["id"], dns_name="db")
    for query in ("dns_name=WEB", "dns_domain=floe.example.", "dns_name=web&dns_name=none"):
        found = (await client("ann").get(f"/v2.0/ports?{query}")).json()["ports"]
        assert [port["id"] for port in found] == [named["id"]], query
    await changed(client, "ann", "network", network["id"], dns_domain="floe.example.")
    found = (await client("ann").get("/v2.0/networks?dns_domain=floe.example.")).json()["networks"]
    assert [each["id"] for each in found] == [network["id"]]
    for bad in ("floe", "a_b.", "x." * 96, "1.", "localhost.", None, 7):
        reply = await client("ann").put(f"/v2.0/networks/{network['id']}", json={"network": {"dns_domain": bad}})
        assert reply.status_code == (200 if bad == "1." else 400), bad


async def test_where_projects_meet_a_name_is_of_the_first_and_no_services(client: Any, make: Any) -> None:
    shared = await make("root", "network", shared=True)
    await make("root", "subnet", network_id=shared["id"], cidr="10.1.0.0/24")
    await make("ann", "port", network_id=shared["id"], dns_name="web.shop")
    mine = await make("bob", "port", network_id=shared["id"])
    for name in ("web", "WEB.other", "wpad", "dns.cloud.internal."):
        reply = await client("bob").put(f"/v2.0/ports/{mine['id']}", json={"port": {"dns_name": name}})
        assert reply.status_code == 409, name
        assert repr(name.lower()) in reply.json()["NeutronError"]["message"]
    assert (await shown(client, mine["id"], "bob"))["dns_name"] == ""
    again = await make("ann", "port", network_id=shared["id"], dns_name="web")
    assert again["dns_name"] == "web", "one's own names may be alike"


async def test_a_servers_port_has_its_servers_name_and_loses_it_with_the_server(
    client: Any, cloud: Cloud, callers: dict[str, Context], make: Any, network: dict[str, Any]
) -> None:
    ann, own = callers["ann"], await make("ann", "port", network_id=network["id"])
    nic = PlannedNic(network_id="", port_id=own["id"], made=False)
    assert (await bound(cloud, ann, nic, "Web.Example.org")).hostname == "web.example.org"
    port = await shown(client, own["id"])
    assert port["dns_name"] == "web.example.org"
    assert [each["fqdn"] for each in port["dns_assignment"]] == ["web.example.org.cloud.internal."]
    await cloud.db.write(lambda conn: ports.release(conn, "s1", cloud.clock.now()))
    assert (await shown(client, own["id"]))["dns_name"] == ""


async def test_a_port_of_another_name_is_not_for_the_server(
    cloud: Cloud, callers: dict[str, Context], make: Any, network: dict[str, Any]
) -> None:
    ann = callers["ann"]
    own = await make("ann", "port", network_id=network["id"], dns_name="web")
    nic = PlannedNic(network_id="", port_id=own["id"], made=False)
    with pytest.raises(Invalid, match=f"Port {own['id']} not usable.*web.*dns_name.*hostname db"):
        await bound(cloud, ann, nic, "db")
    assert (await bound(cloud, ann, nic, "Web")).hostname == "web"


async def test_hosts_are_told_of_names_domains_options_and_macs(
    client: Any, cloud: Cloud, callers: dict[str, Context], nudges: list[str], network: dict[str, Any]
) -> None:
    port = await bound(cloud, callers["ann"], PlannedNic(network_id=network["id"]))

    async def heard(**fields: Any) -> HostPort:
        nudges.clear()
        await changed(client, "ann", "port", port.port_id, **fields)
        await cloud.bus.idle()  # type: ignore[attr-defined]
        stale, seen, _ = await told(cloud)
        assert (stale, nudges) == (["h1"], ["network"]), fields
        return seen

    assert (await heard(dns_name="www")).hostname == "www"
    assert (await heard(dns_domain="own.example.")).hostname == "www.own.example"
    assert (await heard(dns_name="w.own.example.")).hostname == "w.own.example"
    options = [{"opt_name": "mtu", "opt_value": "1300"}, {"opt_name": "150", "opt_value": "192.0.2.1"}]
    assert (await heard(extra_dhcp_opts=options)).dhcp_options == (("mtu", "1300"), ("150", "192.0.2.1"))
    gone = [{"opt_name": "26", "opt_value": None}]
    assert (await heard(extra_dhcp_opts=gone)).dhcp_options == (("150", "192.0.2.1"),)
    nudges.clear()
    for nothing in ({"extra_dhcp_opts": gone}, {"extra_dhcp_opts": []}, {"dns_name": "w.own.example."}):
        await changed(client, "ann", "port", port.port_id, **nothing)
    await changed(client, "ann", "network", network["id"], dns_domain="floe.example.")
    await cloud.bus.idle()  # type: ignore[attr-defined]
    assert nudges == ["network"], "what is as it was is told to nobody"
    assert (await told(cloud))[2].dns_domain == "floe.example."
    reply = await client("root").put(f"/v2.0/ports/{port.port_id}", json={"port": {"mac_address": "fa:16:3e:0:0:9"}})
    fault = reply.json()["NeutronError"]
    assert (reply.status_code, fault["type"]) == (409, "PortBound")
    assert all(word in fault["message"] for word in (port.port_id, port.mac, "fa:16:3e:00:00:09"))


async def test_the_clouds_own_ports_have_no_names(client: Any, network: dict[str, Any]) -> None:
    (dhcp,) = (await client("ann").get("/v2.0/ports?device_owner=network:dhcp")).json()["ports"]
    reply = await client("ann").put(f"/v2.0/ports/{dhcp['id']}", json={"port": {"dns_name": "web"}})
    assert reply.status_code == 409
