"""The image API through the whole application."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floe.cloud.cloud import Cloud
from floe.core.clock import FixedClock

As = Callable[[str], httpx.AsyncClient]
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
BYTES = {"content-type": "application/octet-stream"}


async def make(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    reply = await client.post("/v2/images", json={"disk_format": "raw", "container_format": "bare", **body})
    assert reply.status_code == 201, reply.text
    image: dict[str, Any] = reply.json()
    return image


async def patch(client: httpx.AsyncClient, image_id: str, *ops: tuple[str, str, Any]) -> httpx.Response:
    body = [{"op": op, "path": path, **({} if op == "remove" else {"value": value})} for op, path, value in ops]
    return await client.patch(f"/v2/images/{image_id}", json=body, headers=PATCH)


async def names(client: httpx.AsyncClient, query: str = "") -> list[str]:
    reply = await client.get(f"/v2/images{query}")
    assert reply.status_code == 200, reply.text
    return [image["name"] for image in reply.json()["images"]]


def refused(reply: httpx.Response, status: int, *words: str) -> None:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert body["code"].startswith(str(status))
    for word in words:
        assert word in body["message"]
    assert reply.headers["x-openstack-request-id"].startswith("req-")


# -- create and show ------------------------------------------------------------------------------------


async def test_a_new_image_is_queued_and_shown_whole(client: As) -> None:
    ann = client("ann")
    reply = await ann.post(
        "/v2/images",
        json={"name": "tiny", "disk_format": "qcow2", "container_format": "bare", "tags": ["b", "a"], "os_distro": "x"},
    )
    image = reply.json()
    assert reply.status_code == 201
    assert reply.headers["location"] == f"http://127.0.0.1:8774/image/v2/images/{image['id']}"
    assert (await ann.get(f"/v2/images/{image['id']}")).json() == image
    del image["id"], image["self"], image["file"]
    assert image == {
        "name": "tiny",
        "status": "queued",
        "visibility": "shared",
        "protected": False,
        "os_hidden": False,
        "owner": "a" * 32,
        "disk_format": "qcow2",
        "container_format": "bare",
        "min_disk": 0,
        "min_ram": 0,
        "size": None,
        "virtual_size": None,
        "checksum": None,
        "os_hash_algo": None,
        "os_hash_value": None,
        "tags": ["a", "b"],
        "created_at": "2030-01-01T00:00:00Z",
        "updated_at": "2030-01-01T00:00:00Z",
        "schema": "/v2/schemas/image",
        "os_distro": "x",
    }


async def test_a_client_may_choose_an_id_that_was_never_used(client: As) -> None:
    ann, chosen = client("ann"), "0F1E2D3C-4B5A-4978-8695-A4B3C2D1E0F9"
    assert (await make(ann, id=chosen))["id"] == chosen.lower()
    refused(await client("bob").post("/v2/images", json={"id": chosen}), 409, chosen.lower())
    assert (await ann.delete(f"/v2/images/{chosen.lower()}")).status_code == 204
    refused(await ann.post("/v2/images", json={"id": chosen}), 409, "already exists")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"id": "../../etc"}, 400, ("id",)),
        ({"disk_format": "floppy"}, 400, ("disk_format", "floppy", "qcow2")),
        ({"container_format": "ova"}, 400, ("container_format", "ova", "bare")),
        ({"visibility": "secret"}, 400, ("visibility", "shared")),
        ({"name": "n" * 256}, 400, ("name",)),
        ({"min_disk": -1}, 400, ("min_disk", "-1")),
        ({"min_ram": "much"}, 400, ("min_ram", "much")),
        ({"min_ram": 2**31}, 400, ("min_ram",)),
        ({"protected": "yes"}, 400, ("protected",)),
        ({"tags": ["t" * 256]}, 400, ("tags",)),
        ({"tags": [str(n) for n in range(129)]}, 400, ("128 tags",)),
        ({f"p{n}": "" for n in range(129)}, 400, ("128 properties",)),
        ({"os_distro": 3}, 400, ("os_distro", "string")),
        ({"os_distro": "a\0b"}, 400, ("os_distro", "control")),
        ({"bad\nname": "x"}, 400, ("name",)),
        ({"x" * 256: "x"}, 400, ("255",)),
        ({"size": 5}, 403, ("size", "read-only")),
        ({"status": "active"}, 403, ("status", "read-only")),
        ({"checksum": "x"}, 403, ("checksum", "read-only")),
        ({"locations": "x"}, 403, ("locations", "reserved")),
        ({"os_glance_stage_host": "x"}, 403, ("reserved",)),
        ({"owner": "b" * 32}, 403, ("b" * 32,)),
        ({"visibility": "public"}, 403, ("publicize_image",)),
    ],
)
async def test_a_bad_create_is_refused_and_named(client: As, body: Any, status: int, words: tuple[str, ...]) -> None:
    ann = client("ann")
    refused(await ann.post("/v2/images", json=body), status, *words)
    assert await names(ann) == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 5000])
async def test_a_body_that_is_no_object_is_refused(client: As, body: bytes) -> None:
    refused(await client("ann").post("/v2/images", content=body), 400, "body")


async def test_who_may_only_read_makes_nothing(client: As) -> None:
    refused(await client("eve").post("/v2/images", json={}), 403, "add_image")
    refused(await client("").post("/v2/images", json={}), 401)
    refused(await client("mallory").get("/v2/images"), 401)


async def test_headers_that_pretend_an_identity_are_ignored(client: As) -> None:
    headers = {"x-user-id": "root", "x-roles": "admin", "x-project-id": "0" * 32, "x-identity-status": "Confirmed"}
    refused(await client("").get("/v2/images", headers=headers), 401)


# -- who sees what --------------------------------------------------------------------------------------


async def test_visibility_decides_who_sees_an_image(client: As) -> None:
    ann, bob, root = client("ann"), client("bob"), client("root")
    made = {kind: await make(ann, name=kind, visibility=kind) for kind in ("private", "shared", "community")}
    made["public"] = await make(root, name="public", visibility="public")
    assert sorted(await names(ann)) == ["community", "private", "public", "shared"]
    assert await names(bob) == ["public"]
    assert await names(bob, "?visibility=community") == ["community"]
    assert sorted(await names(bob, "?visibility=all")) == ["community", "public"]
    assert await names(bob, "?visibility=private") == []
    assert len(await names(root, "?visibility=all")) == 4
    for kind, image in made.items():
        seen = 200 if kind in {"community", "public"} else 404
        assert (await bob.get(f"/v2/images/{image['id']}")).status_code == seen
        changed = await patch(bob, image["id"], ("replace", "/name", "mine"))
        refused(changed, 403 if seen == 200 else 404)
        refused(await bob.delete(f"/v2/images/{image['id']}"), 403 if seen == 200 else 404)
        refused(
            await bob.put(f"/v2/images/{image['id']}/file", content=b"x", headers=BYTES), 403 if seen == 200 else 404
        )
        refused(await bob.put(f"/v2/images/{image['id']}/tags/x"), 403 if seen == 200 else 404)


async def test_a_shared_image_is_offered_taken_and_given_back(client: As) -> None:
    ann, bob = client("ann"), client("bob")
    image = await make(ann, name="ours")
    at = f"/v2/images/{image['id']}"
    refused(await bob.get(at), 404)
    made = await ann.post(f"{at}/members", json={"member": "b" * 32})
    assert made.json() == {
        "member_id": "b" * 32,
        "image_id": image["id"],
        "status": "pending",
        "created_at": "2030-01-01T00:00:00Z",
        "updated_at": "2030-01-01T00:00:00Z",
        "schema": "/v2/schemas/member",
    }
    refused(await ann.post(f"{at}/members", json={"member": "b" * 32}), 409)
    assert (await bob.get(at)).status_code == 200
    assert await names(bob) == []
    assert await names(bob, "?member_status=pending&visibility=shared") == ["ours"]
    refused(await ann.put(f"{at}/members/{'b' * 32}", json={"status": "accepted"}), 403, "itself")
    refused(await bob.put(f"{at}/members/{'b' * 32}", json={"status": "perhaps"}), 400, "perhaps")
    refused(await bob.put(f"{at}/members/{'c' * 32}", json={"status": "accepted"}), 404)
    assert (await bob.put(f"{at}/members/{'b' * 32}", json={"status": "accepted"})).json()["status"] == "accepted"
    assert await names(bob) == ["ours"]
    refused(await bob.delete(f"{at}/members/{'b' * 32}"), 403)
    refused(await bob.post(f"{at}/members", json={"member": "c" * 32}), 403)
    await ann.post(f"{at}/members", json={"member": "c" * 32})
    assert [each["member_id"] for each in (await bob.get(f"{at}/members")).json()["members"]] == ["b" * 32]
    assert len((await ann.get(f"{at}/members")).json()["members"]) == 2
    refused(await bob.get(f"{at}/members/{'c' * 32}"), 404)
    assert (await bob.get(f"{at}/members/{'b' * 32}")).json()["status"] == "accepted"
    assert (await ann.delete(f"{at}/members/{'b' * 32}")).status_code == 204
    refused(await ann.delete(f"{at}/members/{'b' * 32}"), 404)
    refused(await bob.get(at), 404)
    await patch(ann, image["id"], ("replace", "/visibility", "private"))
    refused(await ann.get(f"{at}/members"), 403, "Only shared")
    refused(await ann.post(f"{at}/members", json={"member": "d" * 32}), 403, "Only shared")


# -- lists ----------------------------------------------------------------------------------------------


async def test_a_list_is_filtered(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    one = await make(ann, name="one", tags=["x", "y"], os_distro="debian", min_ram=64)
    assert isinstance(image_cloud.clock, FixedClock)
    image_cloud.clock.advance(60.5)
    await make(ann, name="two, or so", disk_format="qcow2", tags=["x"], protected=True)
    await make(ann, name="old", os_hidden=True)
    await ann.put(f"/v2/images/{one['id']}/file", content=b"12345", headers=BYTES)
    for query, expected in {
        "": ["one", "two, or so"],
        "?name=one": ["one"],
        "?name=in:one,%22two,%20or%20so%22": ["one", "two, or so"],
        "?name=in:one,two": ["one"],
        "?name=in:%20one": [],
        "?name=in:": [],
        "?name=eq:one": ["one"],
        "?name=eq:in:one": [],
        "?id=in:" + one["id"]: ["one"],
        "?id=eq:" + one["id"]: ["one"],
        "?status=eq:active": ["one"],
        "?status=lost": [],
        "?status=deleted": [],
        "?deleted=true": ["one", "two, or so"],
        "?disk_format=eq:raw": ["one"],
        "?container_format=in:bare,ovf": ["one", "two, or so"],
        "?size=5": ["one"],
        "?size_min=-1": ["one"],
        "?virtual_size=5": ["one"],
        "?min_ram_min=65": [],
        "?min_ram_max=64": ["one", "two, or so"],
        "?min_disk_min=0": ["one", "two, or so"],
        "?os_distro=eq:debian": [],
        "?os_distro=in:debian": [],
        "?tag=%20x%20": ["one", "two, or so"],
        "?os_hidden=True": ["old"],
        "?status=active": ["one"],
        "?status=in:active,queued": ["one", "two, or so"],
        "?disk_format=qcow2": ["two, or so"],
        "?container_format=bare&disk_format=in:raw,iso": ["one"],
        "?owner=" + "b" * 32: [],
        "?size_min=5&size_max=5": ["one"],
        "?size_min=6": [],
        "?min_ram=64": ["one"],
        "?tag=x": ["one", "two, or so"],
        "?tag=x&tag=y": ["one"],
        "?protected=true": ["two, or so"],
        "?os_hidden=true": ["old"],
        "?os_distro=debian": ["one"],
        "?os_distro=Debian": [],
        "?os_hash_algo=sha512": ["one"],
        "?os_hash_algo=md5": [],
        "?created_at=2030-01-01T00:01:00Z": ["two, or so"],
        "?created_at=neq:2030-01-01T00:01:00": ["one"],
        "?created_at=gt:2030-01-01T00:01:00": [],
        "?created_at=gte:2030-01-01T00:01:00": ["two, or so"],
        "?created_at=lt:2030-01-01T00:01:00": ["one"],
        "?created_at=lte:2030-01-01T00:01:00%2B00:00": ["one", "two, or so"],
        "?updated_at=eq:2030-01-01T00:01:00Z": ["one", "two, or so"],
    }.items():
        assert sorted(await names(ann, query)) == expected, query


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("marker=nothing", "marker"),
        ("sort_key=colour", "colour"),
        ("sort=name:up", "up"),
        ("visibility=secret", "visibility"),
        ("member_status=maybe", "member_status"),
        ("name=neq:one", "neq"),
        ("id=gt:1", "gt"),
        ("status=saving:soon", "saving"),
        ("container_format=like:b", "like"),
        ("created_at=in:2030-01-01T00:00:00Z", "created_at"),
        ("visibility=in:public,private", "visibility"),
        ("changes-since=2030-01-01T00:00:00Z", "changes-since"),
        ("protected=True", "protected"),
        ("protected=1", "protected"),
        ("min_disk_min=x", "min_disk_min"),
        ("name=in:a%22b", "name"),
        ("name=in:%22a%22b", "name"),
        ("sort=name&sort_key=name", "sort"),
        ("sort_key=name&sort_dir=asc&sort_dir=desc", "sort_dir"),
        ("sort_dir=up", "sort_dir"),
        ("size_min=1e3", "size_min"),
        ("size_max=" + "9" * 30, "size_max"),
        ("os_hidden=perhaps", "os_hidden"),
        ("created_at=yesterday", "created_at"),
        ("created_at=gt:9999-12-31T23:59:59-12:00", "created_at"),
        ('name=in:"a', "name"),
        ("name=in:" + "a," * 51, "at most 50"),
        ("&".join(f"p{n}=x" for n in range(65)), "64"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(client: As, query: str, word: str) -> None:
    refused(await client("ann").get(f"/v2/images?{query}"), 400, word)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", ["d", "c", "b", "a", None]),
        ("sort_key=name&sort_dir=asc", [None, "a", "b", "c", "d"]),
        ("sort_key=name", ["d", "c", "b", "a", None]),
        ("sort=size:asc,name:desc", ["c", "b", "a", None, "d"]),
        ("sort=disk_format:desc,name:asc", ["b", "d", None, "a", "c"]),
        ("sort_key=created_at&sort_dir=asc", [None, "a", "b", "c", "d"]),
        ("sort_dir=asc", [None, "a", "b", "c", "d"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 5, 9])
async def test_pages_hold_every_image_once_in_order(
    client: As, image_cloud: Cloud, order: str, expected: list[str | None], limit: int
) -> None:
    ann = client("ann")
    assert isinstance(image_cloud.clock, FixedClock)
    for name, disk_format in ((None, "iso"), ("a", "iso"), ("b", "raw"), ("c", "iso"), ("d", "raw")):
        image_cloud.clock.advance(0.25)
        last = await make(ann, name=name, disk_format=disk_format)
    await ann.put(f"/v2/images/{last['id']}/file", content=b"12345", headers=BYTES)
    seen: list[str | None] = []
    at, pages = f"/v2/images?{order}&limit={limit}", 0
    while at:
        body = (await ann.get(at)).json()
        assert len(body["images"]) <= limit
        assert body["first"] == f"/v2/images?{order}{'&' if order else ''}limit={limit}".replace(":", "%3A").replace(
            ",", "%2C"
        )
        seen += [image["name"] for image in body["images"]]
        at, pages = body.get("next"), pages + 1
    assert seen == expected
    assert pages == -(-5 // limit)


async def test_no_more_than_asked_is_given(client: As) -> None:
    ann = client("ann")
    await make(ann)
    body = (await ann.get("/v2/images?limit=0")).json()
    assert body == {"images": [], "first": "/v2/images?limit=0", "schema": "/v2/schemas/images"}


# -- change and delete ----------------------------------------------------------------------------------


async def test_a_patch_changes_base_and_own_properties(client: As, image_cloud: Cloud) -> None:
    ann = client("ann")
    image = await make(ann, name="x", colour="red", shape="round")
    assert isinstance(image_cloud.clock, FixedClock)
    image_cloud.clock.advance(5)
    reply = await patch(
        ann,
        image["id"],
        ("replace", "/name", "y"),
        ("add", "/min_disk", 3),
        ("replace", "/tags", ["t2", "t1", "t1"]),
        ("replace", "/os_hidden", True),
        ("replace", "/disk_format", "qcow2"),
        ("replace", "/colour", "blue"),
        ("remove", "/shape", None),
        ("add", "/a~1b~0c", "odd"),
    )
    assert reply.status_code == 200, reply.text
    changed = reply.json()
    assert (await ann.get(f"/v2/images/{image['id']}")).json() == changed
    del image["shape"]
    assert changed == {
        **image,
        "name": "y",
        "min_disk": 3,
        "tags": ["t1", "t2"],
        "os_hidden": True,
        "disk_format": "qcow2",
        "colour": "blue",
        "a/b~c": "odd",
        "updated_at": "2030-01-01T00:00:05Z",
    }


@pytest.mark.parametrize(
    ("op", "status", "word"),
    [
        ({"op": "replace", "path": "/size", "value": 1}, 403, "size"),
        ({"op": "replace", "path": "/status", "value": "active"}, 403, "status"),
        ({"op": "replace", "path": "/id", "value": "x"}, 403, "id"),
        ({"op": "add", "path": "/locations", "value": "file:///etc/shadow"}, 403, "locations"),
        ({"op": "add", "path": "/os_glance_x", "value": "x"}, 403, "reserved"),
        ({"op": "remove", "path": "/name"}, 403, "name"),
        ({"op": "replace", "path": "/owner", "value": "b" * 32}, 403, "b" * 32),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403, "publicize_image"),
        ({"op": "replace", "path": "/nothing", "value": "x"}, 409, "nothing"),
        ({"op": "remove", "path": "/nothing"}, 409, "nothing"),
        ({"op": "replace", "path": "/name", "value": 3}, 400, "name"),
        ({"op": "replace", "path": "/visibility", "value": "none"}, 400, "visibility"),
        ({"op": "replace", "path": "/visibility", "value": None}, 400, "visibility"),
        ({"op": "add", "path": "/x", "value": {"y": 1}}, 400, "x"),
        ({"op": "add", "path": "/x"}, 400, "value"),
        ({"op": "move", "path": "/x", "from": "/y"}, 400, "move"),
        ({"op": "add", "path": "/x/y", "value": "z"}, 400, "/x/y"),
        ({"op": "add", "path": "/x~2", "value": "z"}, 400, "~"),
        ({"op": "add", "path": "x", "value": "z"}, 400, "pointer"),
        ({"op": "add", "path": 7, "value": "z"}, 400, "pointer"),
        ({"op": ["add"], "path": "/x", "value": "z"}, 400, "op"),
        ("add", 400, "object"),
    ],
)
async def test_a_bad_patch_changes_nothing(client: As, op: Any, status: int, word: str) -> None:
    ann = client("ann")
    image = await make(ann, name="x")
    first = {"op": "replace", "path": "/name", "value": "y"}
    reply = await ann.patch(f"/v2/images/{image['id']}", json=[first, op], headers=PATCH)
    refused(reply, status, word)
    assert (await ann.get(f"/v2/images/{image['id']}")).json() == image


async def test_a_patch_needs_its_media_type(client: As) -> None:
    ann = client("ann")
    image = await make(ann)
    refused(await ann.patch(f"/v2/images/{image['id']}", json=[]), 415, "application/openstack-images-v2.1-json-patch")
    refused(await ann.patch(f"/v2/images/{image['id']}", json={}, headers=PATCH), 400, "array")


async def test_an_administrator_may_publish_and_give_away(client: As) -> None:
    ann, root = client("ann"), client("root")
    image = await make(ann)
    reply = await patch(root, image["id"], ("replace", "/visibility", "public"), ("replace", "/owner", "b" * 32))
    assert (reply.json()["visibility"], reply.json()["owner"]) == ("public", "b" * 32)


async def test_a_protected_image_is_kept(client: As) -> None:
    ann = client("ann")
    image = await make(ann, protected=True)
    refused(await ann.delete(f"/v2/images/{image['id']}"), 403, "protected")
    await patch(ann, image["id"], ("replace", "/protected", False))
    assert (await ann.delete(f"/v2/images/{image['id']}")).status_code == 204
    refused(await ann.get(f"/v2/images/{image['id']}"), 404, image["id"])
    refused(await ann.delete(f"/v2/images/{image['id']}"), 404)


async def test_tags_come_and_go(client: As) -> None:
    ann = client("ann")
    image = await make(ann)
    at = f"/v2/images/{image['id']}"
    for _ in range(2):
        assert (await ann.put(f"{at}/tags/a%20b")).status_code == 204
    assert (await ann.get(at)).json()["tags"] == ["a b"]
    assert (await ann.delete(f"{at}/tags/a%20b")).status_code == 204
    refused(await ann.delete(f"{at}/tags/a%20b"), 404, "a b")
    refused(await ann.put(f"{at}/tags/{'t' * 256}"), 400, "255")
    await patch(ann, image["id"], ("replace", "/tags", [str(n) for n in range(128)]))
    refused(await ann.put(f"{at}/tags/more"), 413, "128")
    assert (await ann.put(f"{at}/tags/7")).status_code == 204


# -- what the service says of itself --------------------------------------------------------------------


async def test_anybody_may_discover_the_versions(client: As) -> None:
    nobody = client("")
    for path, status in (("/", 300), ("", 300), ("/versions", 200), ("/v2/", 300)):
        reply = await nobody.get(path)
        assert reply.status_code == status
        first = reply.json()["versions"][0]
        assert first["status"] == "CURRENT"
        assert first["links"] == [{"rel": "self", "href": "http://127.0.0.1:8774/image/v2/"}]


async def test_the_schemas_describe_what_is_shown(client: As) -> None:
    ann = client("ann")
    schema = (await ann.get("/v2/schemas/image")).json()
    assert set(schema["properties"]) == set(await make(ann))
    assert schema["properties"]["size"]["readOnly"] is True
    assert "qcow2" in schema["properties"]["disk_format"]["enum"]
    assert schema["additionalProperties"] == {"type": "string"}
    assert (await ann.get("/v2/schemas/images")).json()["properties"]["images"]["items"] == schema
    member = (await ann.get("/v2/schemas/member")).json()
    assert "member_id" in member["properties"]
    assert (await ann.get("/v2/schemas/members")).json()["properties"]["members"]["items"] == member


async def test_there_is_one_store_and_no_import(client: As) -> None:
    ann = client("ann")
    assert len((await ann.get("/v2/info/stores")).json()["stores"]) == 1
    assert (await ann.get("/v2/info/import")).json()["import-methods"]["value"] == []


async def test_an_image_has_no_tasks_and_says_so_to_whoever_sees_it(client: As) -> None:
    image_id = (await make(client("ann")))["id"]
    reply = await client("ann").get(f"/v2/images/{image_id}/tasks")
    assert (reply.status_code, reply.json()) == (200, {"tasks": []})
    for stranger in ("bob", "ann"):
        unknown = image_id if stranger == "bob" else "0" * 36
        refused(await client(stranger).get(f"/v2/images/{unknown}/tasks"), 404, unknown)


async def test_an_image_is_changed_in_the_dialect_of_the_first_version_too(client: As) -> None:
    ann = client("ann")
    image = (await ann.post("/v2/images", json={"name": "tiny", "protected": True, "os": "linux"})).json()
    headers = {"content-type": "application/openstack-images-v2.0-json-patch"}
    body: list[dict[str, object]] = [{"replace": "/protected", "value": False}, {"remove": "/os"}]
    changed = await ann.patch(f"/v2/images/{image['id']}", json=body, headers=headers)
    assert changed.status_code == 200, changed.text
    assert changed.json()["protected"] is False
    assert "os" not in changed.json()
    refused = await ann.patch(f"/v2/images/{image['id']}", json=[{"op": "add", "path": "/x"}], headers=headers)
    assert refused.status_code == 400


async def test_an_empty_id_is_no_image(client: As) -> None:
    ann = client("ann")
    for method in ("GET", "DELETE"):
        assert (await ann.request(method, "/v2/images/")).status_code == 404


async def test_a_value_with_a_colon_or_in_quotes_is_found_as_it_is_written(client: As) -> None:
    ann = client("ann")
    for name in ("web:1.2", "2030-01-01T00:00:00Z", 'say "hi"', "a,b", " a"):
        await make(ann, name=name)
    assert await names(ann, "?name=eq:web:1.2") == ["web:1.2"]
    assert await names(ann, "?name=2030-01-01T00:00:00Z") == ["2030-01-01T00:00:00Z"]
    assert await names(ann, '?name=in:"say \\"hi\\"",x') == ['say "hi"']
    assert sorted(await names(ann, '?name=in:"a,b",web:1.2, a')) == [" a", "a,b", "web:1.2"]


async def test_only_tokens_of_a_project_reach_images(client: As) -> None:
    """Glance's rules have the scope type project alone, whatever the role; a reader cannot fetch the bytes."""
    image_id = (await make(client("ann"), visibility="community"))["id"]
    for name in ("system-admin", "domain-admin", "unscoped"):
        caller = client(name)
        for method, path in (
            ("GET", "/v2/images"), ("GET", f"/v2/images/{image_id}"), ("POST", "/v2/images"),
            ("DELETE", f"/v2/images/{image_id}"), ("GET", f"/v2/images/{image_id}/members"),
        ):  # fmt: skip
            assert (await caller.request(method, path)).status_code == 403, (name, method, path)
        assert (await caller.get("/v2/schemas/image")).status_code == 200
    assert (await client("eve").get(f"/v2/images/{image_id}/file")).status_code == 403
    assert (await client("bob").get(f"/v2/images/{image_id}/file")).status_code == 204


