"""Locks on servers: who locks and unlocks them, what a lock stops, and what is noted of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from floe.api.compute.surface import SURFACE
from floe.cloud.cloud import Cloud
from floe.store import actions
from floe.store import servers as rows

IMAGE = "11111111-1111-4111-8111-111111111111"

STOPPED = {
    ("DELETE", "", None): None,
    ("POST", "/action", "forceDelete"): None,
    ("POST", "/action", "restore"): None,
    ("POST", "/action", "os-start"): None,
    ("POST", "/action", "os-stop"): None,
    ("POST", "/action", "reboot"): {"type": "HARD"},
    ("POST", "/action", "pause"): None,
    ("POST", "/action", "unpause"): None,
    ("POST", "/action", "suspend"): None,
    ("POST", "/action", "resume"): None,
    ("POST", "/action", "trigger_crash_dump"): None,
    ("POST", "/action", "changePassword"): {"adminPass": "p"},
    ("POST", "/action", "rebuild"): {"imageRef": IMAGE},
    ("POST", "/action", "rescue"): None,
    ("POST", "/action", "unrescue"): None,
    ("POST", "/action", "shelve"): None,
    ("POST", "/action", "unshelve"): None,
    ("POST", "/action", "resize"): {"flavorRef": "0"},
    ("POST", "/action", "confirmResize"): None,
    ("POST", "/action", "revertResize"): None,
    ("POST", "/action", "addFixedIp"): {"networkId": IMAGE},
    ("POST", "/action", "removeFixedIp"): {"address": "192.0.2.1"},
    ("POST", "/os-interface", None): {"interfaceAttachment": {"net_id": IMAGE}},
    ("DELETE", "/os-interface/{port_id}", None): None,
    ("POST", "/metadata", None): {"metadata": {"a": "b"}},
    ("PUT", "/metadata", None): {"metadata": {"a": "b"}},
    ("PUT", "/metadata/{key}", None): {"meta": {"key": "b"}},
    ("DELETE", "/metadata/{key}", None): None,
}
"""What nobody but an administrator may do to a locked server, with what is sent: Nova's `check_instance_lock`."""
NOT_STOPPED = {
    ("PUT", "", None): {"server": {"name": "another"}},
    ("POST", "/action", "lock"): None,
    ("POST", "/action", "unlock"): None,
    ("POST", "/action", "os-getConsoleOutput"): None,
    ("POST", "/action", "os-resetState"): {"state": "error"},
    ("POST", "/action", "shelveOffload"): None,
    ("POST", "/action", "migrate"): None,
    ("POST", "/action", "createImage"): {"name": "i"},
    ("POST", "/action", "createBackup"): {"name": "i", "backup_type": "daily", "rotation": 1},
    ("POST", "/action", "addFloatingIp"): {"address": "192.0.2.1"},
    ("POST", "/action", "removeFloatingIp"): {"address": "192.0.2.1"},
    ("POST", "/action", "addSecurityGroup"): {"name": "web"},
    ("POST", "/action", "removeSecurityGroup"): {"name": "web"},
    ("DELETE", "/os-server-password", None): None,
    ("PUT", "/tags", None): {"tags": ["a"]},
    ("DELETE", "/tags", None): None,
    ("PUT", "/tags/{tag}", None): None,
    ("DELETE", "/tags/{tag}", None): None,
}
"""What a lock has no say in, as in Nova."""
OLD = frozenset({"addFixedIp", "removeFixedIp", "addFloatingIp", "removeFloatingIp"})
"""Actions that are there to 2.43."""
SERVER = "/v2.1/servers/{server_id}"


