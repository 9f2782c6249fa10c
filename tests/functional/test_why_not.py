"""`floe why-not` of a running cloud: what stops a packet, by the ids that its user knows, and nobody else's."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from floe.cli.credentials import clouds, clouds_yaml
from floe.core.ids import random_id
from floe.testing import EmbeddedCloud

PUBLIC, INNER = "172.25.0", "10.20.0"


class Caller:
    """Somebody with a token, who speaks to all surfaces."""

    def __init__(self, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"x-auth-token": token, "x-openstack-nova-api-version": "2.96"}

    async def call(self, method: str, path: str, body: Any = None, status: int | None = None) -> Any:
        reply = await self._http.request(method, path, json=body, headers=self._headers)
        assert reply.status_code == status if status else reply.is_success, reply.text
        return reply.json() if reply.content else None

    async def make(self, kind: str, **fields: Any) -> Any:
        plural = kind.replace("_", "-") + "s"
        return (await self.call("POST", f"/network/v2.0/{plural}", {kind: fields}))[kind]

    async def change(self, kind: str, ident: str, **fields: Any) -> None:
        await self.call("PUT", f"/network/v2.0/{kind}s/{ident}", {kind: fields})

    async def why_not(self, server: str, query: str, status: int | None = None) -> Any:
        found = await self.call("GET", f"/floe/v1/servers/{server}/why-not?{query}", None, status)
        return found if status else found["why_not"]

    async def stop(self, server: str, query: str) -> Any:
        """Return what stops a packet."""
        found = await self.why_not(server, query)
        assert (found["verdict"] == "stops") == (found["stopped_by"] is not None)
        return found["stopped_by"]


class Site:
    """A project's router between its network and the outside, two servers behind it, and a floating IP of the first."""

    ann: Caller
    root: Caller
    bob: Caller
    cloud: EmbeddedCloud
    public: Any
    router: Any
    network: Any
    subnet: Any
    group: Any
    web: str
    other: str
    ports: dict[str, Any]
    floating: Any


async def login(http: httpx.AsyncClient, name: str, password: str, project: str) -> Caller:
    who = {"name": name, "domain": {"id": "default"}, "password": password}
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    auth = {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}
    reply = await http.post("/identity/v3/auth/tokens", json={"auth": auth})
    return Caller(http, reply.headers["x-subject-token"])


async def stranger(http: httpx.AsyncClient, root: Caller) -> Caller:
    """Make a user in a project of its own."""
    project = (await root.call("POST", "/identity/v3/projects", {"project": {"name": "bob", "domain_id": "default"}}))[
        "project"
    ]["id"]
    user = {"name": "bob", "password": "bob-secret", "domain_id": "default"}
    ident = (await root.call("POST", "/identity/v3/users", {"user": user}))["user"]["id"]
    roles = (await root.call("GET", "/identity/v3/roles?name=member"))["roles"]
    await root.call("PUT", f"/identity/v3/projects/{project}/users/{ident}/roles/{roles[0]['id']}")
    return await login(http, "bob", "bob-secret", "bob")


