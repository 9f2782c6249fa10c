"""DELETE that is put off, restore and forceDelete, as clients see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from floe.cloud.cloud import Cloud
from floe.store import actions
from floe.store import servers as rows

IMAGE = "11111111-1111-4111-8111-111111111111"


async def gone(client: Callable[..., Any], cloud: Cloud) -> str:
    """Return a server of ann's that is soft-deleted."""
    given = {"name": "web", "imageRef": IMAGE, "flavorRef": "0", "networks": "none"}
    ident: str = (await client("ann").post("/servers", json={"server": given})).json()["server"]["id"]
    now = cloud.clock.now()

    def put_off(conn: Any) -> None:
        actions.cancel_open(conn, ident, now, but="delete")
        rows.change(conn, ident, vm_state="soft-delete", task_state=None, host="h1", launched_at=now, reclaim_at=now)

    await cloud.db.write(put_off)
    return ident


async def test_only_an_administrator_who_asks_has_it_in_a_list(
    client: Callable[..., Any], compute_cloud: Cloud
) -> None:
    ident = await gone(client, compute_cloud)
    ann, root = client("ann"), client("root")
    wide = "/servers/detail?all_tenants=1"
    for found in (
        await ann.get("/servers"),
        await ann.get("/servers?status=SOFT_DELETED&deleted=1&soft_deleted=1"),
        await root.get(wide),
        await root.get(f"{wide}&deleted=1&soft_deleted=0"),
    ):
        assert found.json()["servers"] == [], found.request.url
    for asked in ("deleted=1", "status=SOFT_DELETED", "soft_deleted=1", "changes-since=2001-01-01"):
        (shown,) = (await root.get(f"{wide}&{asked}")).json()["servers"]
        assert (shown["id"], shown["status"], shown["OS-EXT-STS:vm_state"]) == (ident, "SOFT_DELETED", "soft-delete")
        assert "progress" not in shown
    assert (await ann.get(f"/servers/{ident}")).json()["server"]["status"] == "SOFT_DELETED"
    assert (await ann.get("/limits")).json()["limits"]["absolute"]["totalInstancesUsed"] == 0


async def test_restore_and_force_delete_are_accepted_of_it_and_nothing_else(
    client: Callable[..., Any], compute_cloud: Cloud
) -> None:
    ident = await gone(client, compute_cloud)
    ann, path = client("ann"), f"/servers/{ident}/action"
    refused = await ann.post(path, json={"os-start": None})
    assert (refused.status_code, "soft-delete" in refused.text) == (409, True)
    assert (await client("bob").post(path, json={"restore": None})).status_code == 404
    assert (await client("eve").post(path, json={"restore": None})).status_code == 403
    assert (await ann.post(path, json={"restore": None})).status_code == 202
    assert (await ann.get(f"/servers/{ident}")).json()["server"]["OS-EXT-STS:task_state"] == "restoring"
    assert (await ann.get("/limits")).json()["limits"]["absolute"]["totalInstancesUsed"] == 1
    assert (await ann.post(path, json={"restore": None})).status_code == 409
    assert (await ann.post(path, json={"forceDelete": None})).status_code == 202
    shown = (await ann.get(f"/servers/{ident}/os-instance-actions")).json()["instanceActions"]
    assert [each["action"] for each in shown][:2] == ["delete", "restore"]