async def make(client: Callable[..., Any], cloud: Cloud, *, by: str | None = None, reason: str | None = None) -> str:
    """Return a server of ann's that was built and has an item, locked by somebody."""
    given = {"name": "web", "imageRef": IMAGE, "flavorRef": "0", "networks": "none", "metadata": {"key": "a"}}
    given |= {"tags": ["tag"]}
    reply = await client("ann").post("/servers", json={"server": given})
    assert reply.status_code == 202, reply.text
    ident: str = reply.json()["server"]["id"]
    now = cloud.clock.now()
    await cloud.db.write(
        lambda conn: rows.change(conn, ident, vm_state="active", task_state=None, host="h1", launched_at=now)
    )
    if by:
        assert (await ask(client, by, ident, "lock", {"locked_reason": reason} if reason else None)).status_code == 202
    return ident


async def ask(client: Callable[..., Any], who: str, ident: str, action: str, given: Any = None) -> Any:
    """Ask for an action."""
    return await client(who).post(f"/servers/{ident}/action", json={action: given})


async def shown(client: Callable[..., Any], ident: str) -> tuple[bool, str | None]:
    """Return whether a server is locked, and why."""
    server = (await client("ann").get(f"/servers/{ident}")).json()["server"]
    return server["locked"], server["locked_reason"]


def test_each_call_that_changes_a_server_says_whether_a_lock_stops_it() -> None:
    changing = {
        (route.method, route.path.removeprefix(SERVER), route.action)
        for route in SURFACE.routes
        if route.path.startswith(SERVER) and route.method != "GET"
    }
    assert changing == STOPPED.keys() | NOT_STOPPED.keys()
    assert not STOPPED.keys() & NOT_STOPPED.keys()


@pytest.mark.parametrize(("method", "path", "action"), [*STOPPED, *NOT_STOPPED])
async def test_a_lock_stops_what_it_stops_in_nova(
    client: Callable[..., Any], compute_cloud: Cloud, method: str, path: str, action: str | None
) -> None:
    ident = await make(client, compute_cloud, by="ann")
    given = (STOPPED | NOT_STOPPED)[method, path, action]
    url = f"/servers/{ident}{path.format(key='key', tag='tag', port_id=IMAGE)}"
    sent = {action: given} if action else given
    version = "2.43" if action in OLD else "2.96"
    reply = await client("ann", version).request(method, url, json=sent)
    assert "microversion" not in reply.text
    if (method, path, action) in STOPPED:
        assert reply.status_code == 409
        assert reply.json()["conflictingRequest"]["message"] == f"Instance {ident} is locked"
        as_admin = await client("root", version).request(method, url, json=sent)
        assert "is locked" not in as_admin.text, "an administrator is not stopped"
    else:
        assert "is locked" not in reply.text


@pytest.mark.parametrize(
    ("locks", "unlocks", "status"),
    [("ann", "ann", 202), ("ann", "root", 202), ("root", "root", 202), ("root", "ann", 403)],
)
async def test_who_may_unlock_what_who_locked(
    client: Callable[..., Any], compute_cloud: Cloud, locks: str, unlocks: str, status: int
) -> None:
    ident = await make(client, compute_cloud, by=locks, reason="mine")
    reply = await ask(client, unlocks, ident, "unlock")
    assert reply.status_code == status
    assert await shown(client, ident) == ((True, "mine") if status == 403 else (False, None))
    if status == 403:
        assert "os_compute_api:os-lock-server:unlock:unlock_override" in reply.text
        assert (await ask(client, unlocks, ident, "os-stop")).status_code == 409