async def server(caller: Caller, cloud: EmbeddedCloud, name: str, image: str, **fields: Any) -> str:
    flavors = (await caller.call("GET", "/compute/v2.1/flavors"))["flavors"]
    nano = next(each["id"] for each in flavors if each["name"] == "m1.nano")
    body = {"name": name, "imageRef": image, "flavorRef": nano, **fields}
    made: str = (await caller.call("POST", "/compute/v2.1/servers", {"server": body}))["server"]["id"]
    await cloud.settled()
    return made


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with EmbeddedCloud(tmp_path / "state") as cloud, httpx.AsyncClient(base_url=cloud.url, timeout=30) as http:
        made = Site()
        made.cloud, made.ann = cloud, await login(http, "demo", cloud.passwords["demo"], "demo")
        made.root = await login(http, "admin", cloud.passwords["admin"], "admin")
        made.bob = await stranger(http, made.root)
        ann, root = made.ann, made.root
        outer = {"router:external": True, "provider:network_type": "flat", "provider:physical_network": "street"}
        made.public = await root.make("network", name="street", **outer)
        await root.make("subnet", network_id=made.public["id"], cidr=f"{PUBLIC}.0/24", ip_version=4, enable_dhcp=False)
        made.network = await ann.make("network", name="inner")
        made.subnet = await ann.make("subnet", network_id=made.network["id"], cidr=f"{INNER}.0/24", ip_version=4)
        gateway = {"network_id": made.public["id"]}
        made.router = await ann.make("router", name="door", external_gateway_info=gateway)
        await ann.call(
            "PUT", f"/network/v2.0/routers/{made.router['id']}/add_router_interface", {"subnet_id": made.subnet["id"]}
        )
        made.group = await ann.make("security_group", name="web")
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image = (await ann.call("POST", "/image/v2/images", body))["id"]
        kind = {**ann._headers, "content-type": "application/octet-stream"}
        await http.put(f"/image/v2/images/{image}/file", content=b"\0" * 4096, headers=kind)
        where = {"networks": [{"uuid": made.network["id"]}]}
        made.web = await server(ann, cloud, "web", image, security_groups=[{"name": "web"}], **where)
        made.other = await server(ann, cloud, "other", image, **where)
        found = (await ann.call("GET", f"/network/v2.0/ports?network_id={made.network['id']}"))["ports"]
        made.ports = {port["device_id"]: port for port in found}
        made.floating = await ann.make(
            "floatingip", floating_network_id=made.public["id"], port_id=made.ports[made.web]["id"]
        )
        yield made


async def test_what_stops_a_packet_is_named_by_its_id_and_what_would_help(site: Site) -> None:
    ann, web = site.ann, site.web
    stop = await ann.stop(web, "port=22")
    assert (stop["kind"], stop["id"], stop["name"]) == ("security_group", site.group["id"], "web")
    assert f"admits tcp 22 from {PUBLIC}.1" in stop["text"]
    assert stop["remedy"].startswith("openstack security group rule create --protocol tcp --dst-port 22")
    rule = await ann.make(
        "security_group_rule", security_group_id=site.group["id"], direction="ingress", protocol="tcp",
        port_range_min=22, port_range_max=22,
    )  # fmt: skip
    found = await ann.why_not(web, "port=22")
    assert (found["verdict"], found["stopped_by"]) == ("passes", None)
    assert found["packet"] == {
        "protocol": "tcp", "port": 22, "source": f"{PUBLIC}.1", "target": site.floating["floating_ip_address"],
    }  # fmt: skip
    assert rule["id"] in {step["rule"] for step in found["steps"]}
    ids = {step["id"] for step in found["steps"]}
    assert {web, site.public["id"], site.floating["id"], site.router["id"], site.group["id"]} <= ids
    assert (await ann.stop(web, "port=22&protocol=udp"))["kind"] == "security_group"
    assert (await ann.stop(web, "protocol=icmp"))["kind"] == "security_group"


async def test_each_thing_on_the_way_may_stop_it(site: Site) -> None:
    ann, web = site.ann, site.web
    await ann.make("security_group_rule", security_group_id=site.group["id"], direction="ingress")
    assert await ann.stop(web, "port=22") is None
    port = site.ports[web]["id"]
    for kind, ident, fields, back in (
        ("router", site.router["id"], {"admin_state_up": False}, {"admin_state_up": True}),
        ("port", port, {"admin_state_up": False}, {"admin_state_up": True}),
        ("network", site.network["id"], {"admin_state_up": False}, {"admin_state_up": True}),
        ("floatingip", site.floating["id"], {"port_id": None}, {"port_id": port}),
    ):
        await ann.change(kind, ident, **fields)
        stop = await ann.stop(web, "port=22")
        expected = ("server", web) if kind == "floatingip" else (kind, ident)
        assert (stop["kind"], stop["id"]) == expected, stop
        assert stop["remedy"].startswith("openstack ")
        await ann.change(kind, ident, **back)
        assert await ann.stop(web, "port=22") is None, kind
    await ann.call("POST", f"/compute/v2.1/servers/{web}/action", {"os-stop": None})
    await site.cloud.settled()
    stop = await ann.stop(web, "port=22")
    assert (stop["kind"], stop["id"], stop["remedy"]) == ("server", web, f"openstack server start {web}")


