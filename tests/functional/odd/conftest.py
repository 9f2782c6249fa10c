"""A cloud with one of everything, and a client of its ASGI application that sends what no library would send."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from floe.testing import EmbeddedCloud

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 me"
WELL_FORMED = re.compile(rb"[a-z0-9-]+: [\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
HIGHEST = {"compute": "compute 2.96", "placement": "placement 1.39"}


@dataclass(slots=True)
class Caller:
    """Somebody with a token, who calls the application itself."""

    app: Any
    token: str
    ids: dict[str, str]
    """The id of one thing of each kind, by the names that paths and bodies have for it."""
    others: dict[str, str] = field(default_factory=dict)
    """Users, projects and domains that nobody acts as."""
    reply_headers: dict[bytes, bytes] = field(default_factory=dict)
    """Those of the last reply."""

    async def send(
        self,
        surface: str,
        method: str,
        path: str,
        *,
        query: str = "",
        body: bytes | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
        version: tuple[int, int] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request, path and query as they stand on the wire; return status and body of the reply."""
        fields: dict[str, bytes] = {
            "x-auth-token": self.token.encode(),
            "host": b"cloud",
            "x-subject-token": self.token.encode(),
        }
        if surface in HIGHEST:
            fields["openstack-api-version"] = (
                f"{surface} {version[0]}.{version[1]}" if version else HIGHEST[surface]
            ).encode()
        if body is not None:
            fields["content-type"] = b"application/json"
        fields |= dict(headers)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(f"/{surface}{path}"),
            "raw_path": f"/{surface}{path}".encode("latin-1", "replace"),
            "query_string": query.encode(),
            "headers": [(name.encode(), value) for name, value in fields.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body or b"", "more_body": False}]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0) if waiting else {"type": "http.disconnect"}

        async def keep(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(scope, receive, keep)
        self.reply_headers = dict(sent[0]["headers"])
        broken = [field for field in sent[0]["headers"] if not WELL_FORMED.fullmatch(b"%s: %s" % field)]
        assert broken == [], (method, path, query, body)
        assert sent[-1]["type"] == "http.response.body" and not sent[-1].get("more_body"), "the reply was cut off"
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])

    async def make(self, surface: str, method: str, path: str, body: Any = None) -> Any:
        """Send what is right, and return the reply."""
        raw = None if body is None else msgspec.json.encode(body)
        status, reply = await self.send(surface, method, path, body=raw)
        assert status < 300, (method, path, status, reply)
        return msgspec.json.decode(reply) if reply else None


async def _token(app: Any, name: str, password: str, project: str) -> str:
    user = {"name": name, "password": password, "domain": {"id": "default"}}
    scope = {"project": {"name": project, "domain": {"id": "default"}}}
    asked = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": msgspec.json.encode(asked), "more_body": False}

    async def keep(message: dict[str, Any]) -> None:
        got.append(message)

    scope_: dict[str, Any] = {"type": "http", "method": "POST", "path": "/identity/v3/auth/tokens", "query_string": b""}
    await app({**scope_, "headers": [], "http_version": "1.1", "scheme": "http"}, receive, keep)
    assert got[0]["status"] == 201, got
    return dict(got[0]["headers"])[b"x-subject-token"].decode()


async def serve(member: Caller, ids: dict[str, str]) -> str:
    """Ask for a server that has one of everything, and return its id."""
    asked = {
        "name": "s",
        "flavorRef": "1",
        "imageRef": ids["image_id"],
        "networks": [{"uuid": ids["network_id"]}],
        "metadata": {"k": "v"},
        "tags": ["t"],
    }
    return (await member.make("compute", "POST", "/v2.1/servers", {"server": asked}))["server"]["id"]


