"""What is stored with the things of this surface is what was sent, clients' own attributes included."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import Place

NEW: dict[str, dict[str, Any]] = {
    "domain": {"name": "new"},
    "project": {"name": "new"},
    "user": {"name": "new"},
    "group": {"name": "new"},
    "role": {"name": "new"},
    "region": {"id": "new"},
    "service": {"type": "new"},
    "endpoint": {"interface": "public", "url": "http://new"},
}


async def _new(place: Place, admin: str, noun: str, **more: Any) -> dict[str, Any]:
    fields = dict(NEW[noun])
    if noun == "endpoint":
        fields["service_id"] = (await place.call(admin, "GET", "/services")).json()["services"][0]["id"]
    return await place.make(admin, noun, **{**fields, **more})


@pytest.mark.parametrize("noun", NEW)
async def test_attributes_of_a_clients_own_are_kept_changed_and_taken_away(place: Place, noun: str) -> None:
    admin = await place.token()
    own = {"colour": "red\n", "size": 3, "parts": [{"a": None}, 1.5], "on": True, "leer stelle": ""}
    made = await _new(place, admin, noun, **own)
    path = f"/{noun}s/{made['id']}"
    assert {name: made[name] for name in own} == own
    assert (await place.call(admin, "GET", path)).json()[noun] == made
    listed = (await place.call(admin, "GET", f"/{noun}s")).json()[f"{noun}s"]
    assert made in listed
    changed = await place.call(admin, "PATCH", path, {noun: {"colour": "blue", "size": None, "new": {"x": 1}}})
    expected = {name: value for name, value in made.items() if name != "size"} | {"colour": "blue", "new": {"x": 1}}
    assert changed.json()[noun] == expected
    assert (await place.call(admin, "GET", path)).json()[noun] == expected
    big = await place.call(admin, "PATCH", path, {noun: {"big": "x" * 17_000}})
    assert big.status_code == 400
    for name in ("extra", "domain_id"):
        reply = await place.call(admin, "PATCH", path, {noun: {name: "elsewhere"}})
        assert reply.status_code == 400, (name, reply.text)


@pytest.mark.parametrize("noun", NEW)
async def test_a_change_of_nothing_is_refused_and_one_read_before_taken(place: Place, noun: str) -> None:
    admin = await place.token()
    made = await _new(place, admin, noun)
    path = f"/{noun}s/{made['id']}"
    bodies: list[Any] = [{noun: {}}, {}, {noun: None}, {noun: []}, {noun: "x"}, [], {"other": {}}]
    if noun != "service":
        bodies.append({noun: {"colour": "red"}, "other": {}})
    for body in bodies:
        assert (await place.call(admin, "PATCH", path, body)).status_code == 400, body
    for ident in ("other", [], {}, [made["id"]], 0, False):
        assert (await place.call(admin, "PATCH", path, {noun: {"id": ident}})).status_code == 400, ident
    again = {name: value for name, value in made.items() if value not in (None, "")}
    assert (await place.call(admin, "PATCH", path, {noun: again})).json()[noun] == made
    assert (await place.call(admin, "GET", path)).json()[noun] == made


async def test_a_create_takes_what_was_read_from_another_and_makes_its_own_id(place: Place) -> None:
    admin = await place.token()
    for noun in ("project", "user", "group", "role", "service"):
        made = await _new(place, admin, noun)
        copy = await place.make(
            admin, noun, **{name: value for name, value in made.items() if value is not None and name != "name"},
            name="copy",
        )  # fmt: skip
        assert copy["id"] != made["id"]
        assert copy["links"]["self"].endswith(copy["id"])


async def test_a_project_takes_its_own_parent_and_domain_and_no_other(place: Place) -> None:
    admin = await place.token()
    made = await _new(place, admin, "project")
    path = f"/projects/{made['id']}"
    same = {"project": {"parent_id": "default", "domain_id": "default", "is_domain": False, "description": "x"}}
    assert (await place.call(admin, "PATCH", path, same)).json()["project"]["description"] == "x"
    for fields, status in (({"parent_id": "0" * 32}, 403), ({"parent_id": None}, 403), ({"domain_id": "zz"}, 400)):
        assert (await place.call(admin, "PATCH", path, {"project": fields})).status_code == status, fields


async def test_names_lose_white_space_at_both_ends_and_keep_it_within(place: Place) -> None:
    """Keystone does so for all of them but roles, services and regions."""
    admin = await place.token()
    for noun in ("domain", "project", "user", "group"):
        made = await place.make(admin, noun, name=" \u3000a\u00a0\u2003b\tc\nd\u3000")
        assert made["name"] == "a\u00a0\u2003b\tc\nd"
        path = f"/{noun}s/{made['id']}"
        assert (await place.call(admin, "PATCH", path, {noun: {"name": " e "}})).json()[noun]["name"] == "e"
        assert (await place.call(admin, "POST", f"/{noun}s", {noun: {"name": "E "}})).status_code == 409
        assert (await place.call(admin, "POST", f"/{noun}s", {noun: {"name": "\u3000"}})).status_code == 400
    assert (await place.make(admin, "role", name=" a "))["name"] == " a "
    assert (await place.make(admin, "region", id="a\u3000b c"))["id"] == "a\u3000b c"


async def test_a_service_needs_no_name_and_an_endpoint_may_have_one(place: Place) -> None:
    admin = await place.token()
    service = await place.make(admin, "service", type="dns")
    assert service["name"] == ""
    endpoint = await _new(place, admin, "endpoint", name="mine", description=None, url="ws://x/%(user_id)s")
    assert endpoint["name"] == "mine"
    catalogue = (await place.call(admin, "GET", "/auth/catalog")).json()["catalog"]
    urls = {found["url"] for item in catalogue for found in item["endpoints"]}
    assert f"ws://x/{place.made.admin_user_id}" in urls
    assert {item["name"] for item in catalogue if item["type"] == "dns"} == {""}


async def test_a_region_gets_an_id_when_none_is_given_and_no_parent_below_itself(place: Place) -> None:
    admin = await place.token()
    for ident in (None, ""):
        assert len((await place.make(admin, "region", id=ident))["id"]) == 32
    await place.make(admin, "region", id="a")
    await place.make(admin, "region", id="b", parent_region_id="a")
    reply = await place.call(admin, "PATCH", "/regions/a", {"region": {"parent_region_id": "b"}})
    assert reply.status_code == 400
    assert (await place.call(admin, "POST", "/regions", {"region": {"parent_region_id": "zz"}})).status_code == 404


async def test_a_domain_has_tags_and_may_have_an_id_of_the_clients_choice(place: Place) -> None:
    admin = await place.token()
    chosen = "1234567890abcdef1234567890abcdef"
    domain = await place.make(admin, "domain", name="x", tags=["a", "b"], explicit_domain_id=chosen)
    assert (domain["id"], domain["tags"]) == (chosen, ["a", "b"])
    assert "explicit_domain_id" not in domain
    again = await place.call(admin, "POST", "/domains", {"domain": {"name": "y", "explicit_domain_id": chosen}})
    assert again.status_code == 409
    changed = await place.call(admin, "PATCH", f"/domains/{chosen}", {"domain": {"tags": []}})
    assert changed.json()["domain"]["tags"] == []


@pytest.mark.parametrize("noun", ["domain", "project", "user", "role"])
@pytest.mark.parametrize(
    "options",
    [
        {"immutable": True},
        {"ignore_password_expiry": True},
        {"lock_password": True},
        {"multi_factor_auth_rules": [["password", "totp"]]},
        {"multi_factor_auth_enabled": True},
        {"ignore_lockout_failure_attempts": True},
        {"ignore_change_password_upon_first_use": True},
        {"ignore_user_inactivity": True},
        {"unheard_of": 1},
    ],
)
async def test_options_are_refused_and_none_are_stored(place: Place, noun: str, options: dict[str, Any]) -> None:
    admin = await place.token()
    reply = await place.call(admin, "POST", f"/{noun}s", {noun: {"name": "new", "options": options}})
    assert reply.status_code == 400
    assert next(iter(options)) in reply.json()["error"]["message"]
    made = await _new(place, admin, noun, options={})
    path = f"/{noun}s/{made['id']}"
    assert (await place.call(admin, "PATCH", path, {noun: {"options": options}})).status_code == 400
    assert (await place.call(admin, "GET", path)).json()[noun]["options"] == {}


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_every_text_comes_back_as_it_was_sent(place: Place, no_text_holds: str, data: st.DataObject) -> None:
    """Names are trimmed; all other texts keep their white space, line ends, zeros and whatever else."""
    admin = place.admin_token = place.admin_token or await place.token()
    text = st.text(st.characters(exclude_characters=no_text_holds, exclude_categories=["Cs"]), max_size=40)
    noun = data.draw(st.sampled_from(sorted(NEW)))
    fields: dict[str, Any] = {"description": data.draw(text), "own": data.draw(text)}
    if noun in {"project", "domain"}:
        tag = st.text(
            st.characters(exclude_characters=",/" + no_text_holds, exclude_categories=["Cs"]), min_size=1, max_size=20
        )
        fields["tags"] = data.draw(st.lists(tag, unique=True, max_size=3))
    if noun == "user":
        fields["email"] = data.draw(text)
    made = await _new(place, admin, noun, **fields)
    path = f"/{noun}s/{made['id']}"
    shown = (await place.call(admin, "GET", path)).json()[noun]
    assert {name: shown[name] for name in fields} == fields
    changes = {"description": data.draw(text), "own": data.draw(text)}
    assert (await place.call(admin, "PATCH", path, {noun: changes})).status_code == 200
    shown = (await place.call(admin, "GET", path)).json()[noun]
    assert {name: shown[name] for name in changes} == changes
    if noun == "domain":
        await place.call(admin, "PATCH", path, {noun: {"enabled": False}})
    assert (await place.call(admin, "DELETE", path)).status_code == 204
