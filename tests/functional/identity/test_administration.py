"""Domains, projects, users, groups, roles and assignments: made, changed, listed, removed, refused."""

from __future__ import annotations

from typing import Any

import pytest

from floe.core.keypairs import Keypair
from floe.store import flavors, keypairs, quotas, schema

from .conftest import Place


async def test_a_project_is_made_changed_listed_and_removed(place: Place) -> None:
    admin = await place.token()
    project = await place.make(admin, "project", name="web", description="Shop", tags=["a", "b"], parent_id="default")
    assert (project["domain_id"], project["parent_id"], project["enabled"]) == ("default", "default", True)
    assert len(project["id"]) == 32
    path = f"/projects/{project['id']}"
    changed = (await place.call(admin, "PATCH", path, {"project": {"name": "shop"}})).json()["project"]
    assert changed == {**project, "name": "shop"}
    listed = (await place.call(admin, "GET", "/projects?name=shop&enabled=true&tags=a")).json()["projects"]
    assert listed == [changed]
    assert (await place.call(admin, "GET", "/projects?name=shop&enabled=0")).json()["projects"] == []
    assert (await place.call(admin, "GET", f"{path}/tags")).json()["tags"] == ["a", "b"]
    assert (await place.call(admin, "DELETE", path)).status_code == 204
    assert (await place.call(admin, "GET", path)).status_code == 404


@pytest.mark.parametrize("noun", ["project", "user", "group"])
async def test_a_name_is_taken_once_in_a_domain_and_free_in_another(place: Place, noun: str) -> None:
    admin = await place.token()
    await place.make(admin, noun, name="twin")
    reply = await place.call(admin, "POST", f"/{noun}s", {noun: {"name": "twin"}})
    assert reply.status_code == 409
    assert "twin" in reply.json()["error"]["message"]
    domain = await place.make(admin, "domain", name="other")
    second = await place.make(admin, noun, name="twin", domain_id=domain["id"])
    third = await place.make(admin, noun, name="third")
    reply = await place.call(admin, "PATCH", f"/{noun}s/{third['id']}", {noun: {"name": "twin"}})
    assert reply.status_code == 409
    assert [
        item["id"] for item in (await place.call(admin, "GET", f"/{noun}s?domain_id={domain['id']}")).json()[f"{noun}s"]
    ] == [second["id"]]


@pytest.mark.parametrize("noun", ["domain", "role"])
async def test_a_name_of_the_whole_cloud_is_taken_once(place: Place, noun: str) -> None:
    admin = await place.token()
    await place.make(admin, noun, name="twin")
    assert (await place.call(admin, "POST", f"/{noun}s", {noun: {"name": "twin"}})).status_code == 409


