"""Revision numbers: each change counts one up, and a write may say of which revision it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

NOUNS = ("network", "subnet", "port", "security_group")


@pytest.fixture
async def paths(make: Any) -> dict[str, str]:
    """Give the paths of one thing of each noun."""
    network = await make("ann", "network", name="old")
    subnet = await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24", name="old")
    port = await make("ann", "port", network_id=network["id"], name="old", fixed_ips=[])
    group = await make("ann", "security_group", name="old")
    rule = await make("ann", "security_group_rule", security_group_id=group["id"], direction="ingress")
    made = {"network": network, "subnet": subnet, "port": port, "security_group": group, "security_group_rule": rule}
    return {kind: f"/v2.0/{kind.replace('_', '-')}s/{thing['id']}" for kind, thing in made.items()}


async def revision(ann: Any, paths: dict[str, str], kind: str) -> int:
    found: int = (await ann.get(paths[kind])).json()[kind]["revision_number"]
    return found


@pytest.mark.parametrize("kind", NOUNS)
async def test_a_lost_update_is_refused(client: Any, paths: dict[str, str], kind: str) -> None:
    ann = client("ann")
    seen = await revision(ann, paths, kind)
    mine = {"if-match": f"revision_number={seen}"}
    first = await ann.put(paths[kind], json={kind: {"name": "first"}}, headers=mine)
    assert first.status_code == 200, first.text
    assert first.json()[kind]["revision_number"] == seen + 1
    second = await ann.put(paths[kind], json={kind: {"name": "second"}}, headers=mine)
    assert second.status_code == 412
    fault = second.json()["NeutronError"]
    assert fault["type"] == "RevisionNumberConstraintFailed"
    assert str(seen) in fault["message"]
    assert str(seen + 1) in fault["message"]
    assert (await ann.get(paths[kind])).json()[kind]["name"] == "first"


@pytest.mark.parametrize("kind", [*NOUNS, "security_group_rule"])
async def test_what_changed_is_not_removed(client: Any, paths: dict[str, str], kind: str) -> None:
    ann = client("ann")
    seen = await revision(ann, paths, kind)
    late = await ann.delete(paths[kind], headers={"if-match": f"revision_number={seen - 1}"})
    assert (late.status_code, late.json()["NeutronError"]["type"]) == (412, "RevisionNumberConstraintFailed")
    assert (await ann.get(paths[kind])).status_code == 200
    gone = await ann.delete(paths[kind], headers={"if-match": f'"revision_number={seen}"'})
    assert gone.status_code == (409 if kind == "network" else 204), gone.text


async def test_of_writes_at_one_revision_one_wins(client: Any, paths: dict[str, str]) -> None:
    ann = client("ann")
    mine = {"if-match": f"revision_number={await revision(ann, paths, 'port')}"}
    writes = [ann.put(paths["port"], json={"port": {"name": f"of {n}"}}, headers=mine) for n in range(8)]
    statuses = sorted(reply.status_code for reply in await asyncio.gather(*writes))
    assert statuses == [200] + [412] * 7


@pytest.mark.parametrize(
    "tag",
    [
        "revision_number=", "revision_number=x", "revision_number=²", "revision_number=1.0",
        f"revision_number={'9' * 5000}", '"revision_number=1", "revision_number=2"',
        "revision_number=1, revision_number=2",
    ],
)  # fmt: skip
async def test_a_senseless_revision_is_refused(client: Any, paths: dict[str, str], tag: str) -> None:
    headers = {b"if-match": tag.encode()}
    reply = await client("ann").put(paths["port"], json={"port": {"name": "x"}}, headers=headers)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (400, "BadRequest")
    reply = await client("ann").delete(paths["port"], headers=headers)
    assert reply.status_code == 400


@pytest.mark.parametrize("tag", ["*", '"abc"', 'W/"revision_number=99"', ""])
async def test_other_tags_say_nothing(client: Any, paths: dict[str, str], tag: str) -> None:
    reply = await client("ann").put(paths["port"], json={"port": {"name": "x"}}, headers={"if-match": tag})
    assert reply.status_code == 200


@pytest.mark.parametrize("kind", NOUNS)
async def test_a_change_of_nothing_is_no_revision(client: Any, paths: dict[str, str], kind: str) -> None:
    ann = client("ann")
    before = (await ann.get(paths[kind])).json()
    for body in ({}, {"name": "old"}, {"description": ""}):
        reply = await ann.put(paths[kind], json={kind: body})
        assert (reply.status_code, reply.json()) == (200, before)


async def test_a_part_counts_for_the_whole(client: Any, make: Any, paths: dict[str, str]) -> None:
    """As in Neutron, a network's subnets and a group's rules are parts of it."""
    ann = client("ann")
    network, group = await revision(ann, paths, "network"), await revision(ann, paths, "security_group")
    await ann.put(paths["subnet"], json={"subnet": {"name": "new"}})
    assert await revision(ann, paths, "network") == network + 1
    await ann.delete(paths["subnet"])
    assert await revision(ann, paths, "network") == network + 2
    await ann.delete(paths["security_group_rule"])
    assert await revision(ann, paths, "security_group") == group + 1