async def test_what_is_missing_outside_the_server_is_said(site: Site) -> None:
    ann, other, router = site.ann, site.other, site.router["id"]
    stop = await ann.stop(other, "port=22")
    assert (stop["id"], "floating IP" in stop["text"], "floating ip create" in stop["remedy"]) == (other, True, True)
    await ann.call("DELETE", f"/network/v2.0/floatingips/{site.floating['id']}")
    await ann.change("router", router, external_gateway_info={})
    stop = await ann.stop(other, "port=22")
    assert (stop["kind"], stop["id"], "gateway" in stop["text"]) == ("router", router, True)
    await ann.call("PUT", f"/network/v2.0/routers/{router}/remove_router_interface", {"subnet_id": site.subnet["id"]})
    stop = await ann.stop(other, "port=22")
    assert (stop["kind"], stop["id"]) == ("network", site.network["id"])
    assert stop["remedy"] == f"openstack router add subnet ROUTER {site.subnet['id']}"


async def test_a_server_or_an_address_may_ask(site: Site) -> None:
    ann, address = site.ann, site.ports[site.other]["fixed_ips"][0]["ip_address"]
    assert (await ann.stop(site.web, f"port=22&from={site.other}"))["id"] == site.group["id"]
    await ann.make(
        "security_group_rule", security_group_id=site.group["id"], direction="ingress",
        remote_group_id=site.ports[site.other]["security_groups"][0],
    )  # fmt: skip
    for source in (site.other, address):
        found = await ann.why_not(site.web, f"port=22&from={source}")
        assert (found["verdict"], found["packet"]["source"]) == ("passes", address)
    stop = await ann.stop(site.web, "port=22")
    assert stop["kind"] == "security_group", "who is outside is no member"
    assert "--remote-ip" not in stop["remedy"]
    assert f"--remote-ip {PUBLIC}.9/32" in (await ann.stop(site.web, f"port=22&from={PUBLIC}.9"))["remedy"]
    assert (await ann.stop(site.web, f"port=22&from={site.other}&to={site.floating['floating_ip_address']}"))[
        "kind"
    ] == "security_group", "by way of the floating IP it comes from the router"
    few = await ann.make("address_group", name="few", addresses=[f"{PUBLIC}.8/30"])
    await ann.make(
        "security_group_rule", security_group_id=site.group["id"], direction="ingress", protocol="tcp",
        remote_address_group_id=few["id"],
    )  # fmt: skip
    assert await ann.stop(site.web, f"port=22&from={PUBLIC}.9") is None
    assert (await ann.stop(site.web, f"port=22&from={PUBLIC}.12"))["kind"] == "security_group"
    for wrong in ("port=22&from=::1", "port=0", "port=", "port=22&protocol=gre", "port=22&protocol=icmp",
                  "port=22&to=web", "port=22&from=10.20.0.77", "port=22&how=1"):  # fmt: skip
        await ann.why_not(site.web, wrong, 400)
    await ann.why_not(site.web, f"port=22&from={random_id()}", 404)
    await ann.why_not(site.web, "port=22&from=web", 404)


async def test_a_forwarded_port_is_one_of_its_ways(site: Site) -> None:
    ann, port = site.ann, site.ports[site.other]
    floating = await ann.make("floatingip", floating_network_id=site.public["id"])
    asked = {"protocol": "tcp", "internal_port_id": port["id"], "internal_port": 22, "external_port": 2222}
    asked["internal_ip_address"] = port["fixed_ips"][0]["ip_address"]
    path = f"/network/v2.0/floatingips/{floating['id']}/port_forwardings"
    made = (await ann.call("POST", path, {"port_forwarding": asked}))["port_forwarding"]
    assert (await ann.stop(site.other, "port=22"))["kind"] == "security_group"
    assert "floating IP" in (await ann.stop(site.other, "port=23"))["text"]
    group = port["security_groups"][0]
    await ann.make("security_group_rule", security_group_id=group, direction="ingress", ethertype="IPv4")
    found = await ann.why_not(site.other, "port=22")
    assert (found["verdict"], found["packet"]["port"]) == ("passes", 2222)
    assert found["packet"]["target"] == floating["floating_ip_address"]
    assert made["id"] in {step["id"] for step in found["steps"]}


