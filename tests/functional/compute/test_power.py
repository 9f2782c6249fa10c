"""Power actions as users ask for them: which states allow which, what is refused and how, and what is noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from floe.cloud.cloud import Cloud
from floe.core import ahead
from floe.core.actions import CREATE
from floe.core.servers import Server
from floe.store import actions
from floe.store import servers as rows

IMAGE = "11111111-1111-4111-8111-111111111111"
ASKED: dict[str, Any] = {
    "os-start": None,
    "os-stop": None,
    "pause": None,
    "unpause": None,
    "suspend": None,
    "resume": None,
    "SOFT": {"type": "SOFT"},
    "HARD": {"type": "HARD"},
}
ALLOWED = {
    "active": {"os-stop", "pause", "suspend", "SOFT", "HARD"},
    "stopped": {"os-start", "HARD"},
    "paused": {"unpause", "HARD"},
    "suspended": {"resume", "HARD"},
    "error": {"os-stop", "HARD"},
    "building": set[str](),
}
"""From Nova's compute API: `check_instance_state` of each call."""
TASKS = {
    "os-start": "powering-on",
    "os-stop": "powering-off",
    "SOFT": "rebooting",
    "HARD": "rebooting_hard",
    "pause": "pausing",
    "unpause": "unpausing",
    "suspend": "suspending",
    "resume": "resuming",
}
OVERTAKEN = {"rebooting", "rebooting_hard", "pausing", "unpausing", "suspending", "resuming"}
"""Nova's `task_states.ALLOW_REBOOT`, as far as they are ours."""
OF_NOVA = {"SOFT": "reboot", "HARD": "reboot", "os-start": "start", "os-stop": "stop"}


def body(action: str) -> dict[str, Any]:
    return {"reboot" if action in {"SOFT", "HARD"} else action: ASKED[action]}


async def make(client: Callable[..., Any], cloud: Cloud, vm_state: str, task_state: str | None = None) -> str:
    """Return a server of ann's that was built, in these states."""
    given = {"name": "web", "imageRef": IMAGE, "flavorRef": "0", "networks": "none"}
    reply = await client("ann").post("/servers", json={"server": given})
    assert reply.status_code == 202, reply.text
    ident: str = reply.json()["server"]["id"]
    now = cloud.clock.now()

    def built(conn: Any) -> None:
        actions.cancel_open(conn, ident, now, but="delete")
        rows.change(conn, ident, vm_state=vm_state, task_state=task_state, host="h1", launched_at=now)

    await cloud.db.write(built)
    return ident


async def server_of(cloud: Cloud, ident: str) -> Server:
    found = await cloud.db.read(lambda conn: rows.get(conn, ident))
    assert found is not None
    return found


@pytest.mark.parametrize("vm_state", ALLOWED)
async def test_each_state_allows_what_it_allows_in_nova(
    client: Callable[..., Any], compute_cloud: Cloud, vm_state: str
) -> None:
    for action, task_state in TASKS.items():
        ident = await make(client, compute_cloud, vm_state)
        reply = await client("ann").post(f"/servers/{ident}/action", json=body(action))
        server = await server_of(compute_cloud, ident)
        if action in ALLOWED[vm_state]:
            assert (reply.status_code, reply.content) == (202, b""), (action, reply.text)
            assert (server.vm_state, server.task_state) == (vm_state, task_state)
            assert server.guest_generation == ahead.of_clock(compute_cloud.clock.now())
            assert server.boots == (server.guest_generation if action in {"os-start", "SOFT", "HARD"} else 1)
        else:
            verb = OF_NOVA.get(action, action)
            text = f"Cannot '{verb}' instance {ident} while it is in vm_state {vm_state}"
            assert (reply.status_code, reply.json()) == (409, {"conflictingRequest": {"code": 409, "message": text}})
            assert (server.vm_state, server.task_state, server.guest_generation) == (vm_state, None, 0)