async def test_every_property_of_the_schema_is_taken_or_said_to_be_read_only(client: As) -> None:
    """What an image shows is what a change takes back, and the schema tells the two kinds apart."""
    ann = client("ann")
    image = await make(ann, name="x", tags=["a"], os_distro="x")
    url = f"/v2/images/{image['id']}"
    schema = (await ann.get("/v2/schemas/image")).json()["properties"]
    assert set(schema) == set(image) - {"os_distro"}
    for name, about in schema.items():
        change = [{"op": "replace", "path": f"/{name}", "value": image[name]}]
        reply = await ann.patch(url, content=json.dumps(change), headers=PATCH)
        assert reply.status_code == (403 if about.get("readOnly") or name == "id" else 200), name
        if about.get("readOnly"):
            refused(await ann.post("/v2/images", json={name: image[name]}), 403, name)
    for name in ("stores", "location", "locations", "direct_url", "deleted", "deleted_at", "os_glance_x"):
        refused(await ann.post("/v2/images", json={name: "x"}), 403, name)
    for name in ("is_public", "members", "leer\u3000stelle", "a\u00a0b"):
        assert (await make(ann, **{name: "x"}))[name] == "x"
    refused(await ann.post("/v2/images", json={"id": image["id"].replace("-", "")}), 400, "id")


