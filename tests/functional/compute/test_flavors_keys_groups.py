"""Flavors, keypairs, server groups, limits and quotas through the API."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from floe.cloud import flavors, quota_classes
from floe.cloud.cloud import Cloud

ANN = "a" * 32
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 ann@home"
SMALL = {"name": "small", "ram": 64, "vcpus": 1, "disk": 1}


async def names(client: Any, query: str = "") -> list[str]:
    reply = await client.get(f"/flavors?{query}")
    assert reply.status_code == 200, reply.text
    return [flavor["name"] for flavor in reply.json()["flavors"]]


async def test_the_built_in_flavors_are_there_once_however_often_it_starts(client: Any, compute_cloud: Cloud) -> None:
    await flavors.bootstrap(compute_cloud)
    assert await names(client("ann")) == ["m1.nano", "m1.tiny", "m1.small", "m1.medium"]


async def test_flavors_are_made_described_and_deleted_by_administrators(client: Any) -> None:
    root, ann = client("root"), client("ann")
    assert (await ann.post("/flavors", json={"flavor": SMALL})).status_code == 403
    made = (await root.post("/flavors", json={"flavor": {**SMALL, "swap": 5, "id": "my id"}})).json()["flavor"]
    assert (made["id"], made["swap"], made["os-flavor-access:is_public"]) == ("my id", 5, True)
    again = await root.post("/flavors", json={"flavor": SMALL})
    assert again.status_code == 409 and "small" in again.text
    changed = await root.put("/flavors/my id", json={"flavor": {"description": "d"}})
    assert changed.json()["flavor"]["description"] == "d"
    assert (await root.delete("/flavors/my id")).status_code == 202
    assert (await root.delete("/flavors/my id")).status_code == 404
    assert (await ann.get("/flavors/my id")).status_code == 404


async def test_a_flavor_that_makes_no_sense_is_refused(client: Any) -> None:
    for bad in (
        {"name": ""},
        {"ram": 0},
        {"ram": "much"},
        {"vcpus": -1},
        {"vcpus": 2**31},
        {"disk": -1},
        {"swap": -5},
        {"rxtx_factor": 0},
        {"rxtx_factor": "x"},
        {"id": "a/b"},
        {"id": " x"},
        {"os-flavor-access:is_public": "maybe"},
        {"more": 1},
    ):
        reply = await client("root").post("/flavors", json={"flavor": {**SMALL, **bad}})
        assert reply.status_code == 400, bad
        assert next(iter(bad)) in reply.text


async def test_a_private_flavor_is_seen_and_used_only_where_it_was_allowed(client: Any) -> None:
    root, ann, bob = client("root"), client("ann"), client("bob")
    private = {**SMALL, "id": "p", "os-flavor-access:is_public": False}
    await root.post("/flavors", json={"flavor": private})
    add = {"addTenantAccess": {"tenant": ANN}}
    server = {
        "server": {
            "name": "x",
            "flavorRef": "p",
            "imageRef": "11111111-1111-4111-8111-111111111111",
            "networks": "none",
        }
    }
    assert (await ann.post("/servers", json=server)).status_code == 400
    granted = await root.post("/flavors/p/action", json=add)
    assert granted.json() == {"flavor_access": [{"flavor_id": "p", "tenant_id": ANN}]}
    assert (await root.post("/flavors/p/action", json=add)).status_code == 409
    assert "small" in await names(ann) and "small" not in await names(bob)
    assert (await ann.get("/flavors/p")).status_code == 200
    assert (await bob.get("/flavors/p")).status_code == 404
    assert (await ann.post("/servers", json=server)).status_code == 202
    assert (await bob.post("/servers", json=server)).status_code == 400
    assert "small" not in await names(root)
    assert await names(root, "is_public=false") == ["small"]
    assert len(await names(root, "is_public=none")) == 5
    assert (await root.get("/flavors/p/os-flavor-access")).status_code == 200
    assert (await root.get("/flavors/0/os-flavor-access")).status_code == 404
    remove = {"removeTenantAccess": {"tenant": ANN}}
    assert (await root.post("/flavors/p/action", json=remove)).json() == {"flavor_access": []}
    assert (await root.post("/flavors/p/action", json=remove)).status_code == 404
    assert (await ann.post("/flavors/p/action", json=add)).status_code == 403


async def test_a_public_flavor_is_granted_below_2_7_alone(client: Any) -> None:
    add, granted = {"addTenantAccess": {"tenant": ANN}}, {"flavor_access": [{"flavor_id": "0", "tenant_id": ANN}]}
    refused = await client("root", "2.7").post("/flavors/0/action", json=add)
    assert (refused.status_code, refused.json()["conflictingRequest"]["message"]) == (
        409,
        "Can not add access to a public flavor.",
    )
    assert (await client("root", "2.6").post("/flavors/0/action", json=add)).json() == granted
    assert (await client("root", "2.6").post("/flavors/0/action", json=add)).status_code == 409
    assert (await client("root", "2.6").get("/flavors/0/os-flavor-access")).status_code == 404


async def test_flavors_are_filtered_sorted_and_paged(client: Any) -> None:
    ann = client("ann")
    assert await names(ann, "minRam=2000") == ["m1.small", "m1.medium"]
    assert await names(ann, "minDisk=40") == ["m1.medium"]
    assert await names(ann, "sort_key=memory_mb&sort_dir=desc&limit=2") == ["m1.medium", "m1.small"]
    assert await names(ann, "sort_key=memory_mb&sort_dir=desc&limit=2&marker=2") == ["m1.tiny", "m1.nano"]
    assert await names(ann, "sort_dir=desc") == list(reversed(await names(ann, "sort_dir=asc"))), "of their ids"
    assert await names(ann, "sort_dir=asc") == await names(ann, "sort_key=flavorid")
    for query in (
        "minRam=x",
        "limit=x",
        "marker=nope",
        "sort_key=nope",
        "sort_key=name&sort_dir=up",
        "more=1",
        "sort_dir=up",
    ):
        assert (await ann.get(f"/flavors?{query}")).status_code == 400, query


async def test_extra_specs_are_set_shown_and_removed(client: Any) -> None:
    root, ann = client("root"), client("ann")
    path = "/flavors/0/os-extra_specs"
    assert (await root.post(path, json={"extra_specs": {"own:a": "1", "b": 2}})).json() == {
        "extra_specs": {"own:a": "1", "b": "2"}
    }
    assert (await root.put(f"{path}/b", json={"b": "3"})).json() == {"b": "3"}
    assert (await ann.get(f"{path}/b")).json() == {"b": "3"}
    assert (await ann.get("/flavors/0")).json()["flavor"]["extra_specs"] == {"own:a": "1", "b": "3"}
    assert (await root.delete(f"{path}/b")).status_code == 200
    assert (await ann.get(f"{path}/b")).status_code == 404
    assert (await root.delete(f"{path}/b")).status_code == 404
    assert (await ann.post(path, json={"extra_specs": {}})).status_code == 403
    for bad in ({"a/b": "1"}, {"a": "x" * 256}, {"a": None}, {"a": {}}, {"": "1"}):
        assert (await root.post(path, json={"extra_specs": bad})).status_code == 400, bad
    assert (await root.put(f"{path}/b", json={"c": "3"})).status_code == 400


async def test_a_key_is_imported_shown_and_deleted(client: Any) -> None:
    ann = client("ann")
    made = await ann.post("/os-keypairs", json={"keypair": {"name": "a@b.c", "public_key": KEY}})
    assert made.status_code == 201 and "private_key" not in made.json()["keypair"]
    assert (await ann.get("/os-keypairs/a@b.c")).json()["keypair"]["public_key"] == KEY
    assert (await client("bob").get("/os-keypairs/a@b.c")).status_code == 404
    again = await ann.post("/os-keypairs", json={"keypair": {"name": "a@b.c", "public_key": KEY}})
    assert again.status_code == 409 and "a@b.c" in again.text
    theirs = await client("root").get("/os-keypairs?user_id=ann")
    assert [each["keypair"]["name"] for each in theirs.json()["keypairs"]] == ["a@b.c"]
    assert (await client("bob").get("/os-keypairs?user_id=ann")).status_code == 403
    assert (await ann.delete("/os-keypairs/a@b.c")).status_code == 204
    assert (await ann.delete("/os-keypairs/a@b.c")).status_code == 404


async def test_a_generated_key_opens_what_its_public_half_closes(client: Any) -> None:
    from cryptography.hazmat.primitives import serialization

    reply = await client("ann", "2.91").post("/os-keypairs", json={"keypair": {"name": "mine"}})
    made = reply.json()["keypair"]
    private = serialization.load_pem_private_key(made["private_key"].encode(), None)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert made["public_key"].startswith(public.decode())
    shown = (await client("ann").get("/os-keypairs/mine")).json()["keypair"]
    assert "private_key" not in shown


async def test_a_certificate_is_made_as_windows_takes_it_and_imported_again(client: Any) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import pkcs12

    ann, asked = client("ann", "2.91"), {"name": "w", "type": "x509"}
    reply = await ann.post("/os-keypairs", json={"keypair": asked})
    made = reply.json()["keypair"]
    assert (reply.status_code, made["type"]) == (201, "x509")
    certificate = x509.load_pem_x509_certificate(made["public_key"].encode())
    certificate.verify_directly_issued_by(certificate)
    assert made["fingerprint"] == certificate.fingerprint(hashes.SHA1()).hex(":")  # as Nova shows it
    assert certificate.subject.rfc4514_string() == "CN=ann"
    extensions = [extension.value for extension in certificate.extensions]
    assert list(extensions[0]) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    (principal,) = extensions[1]
    assert (principal.type_id.dotted_string, principal.value) == ("1.3.6.1.4.1.311.20.2.3", b"\x0c\x0dann@localhost")
    key, packed, others = pkcs12.load_key_and_certificates(base64.b64decode(made["private_key"]), None)
    assert (packed, others) == (certificate, [])
    assert key.public_key() == certificate.public_key()
    imported = {"keypair": {**asked, "name": "again", "public_key": made["public_key"]}}
    again = (await client("ann").post("/os-keypairs", json=imported)).json()["keypair"]
    assert (again["fingerprint"], again["type"], "private_key" in again) == (made["fingerprint"], "x509", False)
    shown = (await ann.get("/os-keypairs")).json()["keypairs"]
    assert [each["keypair"]["type"] for each in shown] == ["x509", "x509"]
    assert (await client("ann", "2.1").post("/os-keypairs", json=imported)).status_code == 400
    long = {"keypair": {**asked, "user_id": "u" * 65}}
    assert (await client("root", "2.91").post("/os-keypairs", json=long)).status_code == 400
    for bad in (KEY, "", made["public_key"] * 2, made["public_key"][:-80], "\u2603", "-----BEGIN CERTIFICATE-----\n"):
        wrong = {"keypair": {**asked, "name": "bad", "public_key": bad}}
        assert (await client("ann").post("/os-keypairs", json=wrong)).status_code == 400, bad


async def test_a_key_that_is_none_is_refused(client: Any) -> None:
    for bad in (
        {"name": "k", "public_key": "rubbish"},
        {"name": "k", "public_key": f"{KEY}\n{KEY}"},
        {"name": "k", "public_key": ""},
        {"name": "k/l", "public_key": KEY},
        {"name": "", "public_key": KEY},
        {"name": "k", "public_key": KEY, "type": "x509"},
        {"name": "k", "public_key": KEY, "type": "pgp"},
        {"name": "k", "public_key": KEY, "more": 1},
    ):
        assert (await client("ann").post("/os-keypairs", json={"keypair": bad})).status_code == 400, bad


async def test_keys_and_groups_are_limited_by_quota(client: Any) -> None:
    ann, root = client("ann"), client("root")
    limits = {"quota_set": {"key_pairs": 1, "server_groups": 1}}
    assert (await root.put(f"/os-quota-sets/{ANN}", json=limits)).status_code == 200
    key = {"keypair": {"name": "k", "public_key": KEY}}
    group = {"server_group": {"name": "g", "policy": "soft-affinity"}}
    assert (await ann.post("/os-keypairs", json=key)).status_code == 201
    assert (await ann.post("/os-server-groups", json=group)).status_code == 200
    refused = await ann.post("/os-keypairs", json={"keypair": {"name": "l", "public_key": KEY}})
    assert refused.status_code == 403 and "key_pairs: requested 1, already used 1, limit 1" in refused.text
    refused = await ann.post("/os-server-groups", json=group)
    assert refused.status_code == 403 and "server_groups: requested 1, already used 1, limit 1" in refused.text


async def test_server_groups_belong_to_their_project(client: Any) -> None:
    ann, bob = client("ann"), client("bob")
    rules = {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 3}}
    made = (await ann.post("/os-server-groups", json={"server_group": rules})).json()["server_group"]
    assert made["rules"] == {"max_server_per_host": 3}
    assert (await bob.get(f"/os-server-groups/{made['id']}")).status_code == 404
    assert (await bob.delete(f"/os-server-groups/{made['id']}")).status_code == 404
    assert (await bob.get("/os-server-groups")).json() == {"server_groups": []}
    assert (await bob.get("/os-server-groups?all_projects=1")).json() == {"server_groups": []}
    everybodys = await client("root").get("/os-server-groups?all_projects=1")
    assert len(everybodys.json()["server_groups"]) == 1
    for bad in (
        {"name": "g", "policy": "nice"},
        {"name": "", "policy": "affinity"},
        {"name": "g"},
        {"name": "g", "policy": "affinity", "rules": {"max_server_per_host": 3}},
        {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}},
        {"name": "g", "policies": ["affinity"]},
    ):
        assert (await ann.post("/os-server-groups", json={"server_group": bad})).status_code == 400, bad
    assert (await ann.delete(f"/os-server-groups/{made['id']}")).status_code == 204
    assert (await ann.get(f"/os-server-groups/{made['id']}")).status_code == 404


async def test_quotas_are_shown_to_the_project_and_set_by_administrators(client: Any) -> None:
    ann, root = client("ann"), client("root")
    path = f"/os-quota-sets/{ANN}"
    assert (await ann.get(path)).json()["quota_set"]["instances"] == 10
    assert (await client("bob").get(path)).status_code == 403
    assert (await ann.put(path, json={"quota_set": {"cores": 1}})).status_code == 403
    assert (await root.put(path, json={"quota_set": {"cores": 5}})).json()["quota_set"]["cores"] == 5
    assert (await ann.get(f"{path}/detail")).json()["quota_set"]["cores"] == {"limit": 5, "in_use": 0, "reserved": 0}
    assert (await ann.get(f"{path}/defaults")).json()["quota_set"]["cores"] == 20
    assert (await ann.get("/limits")).json()["limits"]["absolute"]["maxTotalCores"] == 5
    assert (await root.get(f"/limits?tenant_id={ANN}")).json()["limits"]["absolute"]["maxTotalCores"] == 5
    assert (await ann.get("/limits?tenant_id=other")).status_code == 403
    server = {"name": "x", "flavorRef": "0", "imageRef": "11111111-1111-4111-8111-111111111111", "networks": "none"}
    assert (await ann.post("/servers", json={"server": server})).status_code == 202
    below = await root.put(path, json={"quota_set": {"instances": 0}})
    assert below.status_code == 400 and "instances" in below.text
    assert (await root.put(path, json={"quota_set": {"instances": 0, "force": True}})).status_code == 200
    for bad in ({"cores": -2}, {"cores": "x"}, {"nonsense": 1}, {"cores": 2**31}):
        assert (await root.put(path, json={"quota_set": bad})).status_code == 400, bad
    assert (await root.delete(path)).status_code == 202
    assert (await ann.get(path)).json()["quota_set"]["cores"] == 20
    changed = await root.put("/os-quota-class-sets/default", json={"quota_class_set": {"cores": 7}})
    assert changed.json()["quota_class_set"]["cores"] == 7
    assert (await ann.get(path)).json()["quota_set"]["cores"] == 7


async def test_quota_classes_of_other_names_are_kept_and_hold_for_nobody(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = client("root")
    other, nobodys = "/os-quota-class-sets/of%20others", (await root.get("/os-quota-class-sets/default")).json()
    unset = (await root.get(other)).json()["quota_class_set"]
    assert unset == nobodys["quota_class_set"] | {"id": "of others"}
    for limits in ({"cores": 7}, {"cores": 8, "ram": -1}):
        changed = (await root.put(other, json={"quota_class_set": limits})).json()["quota_class_set"]
        shown = (await root.get(other)).json()["quota_class_set"]
        assert shown == unset | limits == changed | {"id": "of others"}
    assert (await root.get("/os-quota-class-sets/default")).json() == nobodys
    assert (await client("ann").get(f"/os-quota-sets/{ANN}")).json()["quota_set"]["cores"] == 20
    assert (await client("ann").get(other)).status_code == 403
    for wrong in ("a" * 256, "a%00", "a%0Ab"):
        path = f"/os-quota-class-sets/{wrong}"
        assert (await root.get(path)).status_code == 400
        assert (await root.put(path, json={"quota_class_set": {"cores": 1}})).status_code == 400
    monkeypatch.setattr(quota_classes, "MOST", 1)
    one_more = await root.put("/os-quota-class-sets/more", json={"quota_class_set": {"cores": 1}})
    assert one_more.status_code == 403 and "1 quota classes" in one_more.text
    assert (await root.put(other, json={"quota_class_set": {"cores": 9}})).status_code == 200
