"""No field of any noun is taken and dropped: what a create or an update says of it is what is read afterwards.

A new field fails here until it has a sample.
"""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.identity.catalogue import REGION, SERVICE
from floe.api.identity.domains import DOMAIN
from floe.api.identity.groups import GROUP
from floe.api.identity.projects import PROJECT
from floe.api.identity.roles import ROLE
from floe.api.identity.users import USER
from floe.api.kit.resource import VARIES, Resource, Use, Wire

NOUNS: tuple[Resource[Any], ...] = (DOMAIN, PROJECT, USER, GROUP, ROLE, REGION, SERVICE)
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
}  # fmt: skip
ELSEWHERE = {("domain", "explicit_domain_id"), ("user", "password")}
"""Not shown under their own name: the one is the id, the other is tried by logging in."""
STAYS = {("project", "parent_id"), ("project", "domain_id"), ("user", "domain_id"), ("group", "domain_id")}
"""What an update may repeat and not change."""


def written(use: Use) -> list[Any]:
    return [
        pytest.param(noun, wire, id=f"{noun.name}-{wire.name}")
        for noun in NOUNS
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
    return {noun: (await place.make(token, noun, name="other one"))["id"] for noun in ("domain", "project")}


def needed(noun: Resource[Any], name: str) -> dict[str, Any]:
    """Return the fields of a thing of that name, where it has one."""
    return {} if noun is REGION else {"name": name, **({"type": "load"} if noun is SERVICE else {})}


def filled(value: Any, idents: dict[str, str]) -> Any:
    return value.format(**idents) if isinstance(value, str) else value


async def shown(place: Any, token: str, noun: Resource[Any], ident: str) -> dict[str, Any]:
    return dict((await place.call(token, "GET", f"/{noun.plural}/{ident}")).json()[noun.name])


@pytest.mark.parametrize(("noun", "wire"), written(Use.CREATE))
async def test_a_field_of_a_create_reaches_the_row(
    place: Any, token: str, idents: dict[str, str], noun: Resource[Any], wire: Wire[Any]
) -> None:
    sample = filled(SAMPLES[noun.name][wire.name], idents)
    new = await place.make(token, noun.name, **{**needed(noun, "first"), wire.name: sample})
    without = await place.make(token, noun.name, **needed(noun, "without"))
    assert without[wire.name] != sample
    assert new[wire.name] == sample
    assert (await shown(place, token, noun, new["id"]))[wire.name] == sample


@pytest.mark.parametrize(("noun", "wire"), written(Use.UPDATE))
async def test_a_field_of_an_update_reaches_the_row(
    place: Any, token: str, idents: dict[str, str], noun: Resource[Any], wire: Wire[Any]
) -> None:
    sample = filled(SAMPLES[noun.name][wire.name], idents)
    before = await place.make(token, noun.name, **needed(noun, "first"))
    assert before[wire.name] != sample
    path = f"/{noun.plural}/{before['id']}"
    reply = await place.call(token, "PATCH", path, {noun.name: {wire.name: sample}})
    assert reply.status_code == 200, reply.text
    assert reply.json()[noun.name] == {**before, wire.name: sample}
    assert await shown(place, token, noun, before["id"]) == {**before, wire.name: sample}


async def test_a_domain_has_the_id_that_was_asked_for(place: Any, token: str) -> None:
    assert (await place.make(token, "domain", name="first", explicit_domain_id="0" * 32))["id"] == "0" * 32