async def test_a_lock_upon_a_lock(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    """Its owner has no say where it is locked; an administrator takes it over, and names another reason or none."""
    ident = await make(client, compute_cloud, by="ann", reason="first")
    assert (await ask(client, "ann", ident, "lock", {"locked_reason": "second"})).status_code == 202
    assert await shown(client, ident) == (True, "first")
    assert (await ask(client, "root", ident, "lock")).status_code == 202
    assert await shown(client, ident) == (True, "first")
    assert (await ask(client, "root", ident, "lock", {"locked_reason": "third"})).status_code == 202
    assert await shown(client, ident) == (True, "third")
    assert (await ask(client, "ann", ident, "lock", {"locked_reason": "fourth"})).status_code == 202
    assert (await ask(client, "ann", ident, "unlock")).status_code == 403
    for by, found in (("admin", [ident]), ("owner", [])):
        listed = await client("root").get("/servers", params={"all_tenants": "1", "locked_by": by})
        assert [server["id"] for server in listed.json()["servers"]] == found


async def test_locks_are_told_among_the_actions(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    ident = await make(client, compute_cloud, by="ann")
    await ask(client, "ann", ident, "lock")  # changes nothing, so there is nothing to tell
    await ask(client, "root", ident, "lock")
    await ask(client, "root", ident, "unlock")
    listed = (await client("ann").get(f"/servers/{ident}/os-instance-actions")).json()["instanceActions"]
    told = {action["action"] for action in listed}
    assert (len(listed), told) == (4, {"create", "lock", "unlock"})
    by = {(action["action"], action["user_id"]) for action in listed}
    assert by == {("create", "ann"), ("lock", "ann"), ("lock", "root"), ("unlock", "root")}
    for action in (each for each in listed if each["action"] != "create"):
        path = f"/servers/{ident}/os-instance-actions/{action['request_id']}"
        one = (await client("root").get(path)).json()["instanceAction"]
        assert [(event["event"], event["result"]) for event in one["events"]] == [
            (f"api_{action['action']}", "Success")
        ]
        assert one["events"][0]["finish_time"] is not None


async def test_pages_of_actions_are_the_whole_list_however_many_begin_in_one_moment(
    client: Callable[..., Any], compute_cloud: Cloud
) -> None:
    """Whoever may lock a server may begin as many actions as they like."""
    ident = await make(client, compute_cloud)
    for action in ("lock", "unlock") * 4:
        assert (await ask(client, "ann", ident, action)).status_code == 202
    moment = compute_cloud.clock.now()
    same = actions.actions.update().where(actions.actions.c.kind != "create").values(created_at=moment)
    await compute_cloud.db.write(lambda conn: conn.execute(same).rowcount)
    path = f"/servers/{ident}/os-instance-actions"
    whole = [each["request_id"] for each in (await client("ann").get(path)).json()["instanceActions"]]
    assert len(whole) == len(set(whole)) == 9
    for size in (1, 2, 3, 9, 10):
        found: list[str] = []
        for _ in range(20):
            query = {"limit": size, **({"marker": found[-1]} if found else {})}
            page = (await client("ann").get(path, params=query)).json()
            found += [each["request_id"] for each in page["instanceActions"]]
            if "links" not in page:
                break
        assert found == whole, size
    for wrong in ("req-of-nobody", ident):
        assert (await client("ann").get(path, params={"marker": wrong})).status_code == 400


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"locked_reason": "r" * 255}, 202),
        ({"locked_reason": "r" * 256}, 400),
        ({"locked_reason": ""}, 400),
        ({"locked_reason": None}, 400),
        ({"locked_reason": 1}, 400),
        ({"reason": "r"}, 400),
        ({}, 202),
        (None, 202),
        ("now", 400),
    ],
)
async def test_the_bounds_of_a_reason(
    client: Callable[..., Any], compute_cloud: Cloud, given: Any, status: int
) -> None:
    ident = await make(client, compute_cloud)
    assert (await ask(client, "ann", ident, "lock", given)).status_code == status
    assert (await shown(client, ident))[0] is (status == 202)
    before = await client("ann", "2.72").post(f"/servers/{ident}/action", json={"lock": given})
    assert before.status_code == 202, "before 2.73 nobody looks at it"


async def test_a_lock_of_another_projects_server_is_not_found(client: Callable[..., Any], compute_cloud: Cloud) -> None:
    ident = await make(client, compute_cloud)
    for action in ("lock", "unlock"):
        assert (await ask(client, "bob", ident, action)).status_code == 404
        assert (await ask(client, "eve", ident, action)).status_code == 403
