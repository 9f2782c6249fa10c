"""Servers of flavors that limit NICs: what their hosts are to do of it, all their life long."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sites import SERVERS, Site, furnished, refused

from floe.core.nic_limits import NicLimits, Rate
from floe.dataplane.fake import FakePlane
from floe.testing import EmbeddedCloud

HIGHEST = "2.96"
SLOW = NicLimits(inbound=Rate(average=100, peak=200, burst=300))
OTHER = NicLimits(outbound=Rate(average=50))


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud of two hosts, with flavors that limit NICs and one that does not."""
    async with furnished(embedded) as made:
        rates = {"average": "100", "peak": "200", "burst": "300"}
        for name, specs in {
            "slow": {f"quota:vif_inbound_{rate}": amount for rate, amount in rates.items()},
            "other": {"quota:vif_outbound_average": "50", "quota:vif_inbound_average": "0"},
            "free": {},
            "wrong": {"quota:vif_inbound_burst": "300"},
        }.items():
            fields = {"name": name, "ram": 128, "vcpus": 1, "disk": 1}
            reply = await made.ask("POST", "/compute/v2.1/flavors", {"flavor": fields}, "admin")
            made.ids[name] = reply.json()["flavor"]["id"]
            path = f"/compute/v2.1/flavors/{made.ids[name]}/os-extra_specs"
            reply = await made.ask("POST", path, {"extra_specs": specs}, "admin", "2.86")
            assert reply.status_code == 200, reply.text
        yield made


def limits(site: Site) -> dict[str, NicLimits | None]:
    """Return the ports that hosts have, and their limits."""
    return {port.port_id: network.limited.get(port.port_id) for network in site.told() for port in network.ports}


async def act(site: Site, server: str, action: str, body: Any = None, who: str = "admin") -> None:
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", {action: body}, who, HIGHEST)
    assert reply.status_code in {202, 204}, reply.text
    await site.cloud.settled()


async def test_why_not_says_that_a_servers_nics_are_limited(site: Site) -> None:
    said = {}
    for flavor in ("slow", "other", "free"):
        server = await site.server(flavor, flavor=site.ids[flavor])
        reply = await site.ask("GET", f"/floe/v1/servers/{server}/why-not?port=22", None, "admin")
        said[flavor] = reply.json()["why_not"]["steps"][0]["text"]
    assert said == {
        "slow": "the server is active; each of its NICs receives 100 kB/s at most",
        "other": "the server is active; each of its NICs sends 50 kB/s at most",
        "free": "the server is active",
    }


async def test_a_server_has_its_limits_whatever_becomes_of_it(site: Site) -> None:
    server = await site.server("one", flavor=site.ids["slow"])
    port = (await site.port(server))["id"]
    assert limits(site) == {port: SLOW}
    for agent in site.cloud.node.agents:
        await agent.crash()
        await agent.start()
    await site.cloud.settled()
    assert limits(site) == {port: SLOW}
    attach = {"interfaceAttachment": {"net_id": site.ids["inner"]}}
    reply = await site.ask("POST", f"{SERVERS}/{server}/os-interface", attach, "demo", HIGHEST)
    second = reply.json()["interfaceAttachment"]["port_id"]
    await site.cloud.settled()
    assert limits(site) == {port: SLOW, second: SLOW}
    await site.ask("DELETE", f"{SERVERS}/{server}/os-interface/{second}", None, "demo", HIGHEST)
    await site.cloud.settled()
    assert limits(site) == {port: SLOW}
    for action, body in (
        *(("rebuild", {"imageRef": site.ids["image"]}), ("migrate", None), ("confirmResize", None)),
        *(("shelve", None), ("unshelve", None), ("os-stop", None), ("os-start", None)),
    ):
        await act(site, server, action, body)
        assert limits(site) == ({} if action == "shelve" else {port: SLOW}), action
    await site.ask("DELETE", f"{SERVERS}/{server}")
    await site.cloud.settled()
    assert [(network.ports, network.limited) for network in site.told()] == [((), {})] * 2


async def test_a_resize_gives_it_others_from_its_start_on_and_takes_them_back(site: Site) -> None:
    server = await site.server("one", flavor=site.ids["slow"])
    port = (await site.port(server))["id"]
    for name, decided, then in (("other", "revertResize", SLOW), ("other", "confirmResize", OTHER)):
        await act(site, server, "resize", {"flavorRef": site.ids[name]})
        assert limits(site) == {port: OTHER}
        await act(site, server, decided)
        assert limits(site) == {port: then}
    await act(site, server, "resize", {"flavorRef": site.ids["free"]})
    assert limits(site) == {port: None}
    reply = await site.ask("GET", "/floe/v1/audit", None, "admin")
    assert reply.json()["violations"] == []


async def test_what_cannot_be_is_refused_by_name_and_hosts_that_cannot_limit_are_not_chosen(site: Site) -> None:
    wanted = {"imageRef": site.ids["image"], "flavorRef": site.ids["wrong"], "networks": "none", "name": "one"}
    reply = await site.ask("POST", SERVERS, {"server": wanted}, "demo", HIGHEST)
    refused(reply, 400, "quota:vif_inbound_burst means nothing without quota:vif_inbound_average")
    server = await site.server("free", flavor=site.ids["free"])
    reply = await site.ask(
        "POST", f"{SERVERS}/{server}/action", {"resize": {"flavorRef": site.ids["wrong"]}}, "demo", HIGHEST
    )
    refused(reply, 400, "quota:vif_inbound_burst")
    for agent in site.cloud.node.agents:
        assert isinstance(agent._plane, FakePlane)
        await agent.crash()
        agent._plane.script.limiting = False
        await agent.start()
    await site.cloud.settled()
    lost = await site.server("lost", flavor=site.ids["slow"])
    shown = (await site.ask("GET", f"{SERVERS}/{lost}", None, "admin", HIGHEST)).json()["server"]
    assert shown["status"] == "ERROR"
    assert "CUSTOM_NIC_LIMITS" in shown["fault"]["message"]