_VALUE = st.text(st.characters(blacklist_categories=["Cs", "Cc"], whitelist_characters="\t\r\n"), max_size=60)


@settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.none() | st.text(st.characters(blacklist_categories=["Cs"]), max_size=40),
    tags=st.lists(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20), max_size=4),
    value=_VALUE,
    later=_VALUE,
)
async def test_every_text_of_an_image_comes_back_as_it_was_sent(
    client: As, name: str | None, tags: list[str], value: str, later: str
) -> None:
    ann = client("ann")
    made = await make(ann, name=name, tags=tags, own=value)
    url = f"/v2/images/{made['id']}"
    shown = (await ann.get(url)).json()
    assert (shown["name"], shown["tags"], shown["own"]) == (name, sorted(set(tags)), value)
    change = [{"op": "add", "path": "/own", "value": later}, {"op": "add", "path": "/a~1b", "value": value}]
    assert (await ann.patch(url, content=json.dumps(change), headers=PATCH)).status_code == 200
    shown = (await ann.get(url)).json()
    assert (shown["own"], shown["a/b"]) == (later, value)
    await ann.delete(url)


async def test_what_is_left_out_is_not_there(client: As) -> None:
    """Each is named in docs/not-doing.md."""
    ann = client("root")
    image = await make(ann, name="x")
    for method, path in (
        ("GET", "/v2/tasks"),
        ("POST", "/v2/tasks"),
        ("GET", "/v2/metadefs/namespaces"),
        ("GET", f"/v2/images/{image['id']}/locations"),
        ("POST", f"/v2/images/{image['id']}/locations"),
        ("POST", f"/v2/images/{image['id']}/import"),
        ("PUT", f"/v2/images/{image['id']}/stage"),
        ("GET", "/v2/cache"),
    ):
        refused(await ann.request(method, path), 404, path)
