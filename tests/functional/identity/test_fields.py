"""No field of any noun is taken and dropped: what a create or an update says of it is what is read afterwards.

A new field fails here until it has a sample.
"""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.identity.surface import SURFACE
from floe.api.kit.resource import VARIES, Resource, Use, Wire

NOUNS: dict[str, Resource[Any]] = {
    found.name: found
    for route in SURFACE.routes
    for found in getattr(route.handler, "args", ())
    if isinstance(found, Resource)
}
NAMED = {"name": "other", "description": "of the shop"}
SAMPLES: dict[str, dict[str, Any]] = {
    "domain": {**NAMED, "enabled": False, "tags": ["a", "b"]},
    "project": {**NAMED, "enabled": False, "tags": ["a", "b"], "domain_id": "{domain}", "parent_id": "{domain}"},
    "user": {
        **NAMED, "enabled": False, "domain_id": "{domain}", "email": "a@b.c", "default_project_id": "{project}",
    },
    "group": {**NAMED, "domain_id": "{domain}"},
    "role": NAMED,
    "region": {"id": "north", "description": "of the shop", "parent_region_id": "other"},
    "service": {**NAMED, "type": "dns", "enabled": False},
    "endpoint": {
        **NAMED, "service_id": "{service}", "interface": "admin", "url": "https://other", "region_id": "other",
        "region": "other", "enabled": False,
    },
    "application_credential": {
        **NAMED, "expires_at": "2099-01-01T00:00:00.000000", "unrestricted": True,
    },
}  # fmt: skip
ELSEWHERE = {
    ("domain", "explicit_domain_id"),
    ("user", "password"),
    *(("application_credential", name) for name in ("secret", "roles", "project_id")),
}
"""Not shown as they are sent: tried by what comes of them, here and where application credentials are."""
ALIKE = {("endpoint", "region"): "region_id", ("endpoint", "region_id"): "region"}
"""Two names of one thing."""
STAYS = {("project", "parent_id"), ("project", "domain_id"), ("user", "domain_id"), ("group", "domain_id")}
"""What an update may repeat and not change."""


def written(use: Use) -> list[Any]:
    return [
        pytest.param(noun, wire, id=f"{noun.name}-{wire.name}")
        for noun in NOUNS.values()
        for wire in noun.fields.wires
        if use in wire.use and wire.constant is VARIES
        and (noun.name, wire.name) not in (ELSEWHERE if use is Use.CREATE else ELSEWHERE | STAYS)
    ]  # fmt: skip


@pytest.fixture
async def token(place: Any) -> str:
    """Give an administrator's token."""
    return str(await place.token())


@pytest.fixture
async def idents(place: Any, token: str) -> dict[str, str]:
    """Give the ids that samples name."""
    await place.make(token, "region", id="other")
    made = {noun: (await place.make(token, noun, name="other one"))["id"] for noun in ("domain", "project")}
    services = [(await place.make(token, "service", type=kind))["id"] for kind in ("first", "other")]
    return {**made, "bare": services[0], "service": services[1]}


def needed(noun: Resource[Any], name: str, idents: dict[str, str]) -> dict[str, Any]:
    """Return the fields of a thing of that name, where it has one."""
    if noun.name == "endpoint":
        return {"service_id": idents["bare"], "interface": "public", "url": "https://first"}
    return {} if noun.name == "region" else {"name": name, **({"type": "load"} if noun.name == "service" else {})}


def filled(value: Any, idents: dict[str, str]) -> Any:
    return value.format(**idents) if isinstance(value, str) else value


def where(place: Any, noun: Resource[Any]) -> str:
    (path,) = {route.path for route in noun.routes if route.method == "POST"}
    return path.removeprefix("/v3").format(user_id=place.made.admin_user_id)


async def make(place: Any, token: str, noun: Resource[Any], **fields: Any) -> dict[str, Any]:
    reply = await place.call(token, "POST", where(place, noun), {noun.name: fields})
    assert reply.status_code == 201, reply.text
    return dict(reply.json()[noun.name])


async def shown(place: Any, token: str, noun: Resource[Any], ident: str) -> dict[str, Any]:
    return dict((await place.call(token, "GET", f"{where(place, noun)}/{ident}")).json()[noun.name])


def test_every_noun_has_samples() -> None:
    assert NOUNS.keys() == SAMPLES.keys()


@pytest.mark.parametrize(("noun", "wire"), written(Use.CREATE))
async def test_a_field_of_a_create_reaches_the_row(
    place: Any, token: str, idents: dict[str, str], noun: Resource[Any], wire: Wire[Any]
) -> None:
    sample = filled(SAMPLES[noun.name][wire.name], idents)
    new = await make(place, token, noun, **{**needed(noun, "first", idents), wire.name: sample})
    without = await make(place, token, noun, **needed(noun, "without", idents))
    assert without.get(wire.name) != sample
    assert new[wire.name] == sample
    assert (await shown(place, token, noun, new["id"]))[wire.name] == sample


@pytest.mark.parametrize(("noun", "wire"), written(Use.UPDATE))
async def test_a_field_of_an_update_reaches_the_row(
    place: Any, token: str, idents: dict[str, str], noun: Resource[Any], wire: Wire[Any]
) -> None:
    sample = filled(SAMPLES[noun.name][wire.name], idents)
    before = await make(place, token, noun, **needed(noun, "first", idents))
    assert before.get(wire.name) != sample
    path = f"/{noun.plural}/{before['id']}"
    reply = await place.call(token, "PATCH", path, {noun.name: {wire.name: sample}})
    assert reply.status_code == 200, reply.text
    after = {**before, wire.name: sample, ALIKE.get((noun.name, wire.name), wire.name): sample}
    assert reply.json()[noun.name] == after
    assert await shown(place, token, noun, before["id"]) == after


async def test_a_domain_has_the_id_that_was_asked_for(place: Any, token: str) -> None:
    assert (await place.make(token, "domain", name="first", explicit_domain_id="0" * 32))["id"] == "0" * 32