async def test_a_stranger_finds_no_server_and_is_told_nothing_of_others_things(site: Site) -> None:
    await site.bob.why_not(site.web, "port=22", 404)
    await site.bob.why_not(random_id(), "port=22", 404)
    await site.root.change("network", site.network["id"], shared=True)
    port = await site.bob.make("port", network_id=site.network["id"])
    await site.ann.call("PUT", f"/network/v2.0/routers/{site.router['id']}", {"router": {"name": "secret-door"}})
    made = await bobs_server(site, port["id"])
    await site.bob.why_not(made, f"port=22&from={site.web}", 404)
    found = await site.bob.why_not(made, "port=22")
    text = json.dumps(found)
    assert site.router["id"] not in text and "secret-door" not in text
    assert found["verdict"] == "stops"


async def bobs_server(site: Site, port: str) -> str:
    body = {"name": "j", "disk_format": "raw", "container_format": "bare"}
    image = (await site.bob.call("POST", "/image/v2/images", body))["id"]
    kind = {**site.bob._headers, "content-type": "application/octet-stream"}
    await site.bob._http.put(f"/image/v2/images/{image}/file", content=b"\0" * 4096, headers=kind)
    return await server(site.bob, site.cloud, "bobs", image, networks=[{"port": port}])


async def test_the_command_draws_it_and_its_status_says_whether_it_passes(site: Site, tmp_path: Path) -> None:
    state = site.cloud.folder
    (state / "clouds.yaml").write_text(
        clouds_yaml(clouds(f"{site.cloud.url}/identity/v3", "RegionOne", site.cloud.passwords))
    )

    async def run(*words: str) -> tuple[int, str]:
        argv = [sys.executable, "-m", "floe", "why-not", "--state", str(state), *words]
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    status, out = await run("web", "22")
    assert status == 1, out
    assert "✗ security group web" in out
    assert "→ openstack security group rule create --protocol tcp --dst-port 22" in out
    status, out = await run("--json", "--cloud", "floe", "--from", "other", "web", "22")
    assert status == 1, out
    assert json.loads(out)["stopped_by"]["id"] == site.group["id"]
    await site.ann.make("security_group_rule", security_group_id=site.group["id"], direction="ingress")
    status, out = await run("--protocol", "icmp", site.web)
    assert (status, "✗" in out, "passes" in out) == (0, False, True), out
    status, out = await run("nothing", "22")
    assert (status, "nothing" in out) == (1, True)
    status, out = await run("web")
    assert (status, "port" in out) == (1, True)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What SQLite is asked."""
    found: list[str] = []

    def trace(connection: Any, _record: Any) -> None:
        connection.set_trace_callback(found.append)

    sa.event.listen(sa.Engine, "connect", trace)
    yield found
    sa.event.remove(sa.Engine, "connect", trace)


async def test_what_is_read_does_not_grow_with_the_cloud(statements: list[str], site: Site) -> None:
    """Neither with the ports of the network, nor with the members of a group, nor with the routers of others."""
    ann = site.ann
    await ann.make(
        "security_group_rule", security_group_id=site.group["id"], direction="ingress",
        remote_group_id=site.ports[site.other]["security_groups"][0],
    )  # fmt: skip

    async def asked() -> int:
        counted = []
        for _ in range(4):  # others ask now and then
            before = len(statements)
            await ann.why_not(site.web, f"port=22&from={site.other}")
            counted.append(len([text for text in statements[before:] if text.startswith("SELECT")]))
        return min(counted)

    few = await asked()
    assert 5 < few < 60
    for _ in range(20):
        await ann.make("port", network_id=site.network["id"])
    await ann.make("router")
    assert await asked() == few