@pytest.mark.parametrize("task_state", [*sorted(set(TASKS.values())), "deleting"])
async def test_what_is_under_way_forbids_all_but_a_hard_reboot(
    client: Callable[..., Any], compute_cloud: Cloud, task_state: str
) -> None:
    for action in TASKS:
        vm_state = next(state for state, allowed in ALLOWED.items() if action in allowed)
        ident = await make(client, compute_cloud, vm_state, task_state)
        reply = await client("ann").post(f"/servers/{ident}/action", json=body(action))
        if action == "HARD" and task_state in OVERTAKEN:
            assert reply.status_code == 202
        else:
            text = f"Cannot '{OF_NOVA.get(action, action)}' instance {ident} while it is in task_state {task_state}"
            assert (reply.status_code, reply.json()["conflictingRequest"]["message"]) == (409, text)


async def test_a_hard_reboot_takes_the_place_of_a_soft_one(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    ident = await make(client, compute_cloud, "active")
    for action in ("SOFT", "HARD", "HARD"):
        assert (await client("ann").post(f"/servers/{ident}/action", json=body(action))).status_code == 202
    found = await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    states = [action.state for action in found if action.kind == "reboot"]
    assert sorted(states) == ["cancelled", "cancelled", "pending"]
    server = await server_of(compute_cloud, ident)
    assert server.boots == server.guest_generation == ahead.of_clock(compute_cloud.clock.now()) + 2


async def test_a_server_that_was_never_built_has_no_power(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    ident = await make(client, compute_cloud, "error")
    await compute_cloud.db.write(lambda conn: rows.change(conn, ident, host=None, launched_at=None))
    for action in ("os-stop", "HARD"):
        reply = await client("ann").post(f"/servers/{ident}/action", json=body(action))
        assert reply.status_code == 409
        assert f"Instance {ident} is in an invalid state for" in reply.text


async def test_a_locked_server_is_its_administrators(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    for action in TASKS:
        vm_state = next(state for state, allowed in ALLOWED.items() if action in allowed)
        ident = await make(client, compute_cloud, vm_state)
        path = f"/servers/{ident}/action"
        assert (await client("ann").post(path, json={"lock": {"locked_reason": "mine"}})).status_code == 202
        reply = await client("ann").post(path, json=body(action))
        assert (reply.status_code, reply.json()["conflictingRequest"]["message"]) == (
            409,
            f"Instance {ident} is locked",
        )
        assert (await client("root").post(path, json=body(action))).status_code == 202


async def test_who_may_only_look_or_is_of_another_project_changes_no_power(
    client: Callable[..., Any], compute_cloud: Cloud
) -> None:
    ident = await make(client, compute_cloud, "active")
    for action in TASKS:
        path = f"/servers/{ident}/action"
        assert (await client("bob").post(path, json=body(action))).status_code == 404
        assert (await client("eve").post(path, json=body(action))).status_code == 403
        assert (await client("unscoped").post(path, json=body(action))).status_code == 403
    assert (await server_of(compute_cloud, ident)).guest_generation == 0


@pytest.mark.parametrize("kind", ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"])
async def test_the_type_of_a_reboot_is_taken_as_nova_takes_it(
    client: Callable[..., Any], compute_cloud: Cloud, kind: str
) -> None:
    ident = await make(client, compute_cloud, "active")
    path = f"/servers/{ident}/action"
    assert (await client("ann").post(path, json={"reboot": {"type": kind}})).status_code == 202
    task_state = "rebooting" if kind.upper() == "SOFT" else "rebooting_hard"
    assert (await server_of(compute_cloud, ident)).task_state == task_state
    shown = (await client("ann").get(f"/servers/{ident}")).json()["server"]
    assert shown["status"] == {"rebooting": "REBOOT", "rebooting_hard": "HARD_REBOOT"}[task_state]
    for wrong in ({"type": "sOFT"}, {}, None, {"type": "SOFT", "more": 1}, {"type": None}):
        assert (await client("ann").post(path, json={"reboot": wrong})).status_code == 400


@pytest.mark.parametrize(
    ("vm_state", "status"), [("paused", "PAUSED"), ("suspended", "SUSPENDED"), ("stopped", "SHUTOFF")]
)
async def test_servers_are_shown_and_found_by_their_status(
    client: Callable[..., Any], compute_cloud: Cloud, vm_state: str, status: str
) -> None:
    ident = await make(client, compute_cloud, vm_state)
    await make(client, compute_cloud, "active")
    shown = (await client("ann").get(f"/servers/{ident}")).json()["server"]
    assert (shown["status"], shown["OS-EXT-STS:vm_state"], shown["OS-EXT-STS:task_state"]) == (status, vm_state, None)
    found = (await client("ann").get("/servers", params={"status": status})).json()["servers"]
    assert [server["id"] for server in found] == [ident]


async def test_a_reset_gives_up_a_change_of_power_and_no_build(
    client: Callable[..., Any], compute_cloud: Cloud
) -> None:
    ident = await make(client, compute_cloud, "active")
    path = f"/servers/{ident}/action"
    await client("ann").post(path, json=body("os-stop"))
    assert (await client("root").post(path, json={"os-resetState": {"state": "error"}})).status_code == 202
    server = await server_of(compute_cloud, ident)
    assert (server.vm_state, server.task_state) == ("error", None)
    found = await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    assert {action.kind: action.state for action in found} == {CREATE.kind: "cancelled", "stop": "cancelled"}
    building = (
        await client("ann").post(
            "/servers", json={"server": {"name": "b", "imageRef": IMAGE, "flavorRef": "0", "networks": "none"}}
        )
    ).json()["server"]["id"]
    reply = await client("root").post(f"/servers/{building}/action", json={"os-resetState": {"state": "error"}})
    assert reply.status_code == 409


async def test_a_crash_dump_is_asked_for_beside_all_else(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    """It leaves the server as it is: nothing shows but its action, and others may begin at the same time."""
    asked = {"trigger_crash_dump": None}
    for vm_state in ALLOWED:
        ident = await make(client, compute_cloud, vm_state)
        path = f"/servers/{ident}/action"
        reply = await client("ann").post(path, json=asked)
        assert reply.status_code == (202 if vm_state in {"active", "paused", "error"} else 409), vm_state
        server = await server_of(compute_cloud, ident)
        assert (server.vm_state, server.task_state, server.boots) == (vm_state, None, 1)
    ident = await make(client, compute_cloud, "active")
    path = f"/servers/{ident}/action"
    for body_ in (asked, {"os-stop": None}):
        assert (await client("ann").post(path, json=body_)).status_code == 202
    assert (await client("ann").post(path, json=asked)).status_code == 409, "it is powering off"
    for wrong in ({}, "now", {"type": "NMI"}):
        assert (await client("ann").post(path, json={"trigger_crash_dump": wrong})).status_code == 400
    early = await client("ann", "2.16").post(path, json=asked)
    assert early.status_code == 404, "there since 2.17"
    assert "'trigger_crash_dump' is there at microversions from 2.17 on; asked for was 2.16" in early.text
    kinds = [action.kind for action in await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))]
    assert sorted(kinds) == ["create", "stop", "trigger_crash_dump"]


async def test_crash_dumps_of_one_server_do_not_pile_up(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    """They leave no mark in the row, so nothing but the one that is under way tells of them: a host may be down."""
    ident = await make(client, compute_cloud, "active")
    path, asked = f"/servers/{ident}/action", {"trigger_crash_dump": None}
    replies = [await client("ann").post(path, json=asked) for _ in range(5)]
    assert [reply.status_code for reply in replies] == [202, *[409] * 4]
    text = f"Cannot 'trigger_crash_dump' instance {ident} while an earlier 'trigger_crash_dump' of it is under way"
    assert replies[1].json()["conflictingRequest"]["message"] == text
    kinds = [action.kind for action in await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))]
    assert kinds.count("trigger_crash_dump") == 1
    other = await make(client, compute_cloud, "active")
    assert (await client("ann").post(f"/servers/{other}/action", json=asked)).status_code == 202
    reset = {"os-resetState": {"state": "error"}}
    assert (await client("root").post(path, json=reset)).status_code == 202
    assert (await client("ann").post(path, json=asked)).status_code == 202, "the earlier one was given up"
