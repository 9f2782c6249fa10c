"""What bodies may hold: what Nova's own schemas take is taken, and what they refuse is refused."""

from __future__ import annotations

from typing import Any

import pytest

IMAGE = "11111111-1111-4111-8111-111111111111"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqeeh3KaUsVNkxrNhlgYZ4qdLBXx5iZNYTLeZ9ZPqzv"
NEW = {"name": "n", "flavorRef": "0", "imageRef": IMAGE, "networks": "none"}
FLAVOR = {"name": "f", "ram": 1, "vcpus": 1, "disk": 0}
QUOTA = f"/os-quota-sets/{'a' * 32}"
CLASS = "/os-quota-class-sets/default"

TRUE = ("True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", True)
ODD_FLAGS = ("", " 1", "T", "y", "01", "x", 1, 0, None)


def server(**values: Any) -> dict[str, Any]:
    return {"server": {**NEW, **values}}


TAKEN: list[tuple[str, str, Any, str]] = [
    *(("/servers", "POST", server(config_drive=word), "2.96") for word in TRUE),
    *(("/servers", "POST", server(return_reservation_id=word), "2.96") for word in TRUE),
    ("/servers", "POST", server(name="a\u3000b\u00a0c"), "2.96"),
    ("/servers", "POST", server(adminPass="x" * 300), "2.96"),
    ("/servers", "POST", server(description="\u3000"), "2.96"),
    ("/servers", "POST", server(metadata={"a-Z_0:. ": ""}), "2.96"),
    ("/servers/{id}", "PUT", {"server": {"name": "a\u3000b"}}, "2.1"),
    ("/servers/{id}/action", "POST", {"os-getConsoleOutput": {"length": 2**31}}, "2.96"),
    ("/servers/{id}/action", "POST", {"os-getConsoleOutput": {"length": "-1"}}, "2.96"),
    ("/servers/{id}/action", "POST", {"lock": {"locked_reason": "r"}}, "2.72"),
    ("/servers/{id}/action", "POST", {"lock": "anything"}, "2.1"),
    ("/flavors", "POST", {"flavor": {**FLAVOR, "id": 1.5}}, "2.96"),
    ("/flavors", "POST", {"flavor": {**FLAVOR, "name": "a\u00a0b"}}, "2.96"),
    ("/os-keypairs", "POST", {"keypair": {"name": "k", "public_key": KEY, "user_id": ""}}, "2.10"),
    ("/os-server-groups", "POST", {"server_group": {"name": "a\u3000b", "policy": "affinity"}}, "2.96"),
    *(
        (path, "PUT", {noun: {name: value}}, version)
        for path, noun, version in ((QUOTA, "quota_set", "2.35"), (CLASS, "quota_class_set", "2.49"))
        for name, value in (
            ("fixed_ips", -1),
            ("floating_ips", "0"),
            ("security_groups", 20),
            ("security_group_rules", "200"),
        )
    ),
]

