"""Application credentials: whose they are, what they may, when they end."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from floe.cloud import application_credentials
from floe.store import quota_usages

from .conftest import Place


async def _login(place: Place, scope: object = None, **part: Any) -> httpx.Response:
    identity = {"methods": ["application_credential"], "application_credential": part}
    auth: dict[str, Any] = {"identity": identity}
    if scope is not None:
        auth["scope"] = scope
    return await place.http.post("/identity/v3/auth/tokens", json={"auth": auth})


async def _make(place: Place, token: str, user_id: str | None, **fields: Any) -> httpx.Response:
    body = {"application_credential": {"name": "robot", **fields}}
    return await place.call(token, "POST", f"/users/{user_id}/application_credentials", body)


async def test_it_logs_in_to_its_project_with_its_roles_alone(place: Place) -> None:
    demo = await place.token("demo")
    reply = await _make(place, demo, place.made.demo_user_id, roles=[{"name": "reader"}])
    assert reply.status_code == 201, reply.text
    made = reply.json()["application_credential"]
    by_id = await _login(place, id=made["id"], secret=made["secret"])
    assert by_id.status_code == 201
    token = by_id.json()["token"]
    assert [role["name"] for role in token["roles"]] == ["reader"]
    assert token["project"]["id"] == place.made.demo_project_id
    assert token["application_credential"] == {"id": made["id"], "name": "robot", "restricted": True}
    user = {"name": "demo", "domain": {"name": "Default"}}
    assert (await _login(place, name="robot", user=user, secret=made["secret"])).status_code == 201
    assert (await _login(place, id=made["id"], secret="wrong")).status_code == 401
    assert (await _login(place, id="0" * 32, secret=made["secret"])).status_code == 401
    scope = {"project": {"id": place.made.demo_project_id}}
    assert (await _login(place, scope, id=made["id"], secret=made["secret"])).status_code == 401


async def test_its_secret_is_shown_once(place: Place) -> None:
    demo = await place.token("demo")
    made = (await _make(place, demo, place.made.demo_user_id)).json()["application_credential"]
    path = f"/users/{place.made.demo_user_id}/application_credentials"
    assert (await place.call(demo, "GET", f"{path}?name=robot")).json()["application_credentials"][0]["id"] == made[
        "id"
    ]
    shown = (await place.call(demo, "GET", f"{path}/{made['id']}")).json()["application_credential"]
    assert {key: made[key] for key in made if key != "secret"} == shown
    assert (await _make(place, demo, place.made.demo_user_id)).status_code == 409


async def test_it_cannot_have_roles_that_its_user_has_not(place: Place) -> None:
    demo = await place.token("demo")
    reply = await _make(place, demo, place.made.demo_user_id, roles=[{"name": "admin"}])
    assert reply.status_code == 400
    assert "you have: member, reader" in reply.json()["error"]["message"]


async def test_anothers_is_out_of_reach(place: Place) -> None:
    admin, demo = await place.token(), await place.token("demo")
    made = (await _make(place, admin, place.made.admin_user_id)).json()["application_credential"]
    theirs = f"/users/{place.made.admin_user_id}/application_credentials"
    mine = f"/users/{place.made.demo_user_id}/application_credentials"
    assert (await place.call(demo, "GET", theirs)).status_code == 403
    for method in ("GET", "DELETE"):
        assert (await place.call(demo, method, f"{theirs}/{made['id']}")).status_code == 403
        assert (await place.call(demo, method, f"{mine}/{made['id']}")).status_code == 404
    assert (await _make(place, demo, place.made.admin_user_id)).status_code == 403
    assert (await _make(place, admin, place.made.demo_user_id)).status_code == 403


async def test_a_restricted_one_manages_no_others_and_cannot_be_exchanged(place: Place) -> None:
    demo = await place.token("demo")
    made = (await _make(place, demo, place.made.demo_user_id)).json()["application_credential"]
    robot = (await _login(place, id=made["id"], secret=made["secret"])).headers["x-subject-token"]
    assert (await _make(place, robot, place.made.demo_user_id, name="second")).status_code == 403
    path = f"/users/{place.made.demo_user_id}/application_credentials/{made['id']}"
    assert (await place.call(robot, "DELETE", path)).status_code == 403
    identity = {"methods": ["token"], "token": {"id": robot}}
    reply = await place.http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity}})
    assert reply.status_code == 403
    free = await _make(place, demo, place.made.demo_user_id, name="free", unrestricted=True)
    free_one = free.json()["application_credential"]
    token = (await _login(place, id=free_one["id"], secret=free_one["secret"])).headers["x-subject-token"]
    assert (await place.call(token, "DELETE", path)).status_code == 204


async def test_its_tokens_die_with_it_and_with_its_users_role(place: Place) -> None:
    admin, demo = await place.token(), await place.token("demo")
    first = (await _make(place, demo, place.made.demo_user_id)).json()["application_credential"]
    second = (await _make(place, demo, place.made.demo_user_id, name="b")).json()["application_credential"]
    tokens = []
    for made in (first, second):
        tokens.append((await _login(place, id=made["id"], secret=made["secret"])).headers["x-subject-token"])
        assert (await place.call(tokens[-1], "GET", "/auth/catalog")).status_code == 200
    path = f"/users/{place.made.demo_user_id}/application_credentials/{first['id']}"
    assert (await place.call(demo, "DELETE", path)).status_code == 204
    assert (await place.call(tokens[0], "GET", "/auth/catalog")).status_code == 401
    assert (await place.call(tokens[1], "GET", "/auth/catalog")).status_code == 200
    (role,) = (await place.call(admin, "GET", "/roles?name=member")).json()["roles"]
    grant = f"/projects/{place.made.demo_project_id}/users/{place.made.demo_user_id}/roles/{role['id']}"
    assert (await place.call(admin, "DELETE", grant)).status_code == 204
    assert (await place.call(tokens[1], "GET", "/auth/catalog")).status_code == 401
    assert (await _login(place, id=second["id"], secret=second["secret"])).status_code == 401


async def test_it_ends_when_it_said_it_would_and_so_do_its_tokens(place: Place) -> None:
    demo = await place.token("demo")
    past = await _make(place, demo, place.made.demo_user_id, expires_at="2029-12-31T00:00:00")
    assert past.status_code == 400
    reply = await _make(place, demo, place.made.demo_user_id, expires_at="2030-01-01T01:00:00Z")
    made = reply.json()["application_credential"]
    login = await _login(place, id=made["id"], secret=made["secret"])
    assert login.json()["token"]["expires_at"] == "2030-01-01T01:00:00.000000Z"
    place.clock.advance(3600)
    robot = login.headers["x-subject-token"]
    assert (await place.call(robot, "GET", "/auth/catalog")).status_code == 401
    assert (await _login(place, id=made["id"], secret=made["secret"])).status_code == 401


async def test_what_it_cannot_be_is_refused_by_field(place: Place) -> None:
    demo = await place.token("demo")
    for fields, words in (
        ({"name": ""}, "name"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"access_rules": [{"path": "/v2.1/servers"}]}, "access_rules"),
        ({"roles": [{}]}, "roles"),
        ({"secret": "x" * 2000}, "secret"),
        ({"project_id": place.made.admin_project_id}, "project_id"),
    ):
        reply = await _make(place, demo, place.made.demo_user_id, **fields)
        assert reply.status_code == 400, reply.text
        assert words in reply.json()["error"]["message"]
    unscoped = await place.token("demo", scope="unscoped")
    assert (await _make(place, unscoped, place.made.demo_user_id)).status_code == 400


async def test_a_user_has_no_more_of_them_than_may_be(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_credentials, "MOST", 2)
    demo = await place.token("demo")
    for name in ("one", "two"):
        assert (await _make(place, demo, place.made.demo_user_id, name=name)).status_code == 201
    refused = await _make(place, demo, place.made.demo_user_id, name="three")
    assert refused.status_code == 403
    assert "You have 2 application credentials, and may have no more" in refused.text


async def test_they_are_counted_as_they_come_and_go(place: Place) -> None:
    demo, user_id = await place.token("demo"), place.made.demo_user_id or ""

    async def counted() -> int:
        found = await place.cloud.db.read(lambda conn: quota_usages.of(conn, user_id))
        return found["application_credential"]

    made = [(await _make(place, demo, user_id, name=name)).json()["application_credential"]["id"] for name in "ab"]
    assert await counted() == 2
    await place.call(demo, "DELETE", f"/users/{user_id}/application_credentials/{made[0]}")
    assert await counted() == 1
    await place.call(await place.token("admin"), "DELETE", f"/users/{user_id}")
    assert await counted() == 0
