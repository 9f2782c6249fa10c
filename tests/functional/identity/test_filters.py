"""A filter of a list is followed or refused, as Keystone does: what it ignores is ignored, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Place

TAGS: dict[str, list[str]] = {"p1": ["T1"], "p2": ["T2"], "p3": ["T1", "T2"], "p4": [], "p5": ["T3"]}
PROJECTS = {*TAGS, "admin", "demo"}


async def _names(place: Place, token: str, path: str) -> set[str]:
    reply = await place.call(token, "GET", path)
    assert reply.status_code == 200, (path, reply.text)
    (found,) = (value for name, value in reply.json().items() if isinstance(value, list))
    return {item["name"] for item in found}


FITTING: list[tuple[str, set[str]]] = [
    ("tags=T1", {"p1", "p3"}),
    ("tags=T1,T2", {"p3"}),
    ("tags=T1&tags=T2", {"p3"}),
    ("tags-any=T1,T3", {"p1", "p3", "p5"}),
    ("not-tags=T1", PROJECTS - {"p1", "p3"}),
    ("not-tags=T1,T2", PROJECTS - {"p3"}),
    ("not-tags-any=T1,T2", {"p4", "p5", "admin", "demo"}),
    ("tags=T1&not-tags=T2", {"p1"}),
    ("tags=T2&not-tags-any=T1", {"p2"}),
    ("tags-any=T1,T2&not-tags=T1,T2", {"p1", "p2"}),
    ("tags=t1", set()),
    ("tags=", set()),
    ("tags-any=", set()),
    ("not-tags=", PROJECTS),
    ("is_domain=true", set()),
    ("is_domain=0", PROJECTS),
    ("enabled=no", {"p4"}),
    ("enabled=", PROJECTS - {"p4"}),
    ("parent_id=default&name=P1", {"p1"}),
    ("parent_id=" + "0" * 32, set()),
    ("name__contains=P", set()),
    ("name__icontains=P", set(TAGS)),
    ("name__startswith=p&enabled=1", set(TAGS) - {"p4"}),
    ("name__endswith=3", {"p3"}),
    ("name__iendswith=N", {"admin"}),
    ("domain_id__contains=zzz", set()),
    ("unknown=1", PROJECTS),
    ("name__like=zzz", PROJECTS),
]


async def test_projects_are_filtered(place: Place) -> None:
    admin = await place.token()
    for name, tags in TAGS.items():
        await place.make(admin, "project", name=name, tags=tags, enabled=name != "p4")
    for query, fitting in FITTING:
        assert await _names(place, admin, f"/projects?{query}") == fitting, query


LISTS: dict[str, dict[str, Any]] = {
    "users": {},
    "groups": {},
    "projects": {},
    "domains": {},
    "roles": {},
    "services": {"type": "x"},
}


PARTS = [
    ("name=One%25", True),
    ("name__contains=ne%25", True),
    ("name__contains=NE", False),
    ("name__icontains=NE%25", True),
    ("name__icontains=o%25e", False),
    ("name__icontains=_", False),
    ("name__startswith=On", True),
    ("name__startswith=on", False),
    ("name__istartswith=on", True),
    ("name__endswith=e%25", True),
    ("name__iendswith=E%25", True),
    ("name__iendswith=one", False),
    ("name__contains=zzz", False),
    ("name=One%25&name=two", False),
    ("name__contains=O&name__contains=e", True),
]


@pytest.mark.parametrize("noun", LISTS)
async def test_parts_of_names_are_taken_literally(place: Place, noun: str) -> None:
    admin = await place.token()
    await place.make(admin, noun.removesuffix("s"), name="One%", **LISTS[noun])
    for query, fits in PARTS:
        assert ("One%" in await _names(place, admin, f"/{noun}?{query}")) == fits, query


REFUSED = [
    "/users?enabled=maybe",
    "/users?enabled=No",
    "/users?enabled__contains=t",
    "/users?name=",
    "/users?name=%20",
    "/users?name=" + "x" * 256,
    "/users?domain_id=",
    "/users?domain_id=a_b",
    "/users?password_expires_at=soon",
    "/users?sort_dir=up",
    "/users?limit=x",
    "/users?limit=-1",
    "/groups?name=",
    "/groups?sort_dir=up",
    "/projects?name=" + "x" * 65,
    "/projects?enabled=x",
    "/projects?is_domain=x",
    "/projects?parent_id=x",
    "/domains?name=",
    "/domains?enabled=x",
    "/roles?name=",
    "/roles?domain_id=",
    "/regions?parent_region_id=",
    "/regions?parent_region_id__contains=x",
    "/regions?unknown=1",
    "/regions?limit=1",
    "/endpoints?interface=side",
    "/role_assignments?group.id=",
    "/role_assignments?role.id=a_b",
    "/role_assignments?scope.project.id=",
    "/role_assignments?scope.domain.id=",
    "/role_assignments?scope.domain.id=default&scope.project.id=x",
    "/role_assignments?scope.system=x&scope.domain.id=default",
    "/role_assignments?user.id=x&group.id=y",
    "/role_assignments?effective&group.id=y",
    "/role_assignments?include_subtree",
]


async def test_a_value_that_nothing_could_have_is_refused(place: Place) -> None:
    admin = await place.token()
    for path in REFUSED:
        assert (await place.call(admin, "GET", path)).status_code == 400, path


async def test_filters_for_what_no_user_has_find_none(place: Place) -> None:
    admin = await place.token()
    for query in ("idp_id=x", "protocol_id=x", "unique_id=x", "password_expires_at=lt:2030-01-01T00:00:00Z"):
        assert await _names(place, admin, f"/users?{query}") == set()


async def test_lists_below_a_user_and_a_group_are_filtered_too(place: Place) -> None:
    admin = await place.token()
    group, user = place.made.demo_user_id, place.made.admin_user_id
    made = await place.make(admin, "group", name="Team")
    assert (await place.call(admin, "PUT", f"/groups/{made['id']}/users/{group}")).status_code == 204
    assert await _names(place, admin, f"/groups/{made['id']}/users?name__contains=zzz") == set()
    assert await _names(place, admin, f"/groups/{made['id']}/users?enabled=0") == set()
    assert await _names(place, admin, f"/groups/{made['id']}/users?name=DEMO") == {"demo"}
    assert await _names(place, admin, f"/users/{group}/groups?name=team") == {"Team"}
    assert await _names(place, admin, f"/users/{group}/groups?name__startswith=x") == set()
    assert await _names(place, admin, f"/users/{user}/projects?name__icontains=ADM") == {"admin"}
    assert await _names(place, admin, f"/users/{user}/projects?enabled=false") == set()


async def test_the_catalogue_is_filtered(place: Place) -> None:
    admin = await place.token()
    assert await _names(place, admin, "/services?type=identity") == {"keystone"}
    assert await _names(place, admin, "/services?type__startswith=i") == {"keystone", "glance"}
    endpoints = (await place.call(admin, "GET", "/endpoints?interface__icontains=PUB")).json()["endpoints"]
    assert {item["interface"] for item in endpoints} == {"public"}
    assert (await place.call(admin, "GET", "/endpoints?interface__contains=zzz")).json()["endpoints"] == []


async def test_role_assignments_heed_what_keystone_heeds(place: Place) -> None:
    admin = await place.token()

    async def count(query: str) -> int:
        return len((await place.call(admin, "GET", f"/role_assignments?{query}")).json()["role_assignments"])

    assert (
        await count("") == await count("user.id=") == await count("scope.system=0") == await count("effective=0") == 4
    )
    assert await count("scope.system=all") == 1
    assert await count("scope.OS-INHERIT:inherited_to=projects") == 0
    assert await count("scope.OS-INHERIT:inherited_to=other") == 4
    assert await count(f"include_subtree&scope.project.id={place.made.demo_project_id}") == 1
    assert await count("effective=false") > 4


async def test_a_list_is_sorted_and_paged_by_what_is_asked_for(place: Place) -> None:
    admin = await place.token()
    for name in ("b", "c", "a"):
        await place.make(admin, "group", name=name)
    first = (await place.call(admin, "GET", "/groups?sort_key=name&sort_dir=desc&limit=2")).json()
    assert [group["name"] for group in first["groups"]] == ["c", "b"]
    assert first["truncated"] is True
    rest = (await place.http.get(first["links"]["next"], headers={"x-auth-token": admin})).json()
    assert [group["name"] for group in rest["groups"]] == ["a"]
    assert "truncated" not in rest
    assert await _names(place, admin, "/groups?limit=&marker=&sort_key=colour") == {"a", "b", "c"}
