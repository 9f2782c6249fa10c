"""POST /os-server-external-events: each event is judged by itself, and a changed network is told anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from floe.cloud.cloud import Cloud
from floe.store import host_networks as network_rows
from floe.store import servers as rows

IMAGE = "11111111-1111-4111-8111-111111111111"
PATH = "/os-server-external-events"


async def made(client: Callable[..., Any], cloud: Cloud, host: str | None) -> str:
    server = {"name": "web", "imageRef": IMAGE, "flavorRef": "0", "networks": "none"}
    ident: str = (await client("ann").post("/servers", json={"server": server})).json()["server"]["id"]
    await cloud.db.write(lambda conn: rows.change(conn, ident, vm_state="active", task_state=None, host=host))
    return ident


def event(ident: str, name: str = "network-changed", **more: Any) -> dict[str, Any]:
    return {"name": name, "server_uuid": ident, **more}


async def said(client: Any, *events: dict[str, Any], version: str = "2.96", who: str = "root") -> Any:
    return await client(who, version).post(PATH, json={"events": list(events)})


async def test_each_event_is_judged_by_itself(client: Any, compute_cloud: Cloud) -> None:
    placed, unplaced = await made(client, compute_cloud, "h1"), await made(client, compute_cloud, None)
    sent = [
        event(placed, tag="t"),
        event(placed, "network-vif-plugged", status="failed"),
        event(placed, "power-update"),
        event(unplaced, "volume-reimaged", status="in-progress"),
        event(IMAGE, "volume-extended"),
    ]
    reply = await said(client, *sent)
    assert reply.status_code == 207
    codes = [(each["status"], each["code"]) for each in reply.json()["events"]]
    assert codes == [("completed", 200), ("completed", 200), ("failed", 400), ("failed", 422), ("failed", 404)]
    assert reply.json()["events"][0] == {**sent[0], "status": "completed", "code": 200}
    assert "tag" not in reply.json()["events"][1]
    all_taken = await said(client, *sent[:2])
    assert all_taken.status_code == 200
    (alone,) = (await said(client, event(unplaced))).json()["events"]
    assert alone["code"] == 422


async def test_only_a_changed_network_has_a_host_told_anew_and_no_event_touches_a_server(
    client: Any, compute_cloud: Cloud
) -> None:
    ident = await made(client, compute_cloud, "h1")

    async def seen() -> tuple[int, Any]:
        return await compute_cloud.db.read(lambda conn: (network_rows.wanted(conn, "h1"), rows.get(conn, ident)))

    generation, before = await seen()
    others = ("network-vif-plugged", "network-vif-unplugged", "network-vif-deleted", "volume-extended", "power-update")
    reply = await said(client, *(event(ident, name, tag="POWER_OFF") for name in others))
    assert reply.status_code == 200
    assert await seen() == (generation, before)
    assert (await said(client, event(ident), event(ident))).status_code == 200
    after, server = await seen()
    assert after > generation
    assert server == before


async def test_events_are_refused_that_make_no_sense_and_callers_who_are_no_service(
    client: Any, compute_cloud: Cloud
) -> None:
    ident = await made(client, compute_cloud, "h1")
    for wrong in (
        event(ident, "reboot"),
        event("nope"),
        event(ident, status="done"),
        event(ident, tag="x" * 256),
        event(ident, tag=None),
        event(ident, more=1),
        {"name": "network-changed"},
    ):
        assert (await said(client, wrong)).status_code == 400, wrong
    assert (await said(client)).status_code == 400
    assert (await said(client, *[event(ident)] * 257)).status_code == 400
    assert [(await said(client, event(ident), who=who)).status_code for who in ("ann", "eve", "system")] == [403] * 3