@pytest.mark.parametrize(
    ("noun", "fields", "words"),
    [
        ("project", {}, "name"),
        ("project", {"name": ""}, "name"),
        ("project", {"name": " "}, "name"),
        ("project", {"name": "x" * 65}, "name"),
        ("project", {"name": "x", "enabled": "yes"}, "enabled"),
        ("project", {"name": "x", "domain_id": "none"}, "none"),
        ("project", {"name": "x", "tags": ["a", "a"]}, "tags"),
        ("domain", {"name": "x", "tags": ["a", "a"]}, "tags"),
        ("domain", {"name": "x", "description": "y" * 256}, "description"),
        ("domain", {"name": "x", "explicit_domain_id": "y"}, "explicit_domain_id"),
        ("region", {"description": "y" * 256}, "description"),
        ("region", {"id": "a/b"}, "id"),
        ("user", {"name": "x", "default_project_id": "default"}, "default_project_id"),
        ("user", {"name": "x", "domain_id": None}, "domain_id"),
        ("group", {"name": "x", "domain_id": None}, "domain_id"),
        ("role", {"name": "x", "description": "y" * 256}, "description"),
        ("domain", {"name": "x", "is_domain": False}, "is_domain"),
        ("domain", {"name": "x", "parent_id": "default"}, "parent_id"),
        ("user", {"name": "x", "federated": [{"idp_id": "a", "protocols": []}]}, "federated"),
        ("group", {"name": "x", "note": "y" * 17_000}, "16384"),
        ("role", {"name": "x", "extra": {}}, "extra"),
        ("project", {"name": "x", "is_domain": True}, "is_domain"),
        ("project", {"name": "x", "parent_id": "0" * 32}, "flat"),
        ("project", {"name": "x", "tags": ["a,b"]}, "tags"),
        ("project", {"name": "x", "options": {"immutable": True}}, "immutable"),
        ("user", {"name": "x" * 256}, "name"),
        ("user", {"name": "x", "password": "y" * 1025}, "password"),
        ("user", {"name": "x", "password": 7}, "password"),
        ("role", {"name": "x", "domain_id": "default"}, "domain_id"),
        ("endpoint", {"service_id": "none", "interface": "public", "url": "http://x"}, "service_id"),
        ("endpoint", {"service_id": "none", "interface": "side", "url": "http://x"}, "interface"),
        ("endpoint", {"service_id": "none", "interface": "public", "url": "/etc"}, "url"),
        ("endpoint", {"service_id": "none", "interface": "public", "url": "http://%(password)s"}, "password"),
    ],
)
async def test_a_body_that_makes_no_sense_is_refused_by_field(
    place: Place, noun: str, fields: dict[str, object], words: str
) -> None:
    reply = await place.call(await place.token(), "POST", f"/{noun}s", {noun: fields})
    assert reply.status_code == 400, reply.text
    assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize("noun", ["domain", "project", "user", "group", "role", "region", "service", "endpoint"])
async def test_what_is_not_there_is_not_found(place: Place, noun: str) -> None:
    admin = await place.token()
    path = f"/{noun}s/{'0' * 32}"
    for method, body in (("GET", None), ("PATCH", {noun: {"x": "y"}}), ("DELETE", None)):
        assert (await place.call(admin, method, path, body)).status_code == 404, method


async def test_a_domain_is_disabled_before_it_is_deleted_and_takes_all_with_it(place: Place) -> None:
    admin = await place.token()
    domain = await place.make(admin, "domain", name="branch")
    path = f"/domains/{domain['id']}"
    user = await place.make(admin, "user", name="ann", domain_id=domain["id"], password="ann-secret")
    project = await place.make(admin, "project", name="p", domain_id=domain["id"])
    assert (await place.call(admin, "DELETE", path)).status_code == 403
    assert (await place.call(admin, "PATCH", path, {"domain": {"enabled": False}})).status_code == 200
    who = {"id": user["id"], "password": "ann-secret"}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}}}
    assert (await place.http.post("/identity/v3/auth/tokens", json=body)).status_code == 401
    assert (await place.call(admin, "DELETE", path)).status_code == 204
    assert (await place.call(admin, "GET", f"/users/{user['id']}")).status_code == 404
    assert (await place.call(admin, "GET", f"/projects/{project['id']}")).status_code == 404
    assert (await place.call(admin, "DELETE", "/domains/default")).status_code == 403


async def test_a_user_may_look_at_itself_and_at_nobody_else(place: Place) -> None:
    demo = await place.token("demo")
    me = f"/users/{place.made.demo_user_id}"
    shown = (await place.call(demo, "GET", me)).json()["user"]
    assert shown["name"] == "demo"
    assert "password" not in str(sorted(set(shown) - {"password_expires_at"}))
    assert [item["name"] for item in (await place.call(demo, "GET", f"{me}/projects")).json()["projects"]] == ["demo"]
    assert (await place.call(demo, "GET", f"{me}/groups")).json()["groups"] == []
    other = f"/users/{place.made.admin_user_id}"
    for path in (other, f"{other}/projects", f"{other}/groups", f"/users/{'0' * 32}"):
        assert (await place.call(demo, "GET", path)).status_code == 403, path
    assert (await place.call(demo, "PATCH", me, {"user": {"name": "root"}})).status_code == 403


