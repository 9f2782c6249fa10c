"""Tags, on every noun that has them: each call, the lists that look for them, and who may."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from floe.api.network.surface import NOUNS

TAGGED = [noun.name for noun in NOUNS if noun.retag is not None]
ODD = ["ä", "a b", 'say "hi"', "back\\slash", "RED", "red,", "\n", "\u2028", "100%", "_", "red\nblue", '"', "x" * 255]


@pytest.fixture
async def paths(make: Any) -> dict[str, str]:
    """Give the paths of one thing of each noun."""
    network = await make("ann", "network")
    group = await make("ann", "security_group", name="web")
    public = await make("root", "network", **{"router:external": True})
    await make("root", "subnet", network_id=public["id"], cidr="203.0.113.0/24")
    fields: dict[str, dict[str, Any]] = {
        "subnet": {"network_id": network["id"], "cidr": "10.1.0.0/24"},
        "port": {"network_id": network["id"], "fixed_ips": []},
        "security_group_rule": {"security_group_id": group["id"], "direction": "ingress"},
        "floatingip": {"floating_network_id": public["id"]},
        "subnetpool": {"prefixes": ["10.0.0.0/8"]},
        "address_scope": {"ip_version": 4},
    }
    made = {"network": network, "security_group": group}
    for kind in TAGGED:
        if kind not in made:
            made[kind] = await make("ann", kind, **fields.get(kind, {}))
    return {kind: f"/v2.0/{kind.replace('_', '-')}s/{thing['id']}" for kind, thing in made.items()}


def test_every_noun_has_tags() -> None:
    assert {noun.name for noun in NOUNS} == set(TAGGED)


@pytest.mark.parametrize("kind", TAGGED)
async def test_tags_come_and_go(client: Any, paths: dict[str, str], kind: str) -> None:
    ann, path = client("ann"), paths[kind]
    before = (await ann.get(path)).json()[kind]
    assert before["tags"] == []
    assert (await ann.put(f"{path}/tags/red")).status_code == 201
    assert (await ann.put(f"{path}/tags/red")).status_code == 201
    assert (await ann.put(f"{path}/tags/blue")).status_code == 201
    assert (await ann.get(f"{path}/tags")).json() == {"tags": ["blue", "red"]}
    assert (await ann.get(f"{path}/tags/red")).status_code == 204
    assert (await ann.head(f"{path}/tags/red")).status_code == 204
    for missing in (await ann.get(f"{path}/tags/green"), await ann.delete(f"{path}/tags/green")):
        assert missing.status_code == 404
        assert missing.json()["NeutronError"]["type"] == "TagNotFound"
    after = (await ann.get(path)).json()[kind]
    assert after["tags"] == ["blue", "red"]
    assert after["revision_number"] == before["revision_number"] + 2  # the second red changed nothing
    assert (await ann.delete(f"{path}/tags/red")).status_code == 204
    replaced = await ann.put(f"{path}/tags", json={"tags": ["b", "a"]})
    assert (replaced.status_code, replaced.json()) == (200, {"tags": ["a", "b"]})
    added = await ann.post(f"{path}/tags", json={"tags": ["c", "a"]})
    assert (added.status_code, added.json()) == (201, {"tags": ["a", "b", "c"]})
    assert (await ann.post(f"{path}/tags", json={"tags": []})).json() == {"tags": ["a", "b", "c"]}
    assert (await ann.get(f"{path}/tags")).json() == {"tags": ["a", "b", "c"]}
    assert (await ann.delete(f"{path}/tags")).status_code == 204
    assert (await ann.get(f"{path}/tags")).json() == {"tags": []}


@pytest.mark.parametrize("kind", TAGGED)
async def test_a_list_holds_what_has_or_has_not_the_tags(client: Any, paths: dict[str, str], kind: str) -> None:
    ann, path = client("ann"), paths[kind]
    await ann.put(f"{path}/tags", json={"tags": ["red", "blue"]})
    collection, ident = path.rsplit("/", 1)

    async def there(query: str) -> bool:
        reply = await ann.get(f"{collection}?{query}&fields=id")
        assert reply.status_code == 200, reply.text
        return {"id": ident} in reply.json()[f"{kind}s"]

    assert [await there(f"tags={text}") for text in ("red", "red,blue", "red,green", "re", "RED")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert not await there("tags=red&tags=green")
    assert [await there(f"tags-any={text}") for text in ("red,green", "green", "green,yellow")] == [True, False, False]
    assert [await there(f"not-tags={text}") for text in ("red,blue", "red,green", "green")] == [False, True, True]
    assert [await there(f"not-tags-any={text}") for text in ("red,green", "green,yellow")] == [False, True]
    assert await there("tags=red&not-tags=green&tags-any=blue,green&not-tags-any=yellow&limit=1")


async def test_odd_tags_are_found_and_nothing_else(client: Any, make: Any) -> None:
    ann = client("ann")
    made = [(await make("ann", "network"))["id"] for _ in ODD]
    for ident, tag in zip(made, ODD, strict=True):
        reply = await ann.put(f"/v2.0/networks/{ident}/tags", json={"tags": [tag]})
        assert reply.json() == {"tags": [tag]}
        assert (await ann.get(f"/v2.0/networks/{ident}/tags/{quote(tag, safe='')}")).status_code == 204
    for ident, tag in zip(made, ODD, strict=True):
        if "," not in tag:
            reply = await ann.get("/v2.0/networks", params={"tags": tag})
            assert [each["id"] for each in reply.json()["networks"]] == [ident], tag
    assert (await ann.get("/v2.0/networks", params={"tags": "red"})).json() == {"networks": []}


@pytest.mark.parametrize(
    "body", [[], {}, {"tag": []}, {"tags": "red"}, {"tags": [1]}, {"tags": ["a", "a"]}, {"tags": ["x" * 256]}]
)
async def test_what_is_no_list_of_tags_is_refused(client: Any, paths: dict[str, str], body: Any) -> None:
    for method in ("PUT", "POST"):
        reply = await client("ann").request(method, f"{paths['network']}/tags", json=body)
        assert reply.status_code == 400, reply.text


async def test_a_thing_has_so_many_tags_and_a_list_looks_for_so_many(client: Any, paths: dict[str, str]) -> None:
    ann, path = client("ann"), paths["network"]
    fifty = [f"tag-{number:02}" for number in range(50)]
    assert (await ann.put(f"{path}/tags", json={"tags": fifty})).json() == {"tags": fifty}
    for reply in (
        await ann.put(f"{path}/tags/more"),
        await ann.put(f"{path}/tags", json={"tags": [*fifty, "more"]}),
        await ann.post(f"{path}/tags", json={"tags": ["more"]}),
    ):
        assert reply.status_code == 400
        assert "at most 50" in reply.json()["NeutronError"]["message"]
    assert (await ann.put(f"{path}/tags/{'x' * 256}")).status_code == 400
    assert len((await ann.get("/v2.0/networks", params={"tags": ",".join(fifty)})).json()["networks"]) == 1
    assert (await ann.get("/v2.0/networks", params={"tags": ",".join([*fifty, "b"])})).status_code == 400
    halves = [("tags-any", ",".join(fifty[:30])), ("tags-any", ",".join(fifty[20:]))]
    assert (await ann.get("/v2.0/networks", params=halves)).status_code == 400


async def test_tags_that_come_at_once_all_stay(client: Any, paths: dict[str, str]) -> None:
    ann, path = client("ann"), paths["port"]
    await asyncio.gather(*(ann.put(f"{path}/tags/t{number:02}") for number in range(20)))
    assert (await ann.get(f"{path}/tags")).json()["tags"] == [f"t{number:02}" for number in range(20)]


@pytest.mark.parametrize("kind", TAGGED)
async def test_tags_are_changed_by_whoever_may_change_the_thing(client: Any, paths: dict[str, str], kind: str) -> None:
    path = paths[kind]
    await client("ann").put(f"{path}/tags/red")
    for who, status in (("bob", 404), ("eve", 403), ("stranger", 403), ("root", 201), ("", 401)):
        assert (await client(who).put(f"{path}/tags/blue")).status_code == status, who
        assert (await client(who).post(f"{path}/tags", json={"tags": ["green"]})).status_code == status, who
    for who, status in (("bob", 404), ("eve", 200), ("root", 200), ("stranger", 404), ("domain", 404), ("", 401)):
        assert (await client(who).get(f"{path}/tags")).status_code == status, who


async def test_who_is_shown_a_network_does_not_tag_it(client: Any, make: Any) -> None:
    shared = await make("root", "network", shared=True)
    path = f"/v2.0/networks/{shared['id']}/tags"
    assert (await client("bob").get(path)).json() == {"tags": []}
    for reply in (await client("bob").put(f"{path}/red"), await client("bob").delete(path)):
        assert reply.status_code == 403
    port = await make("bob", "port", network_id=shared["id"], fixed_ips=[])
    assert (await client("root").put(f"/v2.0/ports/{port['id']}/tags/red")).status_code == 201


async def test_a_port_is_made_with_its_tags_and_nothing_else_is(client: Any, make: Any) -> None:
    network = await make("ann", "network")
    port = await make("ann", "port", network_id=network["id"], tags=["b", "a"])
    assert port["tags"] == ["a", "b"]
    ann = client("ann")
    assert (await ann.post("/v2.0/networks", json={"network": {"tags": ["a"]}})).status_code == 400
    twice = {"port": {"network_id": network["id"], "tags": ["a", "a"]}}
    assert (await ann.post("/v2.0/ports", json=twice)).status_code == 400
    change = {"port": {"tags": ["c"]}}
    assert (await ann.put(f"/v2.0/ports/{port['id']}", json=change)).status_code == 400
