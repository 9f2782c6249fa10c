"""Address scopes as hosts are told of them: of which a router's networks are, and when that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sites import Site, furnished

from floe.testing import EmbeddedCloud


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an outside and a network that is joined to it."""
    async with furnished(embedded) as made:
        yield made


def scopes(site: Site) -> set[tuple[str, ...]]:
    """Return the scopes of each router's interfaces, by address, and of its gateway, as hosts have them."""
    found = set()
    for router in (router for network in site.told() for router in network.routers):
        legs = sorted(router.interfaces, key=lambda leg: leg.addresses)
        found.add((*(leg.scope for leg in legs), router.gateway.scope if router.gateway else "none"))
    return found


async def test_hosts_know_of_which_scope_a_routers_networks_are_and_are_told_when_that_changes(site: Site) -> None:
    reply = await site.ask("POST", "/network/v2.0/address-scopes", {"address_scope": {"name": "ours", "ip_version": 4}})
    scope = reply.json()["address_scope"]["id"]
    pool = await site.made("subnetpool", prefixes=["10.99.0.0/16"], address_scope_id=scope)
    network = await site.made("network", name="pooled")
    subnet = await site.made("subnet", network_id=network["id"], ip_version=4, subnetpool_id=pool["id"], prefixlen=24)
    join = f"/network/v2.0/routers/{site.ids['router']}/add_router_interface"
    assert (await site.ask("PUT", join, {"subnet_id": subnet["id"]})).status_code == 200
    await site.server("one")
    assert scopes(site) == {("", scope, "")}
    changed = {"subnetpool": {"address_scope_id": None}}
    assert (await site.ask("PUT", f"/network/v2.0/subnetpools/{pool['id']}", changed)).status_code == 200
    await site.cloud.settled()
    assert scopes(site) == {("", "", "")}
    changed = {"subnetpool": {"address_scope_id": scope}}
    assert (await site.ask("PUT", f"/network/v2.0/subnetpools/{pool['id']}", changed)).status_code == 200
    await site.cloud.settled()
    assert scopes(site) == {("", scope, "")}