REFUSED: list[tuple[str, str, Any, str]] = [
    *(("/servers", "POST", server(config_drive=word), "2.96") for word in ODD_FLAGS),
    *(("/servers", "POST", server(return_reservation_id=word), "2.96") for word in ODD_FLAGS),
    *(
        ("/servers", "POST", server(metadata={key: "v"}), "2.96")
        for key in ("", "a/b", "a?", "\u00e9", "a\n", "x" * 256)
    ),
    ("/servers", "POST", server(name="\u3000a"), "2.96"),
    ("/servers", "POST", server(name="a\u200bb"), "2.96"),
    ("/servers", "POST", server(name="a\u2028b"), "2.96"),
    ("/servers", "POST", server(user_data=None), "2.96"),
    ("/servers", "POST", server(user_data="\u00a0"), "2.96"),
    ("/servers", "POST", server(accessIPv4=""), "2.96"),
    ("/servers", "POST", server(accessIPv6=""), "2.96"),
    ("/servers", "POST", server(trusted_image_certificates=[]), "2.96"),
    ("/servers", "POST", server(host="a b"), "2.96"),
    ("/servers", "POST", server(hypervisor_hostname="a/b"), "2.96"),
    ("/servers", "POST", {}, "2.96"),
    ("/servers/{id}", "PUT", {}, "2.96"),
    ("/servers/{id}", "PUT", {"server": {"accessIPv4": None}}, "2.96"),
    ("/servers/{id}", "PUT", {"server": {"accessIPv6": ""}}, "2.96"),
    ("/servers/{id}/metadata", "POST", {"metadata": {"a/b": "c"}}, "2.96"),
    ("/servers/{id}/metadata", "PUT", {"metadata": {"a/b": "c"}}, "2.96"),
    ("/servers/{id}/metadata/a,b", "PUT", {"meta": {"a,b": "c"}}, "2.96"),
    ("/servers/{id}/action", "POST", {"lock": ""}, "2.73"),
    ("/flavors", "POST", {"flavor": {**FLAVOR, "os-flavor-access:is_public": "T"}}, "2.96"),
    ("/flavors", "POST", {"flavor": {**FLAVOR, "rxtx_factor": " 1"}}, "2.96"),
    (QUOTA, "PUT", {}, "2.96"),
    (QUOTA, "PUT", {"quota_set": {"nonsense": 1}}, "2.96"),
    (QUOTA, "PUT", {"quota_set": {"cores": 9, "tenant_id": "a" * 32}}, "2.96"),
    (QUOTA, "PUT", {"quota_set": {"cores": 9, "force": "T"}}, "2.96"),
    (QUOTA, "PUT", {"quota_set": {"floating_ips": 0}}, "2.36"),
    (CLASS, "PUT", {"quota_class_set": {"security_groups": 1}}, "2.50"),
    ("/os-services/enable", "PUT", {"host": "a b", "binary": "nova-compute"}, "2.1"),
]


async def send(client: Any, path: str, method: str, body: Any, version: str) -> tuple[int, str]:
    who = "ann" if path.startswith(("/servers", "/os-keypairs", "/os-server-groups")) else "root"
    if "{id}" in path:
        made = await client("ann").post("/servers", json=server())
        path = path.replace("{id}", made.json()["server"]["id"])
    reply = await client(who, version).request(method, path, json=body)
    return reply.status_code, reply.text


@pytest.mark.parametrize(("path", "method", "body", "version"), TAKEN)
async def test_what_nova_takes_is_taken(client: Any, path: str, method: str, body: Any, version: str) -> None:
    status, text = await send(client, path, method, body, version)
    on_no_host = "is on no host yet"
    assert status < 300 or (status == 409 and on_no_host in text), text


@pytest.mark.parametrize(("path", "method", "body", "version"), REFUSED)
async def test_what_nova_refuses_is_refused(client: Any, path: str, method: str, body: Any, version: str) -> None:
    status, text = await send(client, path, method, body, version)
    assert status == 400, text


async def test_a_locked_server_may_be_renamed_and_tagged_and_keeps_its_metadata(client: Any) -> None:
    ann = client("ann")
    ident = (await ann.post("/servers", json=server())).json()["server"]["id"]
    assert (await ann.post(f"/servers/{ident}/action", json={"lock": None})).status_code == 202
    assert (await ann.put(f"/servers/{ident}", json={"server": {"name": "m"}})).status_code == 200
    assert (await ann.put(f"/servers/{ident}/tags/t")).status_code == 201
    assert (await ann.put(f"/servers/{ident}/tags", json={"tags": ["u"]})).status_code == 200
    assert (await ann.delete(f"/servers/{ident}/tags")).status_code == 204
    assert (await ann.post(f"/servers/{ident}/metadata", json={"metadata": {"a": "b"}})).status_code == 409
    assert (await ann.delete(f"/servers/{ident}")).status_code == 409


async def test_quotas_that_are_shown_below_2_36_are_set_as_those_of_the_network_api(client: Any) -> None:
    root = client("root", "2.35")
    shown = (await root.get(QUOTA)).json()["quota_set"]
    shown.pop("id")
    assert (await root.put(QUOTA, json={"quota_set": shown})).json()["quota_set"] == shown, "what is shown may be sent"
    sent = {"security_groups": 3, "security_group_rules": 30, "fixed_ips": 9}
    assert (await root.put(QUOTA, json={"quota_set": sent})).status_code == 200
    after = (await root.get(QUOTA)).json()["quota_set"]
    assert {name: after[name] for name in sent} == sent
