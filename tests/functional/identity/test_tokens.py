"""Logging in, and what keeps a token alive."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from floe.cloud import token_cache
from floe.cloud.bootstrap import bootstrap
from floe.cloud.tokens import authenticate
from floe.store import tokens as token_rows

from .conftest import Place


async def test_a_password_gives_a_token_of_the_project_with_implied_roles_and_catalogue(place: Place) -> None:
    reply = await place.login("demo")
    assert reply.status_code == 201
    token = reply.json()["token"]
    assert token["project"]["id"] == place.made.demo_project_id
    assert [role["name"] for role in token["roles"]] == ["member", "reader"]
    urls = {entry["type"]: entry["endpoints"][0]["url"] for entry in token["catalog"]}
    assert urls == {
        "identity": "http://cloud.test:8774/identity",
        "compute": "http://cloud.test:8774/compute/v2.1",
        "image": "http://cloud.test:8774/image",
        "network": "http://cloud.test:8774/network",
        "placement": "http://cloud.test:8774/placement",
    }


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ({"domain": {"id": "default"}}, "domain"),
        ({"domain": {"name": "Default"}}, "domain"),
        ({"system": {"all": True}}, "system"),
        ({"project": {"name": "admin", "domain": {"name": "Default"}}}, "project"),
        ("default", "project"),
    ],
)
async def test_each_scope_can_be_asked_for(place: Place, scope: object, key: str) -> None:
    reply = await place.login(scope=scope)
    assert reply.status_code == 201
    assert {"project", "domain", "system"} & set(reply.json()["token"]) == {key}
    context = await authenticate(place.cloud, reply.headers["x-subject-token"], "req-1")
    assert context.is_admin
    assert (context.project_id is not None, context.domain_id is not None, context.system) == (
        key == "project",
        key == "domain",
        key == "system",
    )


@pytest.mark.parametrize("scope", ["unscoped", {"unscoped": {}}])
async def test_an_unscoped_token_has_no_roles_and_can_be_exchanged(place: Place, scope: object) -> None:
    reply = await place.login("demo", scope=scope)
    token = reply.json()["token"]
    assert {"roles", "catalog", "project"} & set(token) == set()
    text = reply.headers["x-subject-token"]
    found = (await place.call(text, "GET", "/auth/projects")).json()["projects"]
    assert [project["name"] for project in found] == ["demo"]
    place.clock.advance(60)
    body = {
        "auth": {
            "identity": {"methods": ["token"], "token": {"id": text}},
            "scope": {"project": {"id": found[0]["id"]}},
        }
    }
    again = await place.http.post("/identity/v3/auth/tokens", json=body)
    assert again.status_code == 201
    scoped = again.json()["token"]
    assert scoped["methods"] == ["password", "token"]
    assert scoped["expires_at"] == token["expires_at"]
    assert scoped["audit_ids"][1] == token["audit_ids"][0]


async def test_failed_logins_all_look_alike(place: Place) -> None:
    admin = await place.token()
    await place.make(admin, "user", name="off", password="right", enabled=False)
    await place.make(admin, "user", name="empty")
    replies = [
        await place.login("demo", "wrong"),
        await place.login("nobody", "wrong"),
        await place.login("off", "right", scope="unscoped"),
        await place.login("empty", "anything", scope="unscoped"),
    ]
    assert {(reply.status_code, reply.text) for reply in replies} == {(401, replies[0].text)}


async def test_no_role_means_no_token_and_does_not_tell_what_there_is(place: Place) -> None:
    said = [
        await place.login("demo", scope={"project": project})
        for project in (
            {"id": place.made.admin_project_id},
            {"id": "0" * 32},
            {"name": "admin", "domain": {"id": "default"}},
            {"name": "nothing", "domain": {"id": "default"}},
            {"name": "admin", "domain": {"name": "nowhere"}},
        )
    ]
    assert {(reply.status_code, reply.text) for reply in said} == {(401, said[0].text)}
    for scope in ({"domain": {"id": "default"}}, {"domain": {"name": "nowhere"}}, {"system": {"all": True}}):
        assert (await place.login("demo", scope=scope)).status_code == 401


def _by_password(**user: object) -> dict[str, object]:
    return {"identity": {"methods": ["password"], "password": {"user": user}}}


def _by_token(scope: object) -> dict[str, object]:
    return {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": scope}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "auth"),
        ({"auth": {}}, "identity"),
        ({"auth": {"identity": {"methods": []}}}, "methods"),
        ({"auth": {"identity": {"methods": ["saml2"]}}}, "saml2"),
        ({"auth": {"identity": {"methods": ["password"]}}}, "auth.identity.password is missing"),
        ({"auth": _by_password(name="x", password="y")}, "domain"),
        ({"auth": _by_password(id=1, password="y")}, "user.id"),
        ({"auth": _by_password(id="x", password="y" * 2000)}, "password"),
        ({"auth": _by_token({})}, "exactly one"),
        ({"auth": _by_token("all")}, "unscoped"),
        ({"auth": _by_token({"system": {"all": False}})}, "system"),
    ],
)
async def test_a_login_that_makes_no_sense_is_refused_by_field(place: Place, body: object, words: str) -> None:
    reply = await place.http.post("/identity/v3/auth/tokens", json=body)
    assert reply.status_code == 400
    assert words in reply.json()["error"]["message"]


async def test_what_is_no_json_is_refused(place: Place) -> None:
    for content in (b"", b"{", b"[]", b'{"auth": "\xff"}'):
        reply = await place.http.post("/identity/v3/auth/tokens", content=content)
        assert reply.status_code == 400, reply.text


async def test_headers_that_pretend_to_carry_an_identity_are_ignored(place: Place) -> None:
    lies = {
        "x-user-id": place.made.admin_user_id or "",
        "x-roles": "admin",
        "x-project-id": place.made.admin_project_id or "",
        "x-identity-status": "Confirmed",
        "x-is-admin-project": "True",
    }
    assert (await place.http.get("/identity/v3/users", headers=lies)).status_code == 401
    demo = await place.token("demo")
    assert (await place.call(demo, "GET", "/users", **lies)).status_code == 403


async def test_a_token_ends_when_it_expires(place: Place) -> None:
    token = await place.token("demo")
    assert (await place.call(token, "GET", "/auth/projects")).status_code == 200
    place.clock.advance(place.cloud.settings.token_seconds)
    assert (await place.call(token, "GET", "/auth/projects")).status_code == 401


async def test_a_revoked_token_is_dead_at_once_and_only_that_one(place: Place) -> None:
    token, other = await place.token("demo"), await place.token("demo")
    assert (await place.call(token, "GET", "/auth/projects")).status_code == 200
    reply = await place.call(token, "DELETE", "/auth/tokens", **{"x-subject-token": token})
    assert reply.status_code == 204
    assert (await place.call(token, "GET", "/auth/projects")).status_code == 401
    assert (await place.call(other, "GET", "/auth/projects")).status_code == 200


async def test_a_forged_or_cut_token_is_refused(place: Place) -> None:
    token = await place.token("demo")
    swapped = token[:-5] + ("A" if token[-5] != "A" else "B") + token[-4:]
    foreign = Fernet(Fernet.generate_key()).encrypt(b"\x90").decode()
    empty = Fernet(place.keys[0]).encrypt(b"\x90").decode()
    for text in (swapped, token[:-20], foreign, empty, "x", "gAAAA" + "A" * 5000, "%00", "../../etc"):
        assert (await place.call(text, "GET", "/auth/projects")).status_code == 401, text


async def test_a_key_that_is_rotated_out_ends_its_tokens_and_one_that_is_kept_does_not(place: Place) -> None:
    token = await place.token("demo")
    place.keys.insert(0, Fernet.generate_key())
    token_cache.of(place.cloud).entries.clear()
    assert (await place.call(token, "GET", "/auth/projects")).status_code == 200
    assert (await place.call(await place.token("demo"), "GET", "/auth/projects")).status_code == 200
    del place.keys[1]
    token_cache.of(place.cloud).entries.clear()
    assert (await place.call(token, "GET", "/auth/projects")).status_code == 401


async def _path(place: Place, which: str) -> str:
    return {"user": f"/users/{place.made.demo_user_id}", "project": f"/projects/{place.made.demo_project_id}"}[which]


@pytest.mark.parametrize("which", ["user", "project"])
async def test_a_token_of_a_disabled_user_or_project_dies_at_once(place: Place, which: str) -> None:
    admin, token = await place.token(), await place.token("demo")
    path = await _path(place, which)
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 200
    assert (await place.call(admin, "PATCH", path, {which: {"enabled": False}})).status_code == 200
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 401
    assert (await place.login("demo")).status_code == 401


@pytest.mark.parametrize("which", ["user", "project"])
async def test_a_token_of_a_deleted_user_or_project_dies_at_once(place: Place, which: str) -> None:
    admin, token = await place.token(), await place.token("demo")
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 200
    assert (await place.call(admin, "DELETE", await _path(place, which))).status_code == 204
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 401


async def test_a_user_enabled_again_needs_a_new_token(place: Place) -> None:
    admin, token = await place.token(), await place.token("demo")
    path = await _path(place, "user")
    for enabled in (False, True):
        await place.call(admin, "PATCH", path, {"user": {"enabled": enabled}})
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 401
    assert (await place.login("demo")).status_code == 201


async def test_a_role_taken_back_is_gone_from_tokens_that_are_out(place: Place) -> None:
    admin, token = await place.token(), await place.token("demo")
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 200
    roles = (await place.call(admin, "GET", "/roles?name=member")).json()["roles"]
    grant = f"/projects/{place.made.demo_project_id}/users/{place.made.demo_user_id}/roles/{roles[0]['id']}"
    assert (await place.call(admin, "HEAD", grant)).status_code == 204
    assert (await place.call(admin, "DELETE", grant)).status_code == 204
    assert (await place.call(admin, "HEAD", grant)).status_code == 404
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 401


async def test_a_new_password_ends_all_tokens_and_needs_the_old_one(place: Place) -> None:
    token = await place.token("demo")
    path = f"/users/{place.made.demo_user_id}/password"
    wrong = {"user": {"original_password": "wrong", "password": "next-secret"}}
    assert (await place.call(token, "POST", path, wrong)).status_code == 401
    right = {"user": {"original_password": "demo-secret", "password": "next-secret"}}
    assert (await place.call(token, "POST", path, right)).status_code == 204
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 401
    assert (await place.login("demo")).status_code == 401
    assert (await place.login("demo", "next-secret")).status_code == 201


async def test_a_login_with_the_old_password_that_is_overtaken_by_a_new_one_opens_nothing(place: Place) -> None:
    admin = await place.token()
    path = await _path(place, "user")
    change = asyncio.create_task(place.call(admin, "PATCH", path, {"user": {"password": "next-secret"}}))
    logins = [asyncio.create_task(place.login("demo")) for _ in range(6)]
    assert (await change).status_code == 200
    for reply in await asyncio.gather(*logins):
        text = reply.headers.get("x-subject-token", "none")
        assert (await place.call(text, "GET", "/auth/catalog")).status_code == 401


async def test_a_token_seen_before_costs_no_read(place: Place) -> None:
    token = await place.token("demo")
    first = await authenticate(place.cloud, token, "req-1")
    place.cloud.db.close()
    second = await authenticate(place.cloud, token, "req-2")
    assert (first.request_id, second.request_id) == ("req-1", "req-2")
    assert second.roles == {"member", "reader"}


async def test_a_change_made_by_another_process_is_noticed_at_the_next_read(place: Place) -> None:
    token = await place.token("demo")
    await authenticate(place.cloud, token, "req-1")
    assert token in token_cache.of(place.cloud).entries
    await place.cloud.db.write(token_rows.next_generation)
    other = await place.token("demo")
    await authenticate(place.cloud, other, "req-2")
    assert set(token_cache.of(place.cloud).entries) == {other}


async def test_what_was_read_before_a_change_is_not_kept(place: Place) -> None:
    context = await authenticate(place.cloud, await place.token("demo"), "req-1")
    cache = token_cache.of(place.cloud)
    end = place.clock.now() + timedelta(hours=1)
    cache.put("late", end, context, cache.generation - 1)
    assert "late" not in cache.entries


async def test_another_users_token_is_checked_and_revoked_by_administrators_only(place: Place) -> None:
    admin, demo = await place.token(), await place.token("demo")
    subject = {"x-subject-token": admin}
    assert (await place.call(demo, "GET", "/auth/tokens", **subject)).status_code == 403
    assert (await place.call(demo, "DELETE", "/auth/tokens", **subject)).status_code == 403
    seen = await place.call(admin, "GET", "/auth/tokens?nocatalog", **{"x-subject-token": demo})
    assert seen.status_code == 200
    assert "catalog" not in seen.json()["token"]
    assert (await place.call(admin, "HEAD", "/auth/tokens", **{"x-subject-token": demo})).status_code == 200
    assert (await place.call(admin, "GET", "/auth/tokens", **{"x-subject-token": "x"})).status_code == 404
    assert (await place.call(admin, "GET", "/auth/tokens")).status_code == 400


@pytest.mark.sqlite("it reads the bytes of the file")
async def test_no_password_is_kept_in_the_clear(place: Place, tmp_path: Path) -> None:
    files = list(tmp_path.glob("floe.db*"))
    content = b"".join(file.read_bytes() for file in files)
    assert b"$argon2id$" in content
    assert b"demo-secret" not in content


@pytest.mark.once
async def test_the_second_start_changes_nothing_and_tells_no_password(place: Place) -> None:
    before = place.cloud.db.commits
    again = await bootstrap(place.cloud, lambda: "never used")
    assert place.cloud.db.commits == before
    assert (again.admin_password, again.demo_password) == (None, None)
    assert again.demo_project_id == place.made.demo_project_id
    assert (await place.login("demo")).status_code == 201


async def test_every_reply_names_its_request(place: Place) -> None:
    for reply in (await place.login("demo"), await place.login("demo", "wrong")):
        assert reply.headers["x-openstack-request-id"].startswith("req-")
    assert json.loads((await place.login("demo", "wrong")).content)["error"]["title"] == "Unauthorized"
