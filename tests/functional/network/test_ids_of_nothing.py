"""What is told of another thing, by its id, that is not there: refused with the reason, never a fault of the cloud."""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.kit.resource import Resource, Use
from floe.api.network.nouns import NOUNS

NOBODY = "99999999-9999-4999-8999-999999999999"
OTHERS = {"project_id", "tenant_id", "device_id", "binding:host_id", "segmentation_id"}
"""Ids of what other services keep, or that are free texts."""
WHOLE: dict[str, dict[str, Any]] = {
    "subnetpool": {"name": "p", "prefixes": ["10.0.0.0/8"]},
    "address_scope": {"name": "s", "ip_version": 4},
    "security_group_rule": {"direction": "ingress"},
    "subnet": {"ip_version": 4, "cidr": "10.0.0.0/24"},
}
"""What a create has to have besides what it may have."""
NAMING = [
    (noun, wire.name)
    for noun in NOUNS
    for wire in noun.fields.wires
    if wire.name.endswith("_id") and wire.name not in OTHERS and Use.WRITE & wire.use
]


def test_the_fields_that_name_others_are_found() -> None:
    assert {("subnetpool", "address_scope_id"), ("floatingip", "port_id"), ("port", "network_id")} <= {
        (noun.name, field) for noun, field in NAMING
    }


@pytest.fixture
async def things(client: Any, make: Any) -> dict[str, str]:
    """Make one thing of each noun that has such fields; return their ids."""
    network, outer = await make("ann", "network", name="n"), await make("root", "network", **{"router:external": True})
    await make("ann", "subnet", network_id=network["id"], cidr="10.0.0.0/24")
    await make("root", "subnet", network_id=outer["id"], cidr="203.0.113.0/24")
    made = {
        "port": await make("ann", "port", network_id=network["id"]),
        "floatingip": await make("ann", "floatingip", floating_network_id=outer["id"]),
        "subnetpool": await make("ann", "subnetpool", **WHOLE["subnetpool"]),
        "router": await make("ann", "router", name="r"),
    }
    return {name: thing["id"] for name, thing in made.items()} | {"outer": outer["id"], "network": network["id"]}


@pytest.mark.parametrize(("noun", "field"), NAMING, ids=lambda each: getattr(each, "name", each))
@pytest.mark.parametrize("caller", ["ann", "root"])
async def test_an_id_of_nothing_is_refused(
    client: Any, things: dict[str, str], noun: Resource[Any], field: str, caller: str
) -> None:
    known = {"network_id": things["network"], "floating_network_id": things["outer"]}
    needed = {wire.name: known[wire.name] for wire in noun.fields.wires if wire.required and wire.name in known}
    body = {**WHOLE.get(noun.name, {}), **needed, field: NOBODY}
    uses = noun.fields.by_name[field].use
    path = f"/v2.0/{noun.plural.replace('_', '-')}"
    replies = []
    if Use.CREATE in uses:
        replies.append(await client(caller).post(path, json={noun.name: body}))
    if Use.UPDATE in uses:
        replies.append(await client(caller).put(f"{path}/{things[noun.name]}", json={noun.name: {field: NOBODY}}))
    assert replies
    for reply in replies:
        assert reply.status_code in {400, 404, 409}, reply.text