async def test_an_ordinary_user_finds_itself_and_its_project_by_name_and_no_others(place: Place) -> None:
    demo = await place.token("demo")
    (user,) = (await place.call(demo, "GET", "/users?name=demo")).json()["users"]
    (project,) = (await place.call(demo, "GET", "/projects?name=demo")).json()["projects"]
    assert (user["id"], project["id"]) == (place.made.demo_user_id, place.made.demo_project_id)
    assert (await place.call(demo, "GET", "/users?name=demo&domain_id=other")).json()["users"] == []
    for path in ("/users?name=admin", "/projects?name=admin"):
        assert (await place.call(demo, "GET", path)).status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users"),
        ("GET", "/projects"),
        ("GET", "/domains"),
        ("GET", "/groups"),
        ("GET", "/roles"),
        ("GET", "/role_assignments"),
        ("GET", "/services"),
        ("GET", "/endpoints"),
        ("POST", "/users"),
        ("POST", "/projects"),
        ("POST", "/roles"),
        ("POST", "/regions"),
    ],
)
async def test_administration_is_closed_to_an_ordinary_user(place: Place, method: str, path: str) -> None:
    reply = await place.call(await place.token("demo"), method, path, {} if method == "POST" else None)
    assert reply.status_code == 403
    assert (await place.http.request(method, f"/identity/v3{path}")).status_code == 401


async def test_an_ordinary_user_cannot_give_itself_a_role(place: Place) -> None:
    admin, demo = await place.token(), await place.token("demo")
    (role,) = (await place.call(admin, "GET", "/roles?name=admin")).json()["roles"]
    user = f"users/{place.made.demo_user_id}/roles/{role['id']}"
    for path in (f"/projects/{place.made.demo_project_id}/{user}", f"/domains/default/{user}", f"/system/{user}"):
        assert (await place.call(demo, "PUT", path)).status_code == 403, path


async def test_readers_of_the_system_look_at_all_and_readers_of_a_domain_at_theirs(place: Place) -> None:
    admin = await place.token()
    (role,) = (await place.call(admin, "GET", "/roles?name=reader")).json()["roles"]
    domain = await place.make(admin, "domain", name="branch")
    auditor = await place.make(admin, "user", name="auditor", password="auditor-secret", domain_id="default")
    await place.make(admin, "user", name="inside", domain_id=domain["id"])
    for target in (f"/domains/{domain['id']}", "/system"):
        assert (await place.call(admin, "PUT", f"{target}/users/{auditor['id']}/roles/{role['id']}")).status_code == 204
    of_domain = await place.token("auditor", scope={"domain": {"id": domain["id"]}})
    of_system = await place.token("auditor", scope={"system": {"all": True}})
    seen = (await place.call(of_domain, "GET", "/users")).json()["users"]
    assert [user["name"] for user in seen] == ["inside"]
    assert len((await place.call(of_system, "GET", "/users")).json()["users"]) == 4
    assert (await place.call(of_domain, "GET", f"/users/{place.made.admin_user_id}")).status_code == 403
    assert (await place.call(of_system, "POST", "/users", {"user": {"name": "x"}})).status_code == 403


