"""What is stored is what was sent: each text of the compute API comes back as it went in, or is refused with 400."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from floe.cloud.cloud import Cloud

IMAGE = "11111111-1111-4111-8111-111111111111"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqeeh3KaUsVNkxrNhlgYZ4qdLBXx5iZNYTLeZ9ZPqzv"
TEXTS = st.text(
    st.sampled_from("aB9 .-_:/'\"\\%<&\t\n\r\u00a0\u3000\u00e9\u4e2d\u200b\x00\x7f\U0001f600")
    | st.characters(codec="utf-8"),
    max_size=12,
)

_DOTS = {".", ".."}
"""No address can name them: each client takes them for a folder and its parent, and leaves them out."""

Sent = Callable[[Any, str], Awaitable[tuple[int, Any, Any]]]
"""(client of somebody, text) -> the status of the request that sends it, what was sent, what is read back."""


def _of_one(path: str, text: str) -> str:
    return path if text in _DOTS else f"{path}/{quote(text, safe='')}"


async def _server(client: Any, fields: dict[str, Any]) -> tuple[int, Any]:
    new = {"name": "n", "flavorRef": "0", "imageRef": IMAGE, "networks": "none", **fields}
    made = await client("ann").post("/servers", json={"server": new})
    if made.status_code >= 400:
        return made.status_code, None
    ident = made.json()["server"]["id"]
    shown = (await client("root").get(f"/servers/{ident}")).json()["server"]
    return made.status_code, shown


def _of_create(field: str, value: Callable[[str], Any], shown: str | None = None) -> Sent:
    async def sent(client: Any, text: str) -> tuple[int, Any, Any]:
        status, server = await _server(client, {field: value(text)})
        return status, value(text), server and server[shown or field]

    return sent


def _of_update(field: str) -> Sent:
    async def sent(client: Any, text: str) -> tuple[int, Any, Any]:
        _, server = await _server(client, {})
        path = f"/servers/{server['id']}"
        changed = await client("ann").put(path, json={"server": {field: text}})
        return changed.status_code, text, (await client("ann").get(path)).json()["server"][field]

    return sent


async def _metadata_key(client: Any, text: str) -> tuple[int, Any, Any]:
    _, server = await _server(client, {})
    path = f"/servers/{server['id']}/metadata"
    made = await client("ann").post(path, json={"metadata": {text: "v"}})
    read = await client("ann").get(_of_one(path, text))
    return made.status_code, {"metadata" if text in _DOTS else "meta": {text: "v"}}, read.json()


async def _tag(client: Any, text: str) -> tuple[int, Any, Any]:
    _, server = await _server(client, {})
    path = f"/servers/{server['id']}/tags"
    made = await client("ann").put(path, json={"tags": [text]})
    if text in _DOTS:
        return made.status_code, [text], (await client("ann").get(path)).json()["tags"]
    there = await client("ann").get(_of_one(path, text))
    return made.status_code, 204, there.status_code


async def _lock(client: Any, text: str) -> tuple[int, Any, Any]:
    _, server = await _server(client, {})
    path = f"/servers/{server['id']}"
    made = await client("ann").post(f"{path}/action", json={"lock": {"locked_reason": text}})
    return made.status_code, text, (await client("ann").get(path)).json()["server"]["locked_reason"]


async def _keypair(client: Any, text: str) -> tuple[int, Any, Any]:
    key = f"{KEY} {text}"
    await client("ann").delete("/os-keypairs/k")
    made = await client("ann").post("/os-keypairs", json={"keypair": {"name": "k", "public_key": key}})
    listed = (await client("ann").get("/os-keypairs")).json()["keypairs"]
    return made.status_code, key, listed[0]["keypair"]["public_key"] if listed else None


async def _group(client: Any, text: str) -> tuple[int, Any, Any]:
    made = await client("ann").post("/os-server-groups", json={"server_group": {"name": text, "policy": "affinity"}})
    if made.status_code >= 400:
        return made.status_code, text, None
    path = f"/os-server-groups/{made.json()['server_group']['id']}"
    shown = (await client("ann").get(path)).json()["server_group"]["name"]
    await client("ann").delete(path)
    return made.status_code, text, shown


def _flavor(field: str) -> Sent:
    async def sent(client: Any, text: str) -> tuple[int, Any, Any]:
        flavor = {"name": "f", "ram": 1, "vcpus": 1, "disk": 0, field: text}
        made = await client("root").post("/flavors", json={"flavor": flavor})
        if made.status_code >= 400:
            return made.status_code, text, None
        path = f"/flavors/{made.json()['flavor']['id']}"
        shown = (await client("root").get(path)).json()["flavor"][field]
        await client("root").delete(path)
        return made.status_code, text, shown

    return sent


async def _extra_spec(client: Any, text: str) -> tuple[int, Any, Any]:
    path = "/flavors/0/os-extra_specs"
    made = await client("root").post(path, json={"extra_specs": {"own:note": text}})
    return made.status_code, text, (await client("root").get(path)).json()["extra_specs"].get("own:note")


FIELDS: dict[str, Sent] = {
    "server name": _of_create("name", str),
    "server description": _of_create("description", str),
    "server metadata": _of_create("metadata", lambda text: {"k": text}),
    "user data": _of_create(
        "user_data", lambda text: base64.b64encode(text.encode()).decode(), "OS-EXT-SRV-ATTR:user_data"
    ),
    "changed name": _of_update("name"),
    "changed description": _of_update("description"),
    "metadata key": _metadata_key,
    "tag": _tag,
    "reason of a lock": _lock,
    "key": _keypair,
    "server group": _group,
    "flavor name": _flavor("name"),
    "flavor description": _flavor("description"),
    "extra spec": _extra_spec,
}


@pytest.mark.parametrize("field", FIELDS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
@example(text=".")
@example(text="..")
async def test_a_text_comes_back_as_it_was_sent(client: Any, compute_cloud: Cloud, field: str, text: str) -> None:
    limits = dict.fromkeys(("instances", "cores", "ram", "server_groups"), -1)
    await client("root").put(f"/os-quota-sets/{'a' * 32}", json={"quota_set": limits})
    status, sent, read = await FIELDS[field](client, text)
    assert status in {200, 201, 202, 204, 400}, status
    if status != 400:
        assert read == sent


@pytest.mark.parametrize("end", ["\n", "\r\n", "", " ", " ann@home\n", " ann\tbob\u00a0\u3000x\n"])
async def test_a_key_is_shown_as_it_was_sent_and_given_to_guests_without_its_line_end(
    client: Any, compute_cloud: Cloud, end: str
) -> None:
    made = await client("ann").post("/os-keypairs", json={"keypair": {"name": "k", "public_key": KEY + end}})
    assert made.json()["keypair"]["public_key"] == KEY + end
    assert (await client("ann").get("/os-keypairs/k")).json()["keypair"]["public_key"] == KEY + end


@pytest.mark.parametrize("key", [f"{KEY} a\n{KEY} b", f" {KEY}", f"\n{KEY}", f"{KEY}\x00", f"{KEY} a\x07b"])
async def test_what_is_not_one_key_in_one_line_is_refused(client: Any, key: str) -> None:
    made = await client("ann").post("/os-keypairs", json={"keypair": {"name": "k", "public_key": key}})
    assert made.status_code == 400
