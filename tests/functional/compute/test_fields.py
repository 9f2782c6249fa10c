"""No field of any noun is taken and dropped: what a create or an update says of it is what is read afterwards.

A new field fails here until it has a sample. Each is tried at the newest microversion that knows it.
"""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.compute.quota_sets import QUOTA_CLASS, QUOTA_SET
from floe.api.compute.surface import SURFACE
from floe.api.compute.versions import HIGHEST
from floe.api.kit.resource import VARIES, Resource, Use, Wire

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 ann@home"
NOUNS: dict[str, Resource[Any]] = {
    found.name: found
    for route in SURFACE.routes
    for found in getattr(route.handler, "args", ())
    if isinstance(found, Resource)
}
SAMPLES: dict[str, dict[str, Any]] = {
    "flavor": {
        "name": "front", "id": "7", "ram": 65, "vcpus": 3, "disk": 4, "swap": 5, "OS-FLV-EXT-DATA:ephemeral": 6,
        "rxtx_factor": 1.5, "os-flavor-access:is_public": False, "description": "of the shop",
    },
    "keypair": {"name": "front", "public_key": KEY, "type": "ssh", "user_id": "ann"},
    "server_group": {
        "name": "front", "policy": "anti-affinity", "policies": ["anti-affinity"], "rules": {"max_server_per_host": 3},
    },
    "aggregate": {"name": "front", "availability_zone": "west"},
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "flavor": {"name": "first", "ram": 64, "vcpus": 1, "disk": 1},
    "keypair": {"name": "first", "public_key": KEY},
    "server_group": {"name": "first", "policy": "affinity"},
    "aggregate": {"name": "first"},
}
BESIDE: dict[tuple[str, str], dict[str, Any]] = {("server_group", "rules"): {"policy": "anti-affinity"}}
"""What a field makes no sense without."""
SAME = {("keypair", "type"), ("keypair", "public_key")}
"""Of which there is one kind only, or one sample here."""


def version_of(wire: Wire[Any]) -> str:
    major, minor = min(wire.until, HIGHEST)
    return f"{major}.{minor}"


def written(use: Use) -> list[Any]:
    return [
        pytest.param(noun, wire, id=f"{noun.name}-{wire.name}-{version_of(wire)}")
        for noun in NOUNS.values()
        for wire in noun.fields.wires
        if use in wire.use and wire.constant is VARIES
    ]


def where(noun: Resource[Any]) -> str:
    (path,) = {route.path for route in noun.routes if route.method == "POST" and route.action is None}
    return path.removeprefix("/v2.1")


def needed(noun: Resource[Any], wire: Wire[Any]) -> dict[str, Any]:
    found = {**NEEDED[noun.name], **BESIDE.get((noun.name, wire.name), {})}
    if wire.name == "policies":
        del found["policy"]
    return found


async def shown(root: Any, noun: Resource[Any], thing: dict[str, Any]) -> dict[str, Any]:
    owner = f"?user_id={thing['user_id']}" if noun.name == "keypair" else ""
    ident = thing["name" if noun.name == "keypair" else "id"]
    return dict((await root.get(f"{where(noun)}/{ident}{owner}")).json()[noun.name])


def test_every_noun_has_samples() -> None:
    assert NOUNS.keys() == SAMPLES.keys()


@pytest.mark.parametrize(("noun", "wire"), written(Use.CREATE))
async def test_a_field_of_a_create_reaches_the_row(client: Any, noun: Resource[Any], wire: Wire[Any]) -> None:
    root, sample = client("root", version_of(wire)), SAMPLES[noun.name][wire.name]
    reply = await root.post(where(noun), json={noun.name: {**needed(noun, wire), wire.name: sample}})
    assert reply.status_code in {200, 201}, reply.text
    made = reply.json()[noun.name]
    assert made[wire.name] == sample
    assert (await shown(root, noun, made))[wire.name] == sample
    if not wire.required and (noun.name, wire.name) not in SAME:
        again = {name: "another" if name == "name" else value for name, value in needed(noun, wire).items()}
        without = (await root.post(where(noun), json={noun.name: again})).json()[noun.name]
        assert without[wire.name] != sample


@pytest.mark.parametrize(("noun", "wire"), written(Use.UPDATE))
async def test_a_field_of_an_update_reaches_the_row(client: Any, noun: Resource[Any], wire: Wire[Any]) -> None:
    root, sample = client("root", version_of(wire)), SAMPLES[noun.name][wire.name]
    before = (await root.post(where(noun), json={noun.name: needed(noun, wire)})).json()[noun.name]
    assert before[wire.name] != sample
    reply = await root.put(f"{where(noun)}/{before['id']}", json={noun.name: {wire.name: sample}})
    assert reply.status_code == 200, reply.text
    assert reply.json()[noun.name][wire.name] == sample
    assert (await shown(root, noun, before))[wire.name] == sample


LIMITS = {
    "quota_set": (f"/os-quota-sets/{'a' * 32}", QUOTA_SET),
    "quota_class_set": ("/os-quota-class-sets/default", QUOTA_CLASS),
}


@pytest.mark.parametrize("version", ["2.35", "2.49", "2.56", "2.96"])
@pytest.mark.parametrize("name", list(LIMITS))
async def test_each_limit_reaches_the_row(client: Any, name: str, version: str) -> None:
    path, fields = LIMITS[name]
    root = client("root", version)
    at = tuple(map(int, version.split(".")))
    limits = {
        wire.name: number
        for number, wire in enumerate(fields.wires, start=7)
        if Use.UPDATE in wire.use and wire.constant is VARIES and wire.name != "force"
        and wire.since <= at <= wire.until
    }  # fmt: skip
    assert len(limits) >= 5
    reply = await root.put(path, json={name: limits})
    assert reply.status_code == 200, reply.text
    found = (await client("root", "2.96").get(path)).json()[name] | (await root.get(path)).json()[name]
    assert {each: found[each] for each in limits} == limits
