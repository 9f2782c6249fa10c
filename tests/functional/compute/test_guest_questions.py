"""changePassword and diagnostics: what is asked of a host while the request waits, and what is answered of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from floe.cloud.cloud import Cloud
from floe.core.guest_questions import Diagnostics, SetPassword
from floe.core.messages import Command, Done, Failed, Result
from floe.core.servers import ACTIVE, PAUSED, STOPPED
from floe.store import actions
from floe.store import servers as rows

IMAGE = "11111111-1111-4111-8111-111111111111"
ASK = {"changePassword": {"adminPass": "Pa55 of \u2603"}}


class Host:
    """Host h1, which answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.heard: list[Command] = []
        self.answer: Result = Done()

    async def __call__(self, command: Command) -> Result:
        self.heard.append(command)
        return self.answer


@pytest.fixture
async def host(compute_cloud: Cloud) -> Host:
    host = Host()
    await compute_cloud.bus.serve("h1", host)
    return host


async def made(client: Callable[..., Any], cloud: Cloud, **values: Any) -> str:
    server = {"name": "web", "imageRef": IMAGE, "flavorRef": "0", "networks": "none"}
    ident: str = (await client("ann").post("/servers", json={"server": server})).json()["server"]["id"]
    values = {"vm_state": ACTIVE, "task_state": None, "host": "h1", "power_state": 1, **values}
    await cloud.db.write(lambda conn: rows.change(conn, ident, launched_at=cloud.clock.now(), **values))
    return ident


async def history(cloud: Cloud, ident: str) -> list[tuple[str, str, str | None]]:
    found = await cloud.db.read(lambda conn: actions.of_server(conn, ident))
    return [(each.kind, each.state, each.message) for each in found if each.kind == "changePassword"]


@pytest.mark.parametrize(
    ("properties", "user"),
    [({}, "root"), ({"os_type": "windows"}, "Administrator"), ({"os_type": "windows", "os_admin_user": "me"}, "me")],
)
async def test_a_password_is_set_for_the_images_administrator(
    client: Any, compute_cloud: Cloud, host: Host, properties: dict[str, str], user: str
) -> None:
    ident = await made(client, compute_cloud, image_properties=properties)
    path = f"/servers/{ident}/action"
    for version in ("2.1", "2.96"):
        reply = await client("ann", version).post(path, json=ASK)
        assert (reply.status_code, reply.content) == (202, b"")
    assert host.heard == [SetPassword(server_id=ident, user=user, password="Pa55 of \u2603")] * 2
    assert "Pa55" not in repr(host.heard)
    assert await history(compute_cloud, ident) == [("changePassword", "succeeded", None)] * 2
    found = (await client("ann").get(f"/servers/{ident}/os-instance-actions")).json()["instanceActions"]
    shown = await client("ann").get(f"/servers/{ident}/os-instance-actions/{found[0]['request_id']}")
    (event,) = shown.json()["instanceAction"]["events"]
    assert (event["event"], event["result"]) == ("changePassword", "Success")


NOBODY = Failed(kind="not_supported", message="nobody")
OFF, GONE = Failed(kind="conflict", message="it refuses"), Failed(kind="not_found", message="no guest")


@pytest.mark.parametrize(
    ("agent", "answer", "status", "text"),
    [
        ("yes", NOBODY, 501, "no guest agent answers"),
        ("", NOBODY, 409, "Guest agent is not enabled for the instance"),
        ("no", None, 409, "Guest agent is not enabled for the instance"),
        ("yes", OFF, 409, "it refuses"),
        ("yes", GONE, 409, "no guest"),
        ("yes", Failed(kind="unavailable", message="too many"), 503, "too many"),
    ],
)
async def test_a_password_that_is_not_set_says_why_and_leaves_the_server_alone(
    client: Any, compute_cloud: Cloud, host: Host, agent: str, answer: Result | None, status: int, text: str
) -> None:
    ident = await made(client, compute_cloud, image_properties={"hw_qemu_guest_agent": agent} if agent else {})
    before = await compute_cloud.db.read(lambda conn: rows.get(conn, ident))
    host.answer = answer or Done()
    reply = await client("ann").post(f"/servers/{ident}/action", json=ASK)
    assert reply.status_code == status
    ((fault, said),) = reply.json().items()
    assert fault == {409: "conflictingRequest", 501: "notImplemented", 503: "serviceUnavailable"}[status]
    assert text in said["message"]
    assert len(host.heard) == (answer is not None)
    assert [state for _, state, _ in await history(compute_cloud, ident)] == ["failed"] * len(host.heard)
    assert await compute_cloud.db.read(lambda conn: rows.get(conn, ident)) == before


async def test_a_password_is_refused_where_it_makes_no_sense(client: Any, compute_cloud: Cloud, host: Host) -> None:
    ident = await made(client, compute_cloud)
    path = f"/servers/{ident}/action"
    for wrong in (None, {}, {"adminPass": None}, {"adminPass": 5}, {"adminPass": "p", "more": 1}):
        assert (await client("ann").post(path, json={"changePassword": wrong})).status_code == 400, wrong
    assert [(await client(who).post(path, json=ASK)).status_code for who in ("bob", "eve", "unscoped")] == [
        404,
        403,
        403,
    ]
    for vm_state, task_state in ((STOPPED, None), (PAUSED, None), (ACTIVE, "rebooting")):
        state = {"vm_state": vm_state, "task_state": task_state}
        await compute_cloud.db.write(lambda conn, state=state: rows.change(conn, ident, **state))
        reply = await client("ann").post(path, json=ASK)
        assert reply.status_code == 409
        assert f"Cannot 'changePassword' instance {ident} while it is in" in reply.text
    assert host.heard == []
    await compute_cloud.bus.withdraw("h1")
    await compute_cloud.db.write(lambda conn: rows.change(conn, ident, vm_state=ACTIVE, task_state=None))
    assert (await client("ann").post(path, json=ASK)).status_code == 503


async def test_diagnostics_are_refused_where_there_are_none(client: Any, compute_cloud: Cloud, host: Host) -> None:
    ident = await made(client, compute_cloud)
    path = f"/servers/{ident}/diagnostics"
    host.answer = Diagnostics(cpus=(5, 6), memory_max=2048, memory_used=1024)
    assert (await client("root", "2.47").get(path)).json() == {"cpu0_time": 5, "cpu1_time": 6, "memory": 2048}
    shown = (await client("root", "2.48").get(path)).json()
    assert shown["cpu_details"][1] == {"id": 1, "time": 6, "utilisation": None}
    assert shown["memory_details"] == {"maximum": 2, "used": 1}
    assert [(await client(who).get(path)).status_code for who in ("ann", "bob", "eve")] == [403] * 3
    assert (await client("root").get("/servers/nope/diagnostics")).status_code == 404
    for answer, status in ((OFF, 409), (GONE, 409), (Failed(kind="internal", message="broken"), 500), (Done(), 500)):
        host.answer = answer
        assert (await client("root").get(path)).status_code == status
    await compute_cloud.bus.withdraw("h1")
    assert (await client("root").get(path)).status_code == 503
    await compute_cloud.db.write(lambda conn: rows.change(conn, ident, host=None))
    assert (await client("root").get(path)).status_code == 409
