"""A cloud with thousands of everything, made by copying the rows of what the API made once."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from itertools import count, islice
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from floe.store.engine import Connection
from floe.store.schema import load
from floe.testing import EmbeddedCloud

MANY = 3000
"""Copies of each thing."""

Change = Callable[[int, Any], Any] | None
"""What a column has in a copy, by the copy's number and what is copied; None for a number that no row has."""


def ident(number: int, old: str) -> str:
    """Return the id of a copy; what refers to the copied thing refers to its copy by the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{old} {number}"))


def _named(number: int, old: str) -> str:
    return f"{old}-{number}"


def _unused(taken: Collection[int], old: int) -> list[int]:
    """Return numbers for the copies, well above the copied one; what the cloud drew for others lies anywhere."""
    return list(islice((number for number in count(old + 2001) if number not in taken), MANY))


def _host(number: int, old: str) -> str:
    """Return one of a few of the copied hosts; none of them has an agent that would say that the guest is not there."""
    return f"{old}-{1 + number % 7}"


def _mac(number: int, _old: str) -> str:
    return f"fa:17:3e:00:{number >> 8:02x}:{number & 255:02x}"


COPIES: Mapping[str, Mapping[str, Change]] = {
    "domains": {"id": ident, "name": _named, "folded": _named},
    "users": {"id": ident, "name": _named, "folded": _named},
    "projects": {"id": ident, "name": _named, "folded": _named},
    "groups": {"id": ident, "name": _named, "folded": _named},
    "group_memberships": {"group_id": ident},
    "role_assignments": {"target_id": ident},
    "application_credentials": {"id": ident, "name": _named},
    "regions": {"id": _named},
    "catalogue_services": {"id": ident},
    "catalogue_endpoints": {"id": ident},
    "flavors": {"flavor_id": _named, "name": _named},
    "flavor_access": {"project_id": ident},
    "images": {"id": ident},
    "image_members": {"project_id": ident},
    "keypairs": {"name": _named},
    "server_groups": {"id": ident},
    "hosts": {"name": _named},
    "networks": {"id": ident, "tag": None},
    "subnets": {"id": ident, "network_id": ident},
    "security_groups": {"id": ident, "name": _named},
    "security_group_rules": {"id": ident, "group_id": ident},
    "servers": {"id": ident, "host": _host},
    "server_tags": {"server_id": ident},
    "allocations": {"server_id": ident, "host": _host},
    "ports": {"id": ident, "server_id": ident, "device_id": ident, "host": _host, "mac": _mac},
    "port_groups": {"port_id": ident},
    "port_addresses": {"port_id": ident, "address": None},
    "actions": {"id": ident, "request_id": _named},
    "holdings": {"server_id": ident, "host": _host, "action_id": ident},
    "server_disks": {"server_id": ident},
    "address_groups": {"id": ident, "name": _named},
}
"""What is copied, in an order that foreign keys allow, and what differs in each copy."""
_LAST: Mapping[str, Mapping[str, Any]] = {
    "security_groups": {"default": False},
    "role_assignments": {"actor_kind": "user", "target_kind": "project"},
    "flavor_access": {},
}


def _copy(conn: Connection, table: sa.Table, changes: Mapping[str, Change], known: Mapping[str, str]) -> None:
    statement = sa.select(table)
    for column, value in known.items():
        if column in table.c:
            statement = statement.where(table.c[column] == value)
    row = conn.execute(statement.limit(1)).mappings().first()
    if row is None:
        row = conn.execute(sa.select(table).limit(1)).mappings().first()
    assert row is not None, f"there is nothing in {table.name} to copy"
    found = {column.key: row[column] for column in table.c}
    made = [dict(found) for _ in range(MANY)]
    for name, change in changes.items():
        old = found[name]
        if change is None:
            values = _unused(set(conn.execute(sa.select(table.c[name])).scalars()), old)
        else:
            values = [change(number, old) for number in range(1, MANY + 1)]
        for each, value in zip(made, values, strict=True):
            each[name] = value
    for key in table.primary_key:
        if isinstance(key.type, sa.Integer) and not isinstance(key.type, sa.BigInteger):
            for each in made:
                del each[key.name]
    conn.execute(table.insert(), [each | dict(_LAST.get(table.name, {})) for each in made])


class Grown:
    """The cloud, its two users, and the ids of what was copied, by the names that paths have for them."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud
        transport = httpx.ASGITransport(cloud.node)
        self.http = httpx.AsyncClient(transport=transport, base_url=cloud.url, timeout=300)
        self.tokens: dict[str, str] = {}
        self.params: dict[str, str] = {}

    async def login(self, name: str) -> Mapping[str, Any]:
        domain = {"name": "Default"}
        user = {"name": name, "password": self.cloud.passwords[name], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": name, "domain": domain}}}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        self.tokens[name] = reply.headers["x-subject-token"]
        token: Mapping[str, Any] = reply.json()["token"]
        return token

    async def ask(self, who: str, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {"X-Auth-Token": self.tokens[who], "OpenStack-API-Version": "compute latest", **headers}
        return await self.http.request(method, path, json=body, headers=sent)

    async def make(self, who: str, path: str, body: Any) -> Any:
        reply = await self.ask(who, "POST", path, body)
        assert reply.status_code in {200, 201, 202}, reply.text
        found = reply.json()
        return next(iter(found.values())) if len(found) == 1 else found

    async def prepare(self) -> None:
        token = await self.login("demo")
        await self.login("admin")
        user, project = token["user"]["id"], token["project"]["id"]
        image = await self.make("demo", "/image/v2/images", {"disk_format": "raw", "container_format": "bare"})
        octets = {"Content-Type": "application/octet-stream", "X-Auth-Token": self.tokens["demo"]}
        await self.http.put(f"/image/v2/images/{image['id']}/file", content=b"\0" * 4096, headers=octets)
        await self.make("demo", f"/image/v2/images/{image['id']}/members", {"member": "0" * 32})
        await self.make(
            "demo", "/compute/v2.1/os-keypairs", {"keypair": {"name": "k", "type": "ssh", "public_key": KEY}}
        )
        group = await self.make(
            "demo", "/compute/v2.1/os-server-groups", {"server_group": {"name": "g", "policy": "affinity"}}
        )
        made = await self.make("admin", "/identity/v3/groups", {"group": {"name": "people"}})
        await self.ask("admin", "PUT", f"/identity/v3/groups/{made['id']}/users/{user}")
        await self.make("admin", "/identity/v3/regions", {"region": {"id": "far"}})
        path = f"/identity/v3/users/{user}/application_credentials"
        credential = await self.make("demo", path, {"application_credential": {"name": "c"}})
        flavor = {"name": "own", "vcpus": 1, "ram": 64, "disk": 1, "id": "own", "os-flavor-access:is_public": False}
        await self.make("admin", "/compute/v2.1/flavors", {"flavor": flavor})
        await self.make("admin", "/compute/v2.1/flavors/own/action", {"addTenantAccess": {"tenant": project}})
        network = (await self.ask("demo", "GET", "/network/v2.0/networks?name=private")).json()["networks"][0]
        addresses = {"address_group": {"name": "a", "addresses": ["10.1.0.0/16"]}}
        address_group = await self.make("demo", "/network/v2.0/address-groups", addresses)
        server = {
            "name": "s",
            "imageRef": image["id"],
            "flavorRef": "own",
            "networks": [{"uuid": network["id"]}],
            "key_name": "k",
            "tags": ["t"],
            "metadata": {"a": "b" * 255},
        }
        made_server = await self.make("demo", "/compute/v2.1/servers", {"server": server})
        await self.cloud.settled()
        ports = (await self.ask("demo", "GET", f"/network/v2.0/ports?device_id={made_server['id']}")).json()["ports"]
        known = {"server_id": made_server["id"], "flavor_id": "own", "project_id": project, "user_id": user}
        known["port_id"] = ports[0]["id"]
        hosts = (await self.ask("admin", "GET", "/compute/v2.1/os-hypervisors")).json()["hypervisors"]
        services = (await self.ask("admin", "GET", "/compute/v2.1/os-services")).json()["services"]
        self.params = {
            **known,
            "image_id": image["id"],
            "member_id": "0" * 32,
            "name": "k",
            "network": network["name"],
            "group_id": group["id"],
            "hypervisor_id": hosts[0]["id"],
            "service_id": services[-1]["id"],
            "uuid": hosts[0]["id"],
            "consumer": made_server["id"],
            "application_credential_id": credential["id"],
            "domain_id": "default",
            "region_id": "far",
            "network_id": network["id"],
            "address_group_id": address_group["id"],
        }

        def grow(conn: Connection) -> None:
            for name, changes in COPIES.items():
                _copy(conn, load().tables[name], changes, known)

        await self.cloud.node.cloud.db.write(grow)


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJf5LKb3nGqkD4mCzqV7kqkLJxWwPvPH7hE4i3n4QfYk k"


@pytest.fixture
async def grown(embedded: EmbeddedCloud) -> AsyncIterator[Grown]:
    """A cloud with thousands of everything."""
    made = Grown(embedded)
    await made.prepare()
    yield made
    await made.http.aclose()
