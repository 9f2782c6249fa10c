"""Names of domains, projects, users, groups and roles are compared without case, and shown as given."""

from __future__ import annotations

import pytest

from floe.store import roles as role_rows
from floe.store import users as user_rows
from floe.store.engine import Connection

from .conftest import Place

NOUNS = ("domain", "project", "user", "group", "role")
CASES = [("web", "WEB"), ("straße", "STRASSE"), ("ΟΔΟΣ", "οδος"), ("ĳ", "Ĳ"), ("naïve", "NAÏVE")]
"""Pairs of names that are one name."""
DIFFERENT = [("i", "ı"), ("İ", "j"), ("ö", "o\u0308"), ("web", "web-1"), ("e", "é")]
"""Pairs of names that are two: only case is passed over."""


@pytest.mark.parametrize("noun", NOUNS)
async def test_a_name_is_taken_whatever_its_case(place: Place, noun: str) -> None:
    admin = await place.token()
    third = await place.make(admin, noun, name="third")
    for one, other in CASES:
        made = await place.make(admin, noun, name=one)
        assert made["name"] == one
        reply = await place.call(admin, "POST", f"/{noun}s", {noun: {"name": other}})
        assert reply.status_code == 409, reply.text
        assert one in reply.json()["error"]["message"]
        assert (await place.call(admin, "PATCH", f"/{noun}s/{third['id']}", {noun: {"name": other}})).status_code == 409
        listed = await place.call(admin, "GET", f"/{noun}s?name={other}")
        assert [item["id"] for item in listed.json()[f"{noun}s"]] == [made["id"]]


@pytest.mark.parametrize("noun", NOUNS)
async def test_names_that_differ_in_more_than_case_are_two(place: Place, noun: str) -> None:
    admin = await place.token()
    for one, other in DIFFERENT:
        first = await place.make(admin, noun, name=one)
        await place.make(admin, noun, name=other)
        listed = await place.call(admin, "GET", f"/{noun}s?name={one}")
        assert [item["id"] for item in listed.json()[f"{noun}s"]] == [first["id"]]


@pytest.mark.parametrize("noun", NOUNS)
async def test_the_case_of_a_name_can_be_changed(place: Place, noun: str) -> None:
    admin = await place.token()
    made = await place.make(admin, noun, name="web")
    path = f"/{noun}s/{made['id']}"
    assert (await place.call(admin, "PATCH", path, {noun: {"name": "Web"}})).json()[noun]["name"] == "Web"
    assert (await place.call(admin, "GET", path)).json()[noun]["name"] == "Web"
    assert (await place.call(admin, "PATCH", path, {noun: {"name": "shop"}})).status_code == 200
    await place.make(admin, noun, name="WEB")


async def test_what_is_there_from_the_first_start_cannot_be_imitated(place: Place) -> None:
    admin = await place.token()
    for noun, name in (
        ("role", "Admin"), ("role", "MEMBER"), ("user", "Admin"), ("project", "DEMO"), ("domain", "default"),
    ):  # fmt: skip
        reply = await place.call(admin, "POST", f"/{noun}s", {noun: {"name": name}})
        assert reply.status_code == 409, (noun, name)


async def test_one_logs_in_whatever_the_case_of_user_domain_and_project(place: Place) -> None:
    who = {"name": "DEMO", "domain": {"name": "default"}, "password": "demo-secret"}
    scope = {"project": {"name": "Demo", "domain": {"name": "DEFAULT"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
    reply = await place.http.post("/identity/v3/auth/tokens", json=body)
    assert reply.status_code == 201, reply.text
    token = reply.json()["token"]
    assert (token["user"]["name"], token["project"]["name"]) == ("demo", "demo")
    assert token["user"]["domain"]["name"] == "Default"
    listed = await place.call(reply.headers["x-subject-token"], "GET", "/users?name=Demo")
    assert [user["name"] for user in listed.json()["users"]] == ["demo"]


async def test_a_domain_scope_is_found_by_name_whatever_its_case(place: Place) -> None:
    reply = await place.login(scope={"domain": {"name": "dEFAULT"}})
    assert reply.json()["token"]["domain"] == {"id": "default", "name": "Default"}


async def test_an_application_credential_takes_roles_and_its_user_whatever_their_case(place: Place) -> None:
    demo = await place.token("demo")
    body = {"application_credential": {"name": "robot", "secret": "s", "roles": [{"name": "Reader"}]}}
    path = f"/users/{place.made.demo_user_id}/application_credentials"
    made = await place.call(demo, "POST", path, body)
    assert [role["name"] for role in made.json()["application_credential"]["roles"]] == ["reader"]
    part = {"name": "robot", "user": {"name": "Demo", "domain": {"name": "default"}}, "secret": "s"}
    auth = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": part}}}
    assert (await place.http.post("/identity/v3/auth/tokens", json=auth)).status_code == 201


async def test_a_role_renamed_in_another_case_is_the_same_to_all_rules(place: Place) -> None:
    admin = await place.token()
    roles = {role["name"]: role["id"] for role in (await place.call(admin, "GET", "/roles")).json()["roles"]}
    for name in ("admin", "member", "reader"):
        reply = await place.call(admin, "PATCH", f"/roles/{roles[name]}", {"role": {"name": name.upper()}})
        assert reply.status_code == 200
    again = await place.login()
    assert [role["name"] for role in again.json()["token"]["roles"]] == ["ADMIN", "MEMBER", "READER", "manager"]
    assert (await place.call(again.headers["x-subject-token"], "GET", "/users")).status_code == 200
    one = await place.make(admin, "role", name="one")
    reply = await place.call(admin, "PUT", f"/roles/{one['id']}/implies/{roles['admin']}")
    assert reply.status_code == 403


async def test_twins_of_an_older_database_are_kept_apart_by_their_exact_names(place: Place) -> None:
    """Before names were compared without case, `Admin` could be made beside `admin`, and was no administrator."""
    admin = await place.token()
    twin = await place.make(admin, "role", name="Beta")
    user = await place.make(admin, "user", name="ann", password="lower", domain_id="default")
    other = await place.make(admin, "user", name="ben", password="upper", domain_id="default")
    path = f"/projects/{place.made.demo_project_id}/users/{other['id']}/roles/{twin['id']}"
    assert (await place.call(admin, "PUT", path)).status_code == 204

    def as_it_was(conn: Connection) -> None:
        role_rows.update(conn, twin["id"], {"name": "Admin"})
        user_rows.update(conn, other["id"], {"name": "ANN"})

    await place.cloud.db.write(as_it_was)
    project = {"project": {"id": place.made.demo_project_id}}
    assert (await place.login("ann", "lower", {"unscoped": {}})).json()["token"]["user"]["id"] == user["id"]
    reply = await place.login("ANN", "upper", project)
    assert reply.json()["token"]["user"]["id"] == other["id"]
    assert (await place.call(reply.headers["x-subject-token"], "GET", "/roles")).status_code == 403
    listed = (await place.call(admin, "GET", "/users?name=Ann")).json()["users"]
    assert {item["id"] for item in listed} == {user["id"], other["id"]}
    kept = await place.call(admin, "PATCH", f"/users/{other['id']}", {"user": {"name": "ANN", "description": "x"}})
    assert kept.status_code == 200
    assert (await place.call(admin, "POST", "/users", {"user": {"name": "Ann"}})).status_code == 409
    assert (await place.call(admin, "DELETE", f"/users/{user['id']}")).status_code == 204
    assert (await place.call(admin, "POST", "/users", {"user": {"name": "ann"}})).status_code == 409