async def test_a_role_through_a_group_works_until_the_user_leaves_it(place: Place) -> None:
    admin = await place.token()
    user = await place.make(admin, "user", name="ann", password="ann-secret")
    group = await place.make(admin, "group", name="team")
    project = await place.make(admin, "project", name="web")
    (role,) = (await place.call(admin, "GET", "/roles?name=member")).json()["roles"]
    member = f"/groups/{group['id']}/users/{user['id']}"
    assert (await place.call(admin, "HEAD", member)).status_code == 404
    assert (await place.call(admin, "PUT", member)).status_code == 204
    assert (await place.call(admin, "HEAD", member)).status_code == 204
    grant = f"/projects/{project['id']}/groups/{group['id']}/roles"
    assert (await place.call(admin, "PUT", f"{grant}/{role['id']}")).status_code == 204
    assert [item["name"] for item in (await place.call(admin, "GET", grant)).json()["roles"]] == ["member"]
    token = await place.token("ann", scope={"project": {"id": project["id"]}})
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 200
    listed = (await place.call(admin, "GET", f"/role_assignments?effective&user.id={user['id']}&include_names")).json()
    assert [(item["role"]["name"], item["scope"]["project"]["name"]) for item in listed["role_assignments"]] == [
        ("member", "web"),
        ("reader", "web"),
    ]
    assert (await place.call(admin, "DELETE", member)).status_code == 204
    assert (await place.call(token, "GET", "/auth/catalog")).status_code == 401
    assert (await place.call(admin, "DELETE", member)).status_code == 404


async def test_assignments_are_filtered_by_actor_role_and_scope(place: Place) -> None:
    admin = await place.token()

    async def count(query: str) -> int:
        return len((await place.call(admin, "GET", f"/role_assignments?{query}")).json()["role_assignments"])

    assert await count("") == 4
    assert await count(f"user.id={place.made.admin_user_id}") == 3
    assert await count("scope.system=all") == 1
    assert await count("scope.domain.id=default") == 1
    assert await count(f"scope.project.id={place.made.demo_project_id}") == 1
    assert await count(f"scope.project.id={place.made.demo_project_id}&effective") == 2
    assert await count("scope.OS-INHERIT:inherited_to=projects") == 0
    reply = await place.call(admin, "GET", "/role_assignments?scope.system=all&scope.domain.id=default")
    assert reply.status_code == 400


async def test_inherited_assignments_are_refused_with_what_to_do(place: Place) -> None:
    path = f"/OS-INHERIT/domains/default/users/{place.made.demo_user_id}/roles/{'0' * 32}/inherited_to_projects"
    reply = await place.call(await place.token(), "PUT", path)
    assert reply.status_code == 400
    assert "each project" in reply.json()["error"]["message"]


async def test_roles_imply_others_but_never_in_a_circle_and_never_admin(place: Place) -> None:
    admin = await place.token()
    roles = {role["name"]: role["id"] for role in (await place.call(admin, "GET", "/roles")).json()["roles"]}
    assert set(roles) == {"admin", "manager", "member", "reader", "service"}
    new = await place.make(admin, "role", name="operator")
    path = f"/roles/{new['id']}/implies/{roles['member']}"
    assert (await place.call(admin, "HEAD", path)).status_code == 404
    assert (await place.call(admin, "PUT", path)).status_code == 201
    assert (await place.call(admin, "GET", path)).json()["role_inference"]["implies"]["name"] == "member"
    implied = (await place.call(admin, "GET", f"/roles/{new['id']}/implies")).json()["role_inference"]["implies"]
    assert [role["name"] for role in implied] == ["member"]
    circle = await place.call(admin, "PUT", f"/roles/{roles['reader']}/implies/{new['id']}")
    assert circle.status_code == 400
    assert (await place.call(admin, "PUT", f"/roles/{new['id']}/implies/{roles['admin']}")).status_code == 403
    assert len((await place.call(admin, "GET", "/role_inferences")).json()["role_inferences"]) == 4
    assert (await place.call(admin, "DELETE", path)).status_code == 204
    assert (await place.call(admin, "DELETE", path)).status_code == 404


async def test_lists_come_in_pages(place: Place) -> None:
    admin = await place.token()
    for number in range(3):
        await place.make(admin, "user", name=f"u{number}")
    whole = [user["id"] for user in (await place.call(admin, "GET", "/users")).json()["users"]]
    seen: list[str] = []
    url = "http://cloud.test:8774/identity/v3/users?limit=2"
    while url:
        page = (await place.http.get(url, headers={"x-auth-token": admin})).json()
        assert len(page["users"]) <= 2
        seen += [user["id"] for user in page["users"]]
        url = page["links"]["next"]
    assert seen == whole
    assert (await place.call(admin, "GET", "/users?marker=nothing")).status_code == 404


