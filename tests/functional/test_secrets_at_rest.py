"""No secret that a customer sends or is given lies readable on the cloud's disk."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command

from floe.cloud import sealing
from floe.store import actions, migrate
from floe.testing import EmbeddedCloud

GIVEN = "Given-Pa55-of-admin"
FILE = base64.b64encode(b"Secret-of-a-file-injected").decode()
CHANGED = "Changed-Pa55-of-admin"
NEW_PASSWORD = "New-Pa55-of-demo"
CREDENTIAL = "Secret-of-the-credential"
LEGACY = "Readable-Pa55-of-an-earlier-release"


def readable(folder: Path, *secrets: str) -> list[str]:
    """Return which secrets can be read in which files."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found += [f"{path.relative_to(folder)}: {secret}" for secret in secrets if secret.encode() in data]
    return found


class User:
    """The demo user of an embedded cloud, over HTTP."""

    def __init__(self, cloud: EmbeddedCloud, http: httpx.AsyncClient) -> None:
        self.cloud, self.http, self.id = cloud, http, ""

    async def login(self, password: str = "demo-secret") -> None:
        """Log in."""
        self.http.headers.pop("x-auth-token", None)
        who = {"name": "demo", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        assert reply.status_code == 201, reply.text
        self.http.headers["x-auth-token"] = reply.headers["x-subject-token"]
        self.id = reply.json()["token"]["user"]["id"]

    async def post(self, path: str, body: Any, **headers: str) -> Any:
        """Ask for something, and return the body of the answer."""
        reply = await self.http.post(path, json=body, headers=headers)
        assert reply.status_code < 300, reply.text
        return reply.json() if reply.content else None

    async def server(self, key: str, image: str, **fields: Any) -> dict[str, Any]:
        """Make a server, and wait until all is settled."""
        flavors = (await self.http.get("/compute/v2.1/flavors")).json()["flavors"]
        body = {"server": {"name": "s", "imageRef": image, "flavorRef": flavors[0]["id"], **fields}}
        made = await self.post("/compute/v2.1/servers", body, **{"idempotency-key": key})
        await self.cloud.settled()
        return dict(made["server"])

    async def status(self, server: dict[str, Any]) -> str:
        """Return what has become of it."""
        return str((await self.http.get(f"/compute/v2.1/servers/{server['id']}")).json()["server"]["status"])

    async def image(self) -> str:
        """Upload one."""
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        ident = str((await self.post("/image/v2/images", body))["id"])
        kind = {"content-type": "application/octet-stream"}
        reply = await self.http.put(f"/image/v2/images/{ident}/file", content=b"\0" * 4096, headers=kind)
        assert reply.status_code == 204, reply.text
        return ident


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    async with EmbeddedCloud(tmp_path / "state") as cloud, httpx.AsyncClient(base_url=cloud.url) as http:
        user = User(cloud, http)
        await user.login()
        yield user


async def test_nothing_secret_is_readable_once_all_is_done(user: User, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    image = await user.image()
    files = [{"path": "/etc/secret", "contents": FILE}]
    made = [
        await user.server("one", image, adminPass=GIVEN),
        await user.server("two", image, adminPass=GIVEN, personality=files),
        await user.server("three", image),
    ]
    user.cloud.node.fake_hosts["fake-1"].fail("start")
    made.append(await user.server("four", image, personality=files))
    assert [await user.status(one) for one in made] == ["ACTIVE", "ACTIVE", "ACTIVE", "ERROR"]
    pair = await user.post("/compute/v2.1/os-keypairs", {"keypair": {"name": "k"}})
    body = {"application_credential": {"name": "robot", "secret": CREDENTIAL}}
    await user.post(f"/identity/v3/users/{user.id}/application_credentials", body)
    change = {"user": {"original_password": "demo-secret", "password": NEW_PASSWORD}}
    await user.post(f"/identity/v3/users/{user.id}/password", change)
    await user.login(NEW_PASSWORD)
    private = pair["keypair"]["private_key"].splitlines()[5]
    for server, status in ((made[0], 202), (made[3], 409)):
        path = f"/compute/v2.1/servers/{server['id']}/action"
        reply = await user.http.post(path, json={"changePassword": {"adminPass": CHANGED}})
        assert reply.status_code == status, reply.text
    assert user.cloud.node.fake_hosts["fake-1"].passwords == {made[0]["id"]: ("root", CHANGED)}
    secrets = [GIVEN, CHANGED, *(one["adminPass"] for one in made), private, CREDENTIAL, NEW_PASSWORD, "demo-secret"]
    secrets.append(user.http.headers["x-auth-token"])
    assert readable(user.cloud.folder, *secrets) == []
    assert {line.partition(":")[0] for line in readable(user.cloud.folder, FILE)} == {"hosts/fake-1/ledger.jsonl"}
    said = [record.getMessage() for record in caplog.records if record.name.startswith("floe")]
    assert said
    assert [secret for secret in [*secrets, FILE] if any(secret in line for line in said)] == []


async def test_secrets_of_an_action_are_sealed_while_it_runs_and_gone_when_it_ended(user: User) -> None:
    image = await user.image()
    user.cloud.node.conductor.runner._stopping = True  # nobody takes it up
    made = await user.server("one", image, adminPass=GIVEN)
    db, cloud = user.cloud.node.cloud.db, user.cloud.node.cloud
    (action,) = await db.read(lambda conn: actions.of_server(conn, made["id"]))
    assert action.sealed is not None
    assert GIVEN not in repr(action)
    assert sealing.given(cloud, action)["admin_password"] == GIVEN
    assert readable(user.cloud.folder, GIVEN) == []
    sealed = action.sealed
    assert readable(user.cloud.folder, sealed)
    reply = await user.http.delete(f"/compute/v2.1/servers/{made['id']}")
    assert reply.status_code == 204
    ended = await db.read(lambda conn: actions.of_server(conn, made["id"]))
    assert [each.sealed for each in ended if each.kind == "create"] == [None]


def downgrade(path: Path, revision: str) -> None:
    """Give a database the schema of an earlier release."""
    migrate.run(path, command.downgrade, revision)


async def test_what_an_earlier_release_left_readable_is_wiped_off_or_sealed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    cloud = EmbeddedCloud(state)
    async with cloud, httpx.AsyncClient(base_url=cloud.url) as http:
        user = User(cloud, http)
        await user.login()
        image = await user.image()
        ended = await user.server("one", image)
        cloud.node.conductor.runner._stopping = True
        opened = await user.server("two", image)
    downgrade(state / "floe.db", "0007")
    with closing(sqlite3.connect(state / "floe.db")) as connection, connection:
        for ident, number in ((ended["id"], 1), (opened["id"], 2)):
            (text,) = connection.execute("SELECT input FROM actions WHERE server_id = ?", (ident,)).fetchone()
            given = json.dumps({**json.loads(text), "admin_password": f"{LEGACY}{number}", "files": [["/f", LEGACY]]})
            connection.execute("UPDATE actions SET input = ? WHERE server_id = ?", (given, ident))
    assert readable(state, LEGACY)
    async with cloud, httpx.AsyncClient(base_url=cloud.url) as http:
        user = User(cloud, http)
        await user.login()
        await cloud.settled()
        assert await user.status(opened) == "ACTIVE"
        assert await user.status(ended) == "ACTIVE"
    assert readable(state, f"{LEGACY}1") == []
    assert readable(state, f"{LEGACY}2") == []
    assert migrate.current(state / "floe.db") == migrate.HEAD


async def test_a_build_whose_keys_are_gone_fails_and_says_why(tmp_path: Path) -> None:
    cloud = EmbeddedCloud(tmp_path / "state")
    async with cloud, httpx.AsyncClient(base_url=cloud.url) as http:
        user = User(cloud, http)
        await user.login()
        image = await user.image()
        cloud.node.conductor.runner._stopping = True
        made = await user.server("one", image, adminPass=GIVEN)
    other = EmbeddedCloud(tmp_path / "state")  # with a token key of its own
    async with other, httpx.AsyncClient(base_url=other.url) as http:
        user = User(other, http)
        await user.login()
        await other.settled()
        shown = (await user.http.get(f"/compute/v2.1/servers/{made['id']}")).json()["server"]
        assert shown["status"] == "ERROR"
        assert "sealed" in shown["fault"]["message"]