async def _furnish(admin: Caller, member: Caller) -> dict[str, str]:
    """Make one of everything, and return the ids by the names that paths have for them."""
    ids: dict[str, str] = {}

    async def made(who: Caller, surface: str, path: str, key: str, **fields: Any) -> Any:
        return (await who.make(surface, "POST", path, {key: fields}))[key]

    ids["project_id"] = (await admin.make("identity", "GET", "/v3/auth/tokens"))["token"]["project"]["id"]
    ids["user_id"] = (await admin.make("identity", "GET", "/v3/auth/tokens"))["token"]["user"]["id"]
    ids["domain_id"] = "default"
    domain = await made(admin, "identity", "/v3/domains", "domain", name="d")
    project = await made(admin, "identity", "/v3/projects", "project", name="p")
    user = await made(admin, "identity", "/v3/users", "user", name="u", password="secret")
    admin.others = {"domain_id": domain["id"], "project_id": project["id"], "user_id": user["id"]}
    ids["group_id"] = (await made(admin, "identity", "/v3/groups", "group", name="g"))["id"]
    ids["role_id"] = (await made(admin, "identity", "/v3/roles", "role", name="r"))["id"]
    ids["service_id"] = (await made(admin, "identity", "/v3/services", "service", type="t", name="s"))["id"]
    network = await made(member, "network", "/v2.0/networks", "network", name="n")
    subnet = await made(
        member, "network", "/v2.0/subnets", "subnet", network_id=network["id"], ip_version=4, cidr="10.7.0.0/24"
    )
    ids |= {"network_id": network["id"], "networkId": network["id"], "subnet_id": subnet["id"]}
    group = await made(member, "network", "/v2.0/security-groups", "security_group", name="x")
    ids["security_group_id"] = group["id"]
    offices = await made(member, "network", "/v2.0/address-groups", "address_group", addresses=["10.0.0.0/8"])
    ids["address_group_id"] = offices["id"]
    for path, noun, fields in (
        ("routers", "router", {"name": "r"}),
        ("subnetpools", "subnetpool", {"name": "p", "prefixes": ["10.66.0.0/16"]}),
        ("address-scopes", "address_scope", {"name": "s", "ip_version": 4}),
    ):
        ids[f"{noun}_id"] = (await made(member, "network", f"/v2.0/{path}", noun, **fields))["id"]
    networks = (await member.make("network", "GET", "/v2.0/networks"))["networks"]
    ids["floating_network_id"] = next(each["id"] for each in networks if each["router:external"])
    reached = {"floating_network_id": ids["floating_network_id"]}
    floating = await made(member, "network", "/v2.0/floatingips", "floatingip", **reached)
    ids["floatingip_id"] = ids["above"] = floating["id"]
    (agent, *_) = (await admin.make("network", "GET", "/v2.0/agents"))["agents"]
    ids["agent_id"] = agent["id"]
    image = await member.make(
        "image", "POST", "/v2/images", {"name": "i", "disk_format": "raw", "container_format": "bare"}
    )
    ids["image_id"] = image["id"]
    status, _ = await member.send(
        "image",
        "PUT",
        f"/v2/images/{image['id']}/file",
        body=b"\0" * 4096,
        headers=(("content-type", b"application/octet-stream"),),
    )
    assert status == 204
    await made(member, "compute", "/v2.1/os-keypairs", "keypair", name="key", public_key=KEY)
    ids |= {
        "flavor_id": "1",
        "flavorRef": "1",
        "imageRef": image["id"],
        "tag": "t",
        "key": "k",
        "alias": "os-keypairs",
    }
    ids["server_id"] = ids["consumer"] = await serve(member, ids)
    (port, *_) = (await member.make("network", "GET", "/v2.0/ports"))["ports"]
    ids["port_id"] = port["id"]
    aggregate = await made(admin, "compute", "/v2.1/os-aggregates", "aggregate", name="a", availability_zone="nova")
    ids["aggregate_id"] = str(aggregate["id"])
    (provider, *_) = (await admin.make("placement", "GET", "/resource_providers"))["resource_providers"]
    ids |= {
        "uuid": provider["uuid"],
        "hypervisor_id": provider["uuid"],
        "resource_class": "VCPU",
        "region_id": "RegionOne",
    }
    return ids


@pytest.fixture
async def callers(embedded: EmbeddedCloud) -> AsyncIterator[tuple[Caller, Caller]]:
    """Give an administrator and an ordinary member of a project that has one of everything."""
    app = embedded.node
    admin = Caller(app, await _token(app, "admin", embedded.passwords["admin"], "admin"), {})
    member = Caller(app, await _token(app, "demo", embedded.passwords["demo"], "demo"), {})
    ids = await _furnish(admin, member)
    await embedded.settled()
    admin.ids = member.ids = ids
    yield admin, member
