"""A token that was validated before is judged by what the database says now, whoever changed it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from msgspec import structs

from floe.api.app import App
from floe.api.identity.surface import SURFACE
from floe.cloud import token_cache

from .conftest import Place


def _elsewhere(place: Place) -> Place:
    """Return another process on the same database: nothing it does is told to the first."""
    cloud = structs.replace(place.cloud, caches={})
    transport = httpx.ASGITransport(app=App(cloud, surfaces=(SURFACE,)))
    return replace(place, cloud=cloud, http=httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774"))


async def _validated(place: Place, admin: str, token: str) -> Any:
    """Return what a token says, None if it is not valid; HEAD says the same as GET."""
    headers = {"x-subject-token": token}
    shown = await place.call(admin, "GET", "/auth/tokens", **headers)
    head = await place.call(admin, "HEAD", "/auth/tokens", **headers)
    assert head.status_code == shown.status_code
    assert head.content == b""
    return shown.json()["token"] if shown.status_code == 200 else None


async def _revoked(place: Place, admin: str, token: str) -> None:
    reply = await place.call(admin, "DELETE", "/auth/tokens", **{"x-subject-token": token})
    assert reply.status_code == 204


async def _disabled(place: Place, admin: str, _token: str) -> None:
    path = f"/users/{place.made.demo_user_id}"
    assert (await place.call(admin, "PATCH", path, {"user": {"enabled": False}})).status_code == 200


async def _new_password(place: Place, _admin: str, _token: str) -> None:
    body = {"user": {"original_password": "demo-secret", "password": "another"}}
    reply = await place.http.post(f"/identity/v3/users/{place.made.demo_user_id}/password", json=body)
    assert reply.status_code == 204


async def _no_project(place: Place, admin: str, _token: str) -> None:
    path = f"/projects/{place.made.demo_project_id}"
    assert (await place.call(admin, "PATCH", path, {"project": {"enabled": False}})).status_code == 200


async def _no_user(place: Place, admin: str, _token: str) -> None:
    assert (await place.call(admin, "DELETE", f"/users/{place.made.demo_user_id}")).status_code == 204


async def _no_roles(place: Place, admin: str, _token: str) -> None:
    path = f"/projects/{place.made.demo_project_id}/users/{place.made.demo_user_id}/roles"
    for role in (await place.call(admin, "GET", path)).json()["roles"]:
        assert (await place.call(admin, "DELETE", f"{path}/{role['id']}")).status_code == 204


async def _expired(place: Place, _admin: str, _token: str) -> None:
    place.clock.advance(86401)


Ends = Callable[[Place, str, str], Awaitable[None]]
ENDS: tuple[Ends, ...] = (_revoked, _disabled, _new_password, _no_project, _no_user, _no_roles, _expired)


@pytest.mark.parametrize("there", ["in this process", "in another"])
@pytest.mark.parametrize("end", ENDS)
async def test_what_ends_a_token_is_seen_at_once(place: Place, end: Ends, there: str) -> None:
    admin, token = await place.token(), await place.token("demo")
    for _ in range(2):
        assert (await _validated(place, admin, token))["user"]["name"] == "demo"
    await end(place if there == "in this process" else _elsewhere(place), admin, token)
    if end is _expired:
        admin = await place.token()
    assert await _validated(place, admin, token) is None


@pytest.mark.parametrize("there", ["in this process", "in another"])
async def test_changed_names_roles_and_endpoints_are_shown_at_once(place: Place, there: str) -> None:
    admin, token = await place.token(), await place.token("demo")
    before = await _validated(place, admin, token)
    other = place if there == "in this process" else _elsewhere(place)
    role = await other.make(admin, "role", name="inspector")
    path = f"/projects/{place.made.demo_project_id}/users/{place.made.demo_user_id}/roles/{role['id']}"
    assert (await other.call(admin, "PUT", path)).status_code == 204
    change = {"project": {"name": "renamed"}}
    assert (await other.call(admin, "PATCH", f"/projects/{place.made.demo_project_id}", change)).status_code == 200
    service = await other.make(admin, "service", type="rating", name="rated")
    await other.make(
        admin, "endpoint", service_id=service["id"], interface="public", url="http://r/%(project_id)s", region="R2"
    )
    after = await _validated(place, admin, token)
    assert {each["name"] for each in after["roles"]} - {each["name"] for each in before["roles"]} == {"inspector"}
    assert after["project"]["name"] == "renamed"
    (rated,) = [each for each in after["catalog"] if each["type"] == "rating"]
    assert [each["url"] for each in rated["endpoints"]] == [f"http://r/{place.made.demo_project_id}"]
    whole = (await place.call(token, "GET", "/auth/catalog")).json()["catalog"]
    assert whole == after["catalog"]
    assert (await other.call(admin, "DELETE", f"/services/{service['id']}")).status_code == 204
    assert (await _validated(place, admin, token))["catalog"] == before["catalog"]


async def test_the_catalogues_of_two_projects_are_not_mixed_up(place: Place) -> None:
    admin, demo = await place.token(), await place.token("demo")
    service = await place.make(admin, "service", type="rating", name="rated")
    url = "http://r/%(project_id)s/%(user_id)s"
    await place.make(admin, "endpoint", service_id=service["id"], interface="public", url=url)
    for token in (admin, demo, admin, demo):
        said = await _validated(place, admin, token)
        (rated,) = [each for each in said["catalog"] if each["type"] == "rating"]
        assert rated["endpoints"][0]["url"] == f"http://r/{said['project']['id']}/{said['user']['id']}"


async def test_a_token_of_a_credential_that_expires_is_not_kept_longer(place: Place) -> None:
    admin, demo = await place.token(), await place.token("demo")
    body = {"application_credential": {"name": "robot", "secret": "s", "expires_at": "2030-01-01T00:10:00"}}
    path = f"/users/{place.made.demo_user_id}/application_credentials"
    made = (await place.call(demo, "POST", path, body)).json()["application_credential"]
    identity = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": "s"}}
    reply = await place.http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity}})
    token = reply.headers["x-subject-token"]
    assert await _validated(place, admin, token)
    place.clock.advance(601)
    assert await _validated(place, admin, token) is None


async def test_a_token_whose_key_is_gone_is_not_kept(place: Place) -> None:
    demo = await place.token("demo")
    place.keys.insert(0, Fernet.generate_key())
    admin = await place.token()
    assert await _validated(place, admin, demo)
    del place.keys[1]
    assert await _validated(place, admin, demo) is None


async def test_what_is_kept_has_a_bound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_cache, "MAX_BEARERS", 3)
    monkeypatch.setattr(token_cache, "MAX_CATALOGUES", 1)
    admin = await place.token()
    tokens = [await place.token("demo") for _ in range(5)]
    for token in (*tokens, admin):
        assert await _validated(place, admin, token)
    kept = token_cache.of(place.cloud)
    assert list(kept.bearers) == [*tokens[3:], admin]
    assert len(kept.catalogues) == 1