async def test_a_service_and_its_endpoint_reach_the_catalogue_of_new_tokens(place: Place) -> None:
    admin = await place.token()
    service = await place.make(admin, "service", type="object-store", name="swift")
    endpoint = await place.make(
        admin,
        "endpoint",
        service_id=service["id"],
        interface="public",
        region="RegionOne",
        url="http://objects.test/v1/AUTH_%(project_id)s",
    )
    catalogue = (await place.call(admin, "GET", "/auth/catalog")).json()["catalog"]
    (entry,) = [item for item in catalogue if item["type"] == "object-store"]
    assert entry["endpoints"][0]["url"] == f"http://objects.test/v1/AUTH_{place.made.admin_project_id}"
    system = (await place.login(scope={"system": {"all": True}})).json()["token"]["catalog"]
    assert [item["endpoints"] for item in system if item["type"] == "object-store"] == [[]]
    path = f"/endpoints/{endpoint['id']}"
    assert (await place.call(admin, "PATCH", path, {"endpoint": {"enabled": False}})).status_code == 200
    assert (await place.call(admin, "GET", "/endpoints?enabled=false")).json()["endpoints"][0]["id"] == endpoint["id"]
    assert (await place.call(admin, "DELETE", f"/services/{service['id']}")).status_code == 204
    assert (await place.call(admin, "GET", path)).status_code == 404
    assert (await place.call(admin, "DELETE", "/regions/RegionOne")).status_code == 409


@pytest.mark.parametrize("noun", ["project", "user", "group"])
async def test_attributes_that_clients_add_are_kept_with_it(place: Place, noun: str) -> None:
    admin = await place.token()
    made = await place.make(admin, noun, name="x", colour="red", size=None)
    assert made["colour"] == "red"
    assert "size" not in made
    path = f"/{noun}s/{made['id']}"
    changed = (await place.call(admin, "PATCH", path, {noun: {"shape": "round"}})).json()[noun]
    assert (changed["colour"], changed["shape"]) == ("red", "round")
    await place.call(admin, "PATCH", path, {noun: {"colour": None}})
    shown = (await place.call(admin, "GET", path)).json()[noun]
    assert "colour" not in shown
    assert shown["shape"] == "round"


async def test_tags_of_a_project_are_added_and_taken_one_by_one_and_all_at_once(place: Place) -> None:
    admin = await place.token()
    project = await place.make(admin, "project", name="web")
    path = f"/projects/{project['id']}/tags"
    assert (await place.call(admin, "PUT", f"{path}/a")).status_code == 201
    assert (await place.call(admin, "PUT", f"{path}/a")).status_code == 201
    assert (await place.call(admin, "GET", f"{path}/a")).status_code == 204
    assert (await place.call(admin, "GET", f"{path}/b")).status_code == 404
    assert (await place.call(admin, "PUT", f"{path}/{'x' * 256}")).status_code == 400
    assert (await place.call(admin, "PUT", path, {"tags": ["b", "c"]})).json()["tags"] == ["b", "c"]
    assert (await place.call(admin, "DELETE", f"{path}/b")).status_code == 204
    assert (await place.call(admin, "DELETE", f"{path}/b")).status_code == 404
    assert (await place.call(admin, "GET", path)).json()["tags"] == ["c"]
    assert (await place.call(admin, "DELETE", path)).status_code == 204
    assert (await place.call(admin, "GET", path)).json()["tags"] == []


