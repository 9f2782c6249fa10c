"""A cloud with an outside, a router, and what a user of the project `demo` does in it, for tests of several kinds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from floe.core.host_network import HostNetwork
from floe.dataplane.fake import FakePlane
from floe.testing import EmbeddedCloud

SERVERS, PORTS = "/compute/v2.1/servers", "/network/v2.0/ports"


@dataclass
class Site:
    """A cloud with an outside, a router, and what a user of the project `demo` does in it."""

    cloud: EmbeddedCloud
    http: httpx.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Any = None, who: str = "demo", version: str = "2.43") -> Any:
        headers = {"x-auth-token": self.tokens[who], "x-openstack-nova-api-version": version}
        return await self.http.request(method, path, json=body, headers=headers)

    async def made(self, kind: str, who: str = "demo", **fields: Any) -> dict[str, Any]:
        reply = await self.ask("POST", f"/network/v2.0/{kind}s", {kind: fields}, who)
        assert reply.status_code == 201, reply.text
        found: dict[str, Any] = reply.json()[kind]
        return found

    async def act(self, server: str, action: str, who: str = "demo", version: str = "2.43", **fields: Any) -> Any:
        reply = await self.ask("POST", f"{SERVERS}/{server}/action", {action: fields}, who, version)
        await self.cloud.settled()
        return reply

    async def server(self, name: str, network: str | None = "inner", flavor: str = "0") -> str:
        networks = "none" if network is None else [{"uuid": self.ids[network]}]
        body = {"name": name, "imageRef": self.ids["image"], "flavorRef": flavor, "networks": networks}
        reply = await self.ask("POST", SERVERS, {"server": body})
        assert reply.status_code == 202, reply.text
        await self.cloud.settled()
        return str(reply.json()["server"]["id"])

    async def addresses(self, server: str) -> list[tuple[str, str]]:
        """Return the server's addresses, as the compute API shows them, with their kinds."""
        shown = (await self.ask("GET", f"{SERVERS}/{server}")).json()["server"]["addresses"]
        return [(each["addr"], each["OS-EXT-IPS:type"]) for found in shown.values() for each in found]

    async def port(self, server: str) -> dict[str, Any]:
        (found,) = (await self.ask("GET", f"{PORTS}?device_id={server}")).json()["ports"]
        return dict(found)

    def told(self) -> list[HostNetwork]:
        """Return what the hosts' networks are now."""
        planes = [agent._plane for agent in self.cloud.node.agents]
        return [plane.applied for plane in planes if isinstance(plane, FakePlane)]

    def floating(self) -> dict[str, str]:
        """Return where the floating IPs lead that hosts know of."""
        known = [each for network in self.told() for router in network.routers for each in router.floating]
        return {each.address: each.fixed for each in known}

    def forwarded(self) -> set[str]:
        """Return the addresses to which ports are forwarded that hosts know of."""
        return {each.fixed for network in self.told() for router in network.routers for each in router.forwarded}

    def fixed(self, port_id: str) -> set[str]:
        """Return the addresses that a host knows a port by."""
        ports = [port for network in self.told() for port in network.ports if port.port_id == port_id]
        return {address.address for port in ports for address in port.addresses}


async def _token(http: httpx.AsyncClient, passwords: Mapping[str, str], name: str) -> str:
    who = {"name": name, "domain": {"id": "default"}, "password": passwords[name]}
    scope = {"project": {"name": name, "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
    reply = await http.post("/identity/v3/auth/tokens", json={"auth": auth})
    return reply.headers["x-subject-token"]


@asynccontextmanager
async def furnished(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an image, an outside, and a network that is joined to it."""
    async with httpx.AsyncClient(base_url=embedded.url) as http:
        site = Site(embedded, http)
        for name in ("admin", "demo"):
            site.tokens[name] = await _token(http, embedded.passwords, name)
        image = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        site.ids["image"] = (await site.ask("POST", "/image/v2/images", image)).json()["id"]
        kind = {"content-type": "application/octet-stream", "x-auth-token": site.tokens["demo"]}
        await http.put(f"/image/v2/images/{site.ids['image']}/file", content=b"\0" * 4096, headers=kind)
        outer = await site.made("network", "admin", name="outer", **{"router:external": True})
        await site.made("subnet", "admin", network_id=outer["id"], cidr="198.51.100.0/24", ip_version=4)
        inner = await site.made("network", name="inner")
        subnet = await site.made("subnet", network_id=inner["id"], cidr="10.77.0.0/28", ip_version=4)
        router = await site.made("router", external_gateway_info={"network_id": outer["id"]})
        join = f"/network/v2.0/routers/{router['id']}/add_router_interface"
        assert (await site.ask("PUT", join, {"subnet_id": subnet["id"]})).status_code == 200
        site.ids |= {"outer": outer["id"], "inner": inner["id"], "subnet": subnet["id"], "router": router["id"]}
        yield site


def refused(reply: httpx.Response, status: int, text: str) -> None:
    assert reply.status_code == status, reply.text
    (fault,) = reply.json().values()
    assert text in fault["message"]