async def test_an_endpoint_that_names_its_region_the_old_way_makes_it(place: Place) -> None:
    admin = await place.token()
    service = await place.make(admin, "service", name="names", type="dns")
    fields = {"service_id": service["id"], "interface": "public", "url": "http://127.0.0.1/dns"}
    made = await place.make(admin, "endpoint", **fields, region="North")
    assert made["region_id"] == "North"
    assert (await place.call(admin, "GET", "/regions/North")).status_code == 200
    refused = await place.call(admin, "POST", "/endpoints", {"endpoint": {**fields, "region_id": "South"}})
    assert refused.status_code == 400
    assert "South" in refused.json()["error"]["message"]


async def test_a_region_is_made_under_the_id_in_the_path(place: Place) -> None:
    admin = await place.token()
    reply = await place.call(admin, "PUT", "/regions/North", {"region": {"description": "Cold"}})
    assert (reply.status_code, reply.json()["region"]["id"]) == (201, "North")
    assert (await place.call(admin, "PUT", "/regions/North", {"region": {}})).status_code == 409
    assert (await place.call(admin, "PUT", "/regions/South", {"region": {"id": "East"}})).status_code == 400
    assert (await place.call(admin, "PUT", "/regions/a%20b", {"region": {}})).json()["region"]["id"] == "a b"


@pytest.mark.parametrize("noun", ["project", "user", "group"])
async def test_what_was_read_may_be_sent_back_with_a_change(place: Place, noun: str) -> None:
    admin = await place.token()
    made = await place.make(admin, noun, name="x")
    path = f"/{noun}s/{made['id']}"
    body = {key: value for key, value in made.items() if key not in {"parent_id", "description"}}
    changed = await place.call(admin, "PATCH", path, {noun: {**body, "name": "y"}})
    assert changed.status_code == 200, changed.text
    assert changed.json()[noun] == {**made, "name": "y"}
    for field, value in (("id", "other"), ("domain_id", "other")):
        refused = await place.call(admin, "PATCH", path, {noun: {field: value}})
        assert refused.status_code == 400
        assert field in refused.json()["error"]["message"]


async def test_what_is_left_out_is_not_there(place: Place) -> None:
    """Each is named in docs/not-doing.md."""
    admin = await place.token()
    user = f"/users/{place.made.demo_user_id}"
    for path in (
        "/limits",
        "/limits/model",
        "/registered_limits",
        "/OS-TRUST/trusts",
        "/OS-FEDERATION/identity_providers",
        "/OS-EP-FILTER/endpoint_groups",
        "/credentials",
        "/policies",
        "/domains/default/config",
        f"{user}/access_rules",
        f"{user}/credentials/OS-EC2",
        f"{user}/OS-OAUTH1/access_tokens",
    ):
        for method in ("GET", "POST"):
            reply = await place.call(admin, method, path, {"x": {}} if method == "POST" else None)
            assert reply.status_code == 404, (method, path)
            assert path in reply.json()["error"]["message"]


async def test_nothing_is_left_that_says_something_of_a_user_or_a_project_that_is_gone(place: Place) -> None:
    user, project = place.made.demo_user_id, place.made.demo_project_id
    assert user is not None
    assert project is not None
    now = place.cloud.clock.now()

    def write(conn: Any) -> None:
        quotas.put(conn, project, {"instances": 3}, now)
        flavors.grant(conn, "2", project)
        key = Keypair(id=0, user_id=user, name="k", fingerprint="f", public_key="ssh-rsa k", created_at=now)
        keypairs.insert(conn, key)

    await place.cloud.db.write(write)
    admin = await place.token("admin")
    assert (await place.call(admin, "DELETE", f"/projects/{project}")).status_code == 204
    assert (await place.call(admin, "DELETE", f"/users/{user}")).status_code == 204

    def left(conn: Any) -> dict[str, list[str]]:
        found = {}
        for table in schema.metadata.sorted_tables:
            rows = [str(row) for row in conn.execute(table.select())]
            if any(user in row or project in row for row in rows):
                found[table.name] = rows
        return found

    assert place.cloud.db.read_now(left).keys() <= {"networks", "subnets", "security_groups", "security_group_rules"}
