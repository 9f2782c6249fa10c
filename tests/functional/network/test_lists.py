"""Filters, order, pages and fields of lists."""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.kit.resource import Fields, Use
from floe.api.network import agents, availability, surface

LISTS: dict[str, Fields[Any]] = {
    "agents": agents.AGENT,
    "network-ip-availabilities": availability.ADDRESS_USE,
    **{noun.plural.replace("_", "-"): noun.fields for noun in surface.NOUNS},
}
FILTERS = [(n, name) for n, found in LISTS.items() for name, each in found.by_name.items() if Use.FILTER in each.use]
SORTS = [(n, name) for n, found in LISTS.items() for name, each in found.by_name.items() if Use.SORT in each.use]
ODD = [
    "",
    " ",
    "zzz",
    "²",
    "①",
    "-1",
    "9" * 5000,
    "9" * 19,
    "true",
    "4",
    "\x00",
    "%",
    "_",
    "a\nb",
    "None",
    "'",
    "\U0001f600",
]


@pytest.fixture
async def things(make: Any) -> dict[str, dict[str, Any]]:
    """Make two networks that differ in all, and what is on one of them."""
    front = await make("root", "network", name="front", mtu=1400, shared=True)
    back = await make("root", "network", name="", description="of the shop", admin_state_up=False,
                      port_security_enabled=False)  # fmt: skip
    subnet = await make("root", "subnet", network_id=front["id"], cidr="10.1.0.0/24", name="s")
    bare = await make("root", "subnet", network_id=back["id"], cidr="10.2.0.0/24", enable_dhcp=False, gateway_ip=None)
    group = await make("root", "security_group", name="web")
    port = await make("root", "port", network_id=front["id"], name="p", security_groups=[group["id"]],
                      fixed_ips=[{"ip_address": "10.1.0.77"}], mac_address="fa:16:3e:00:00:01")  # fmt: skip
    return {"front": front, "back": back, "subnet": subnet, "bare": bare, "group": group, "port": port}


async def found(client: Any, path: str) -> list[str]:
    reply = await client("root").get(f"/v2.0/{path}")
    assert reply.status_code == 200, reply.text
    (collection,) = (value for key, value in reply.json().items() if not key.endswith("_links"))
    return [each["id"] for each in collection]


FOLLOWED: list[tuple[str, set[str]]] = [
    ("networks?name=front", {"front"}),
    ("networks?name=", {"back"}),
    ("networks?name=front&name=", {"front", "back"}),
    ("networks?name=FRONT", set()),
    ("networks?description=of+the+shop", {"back"}),
    ("networks?admin_state_up=False", {"back"}),
    ("networks?admin_state_up=1", {"front"}),
    ("networks?status=DOWN", {"back"}),
    ("networks?shared=true", {"front"}),
    ("networks?mtu=1400", {"front"}),
    ("networks?mtu=+1400", {"front"}),
    ("networks?port_security_enabled=0", {"back"}),
    ("networks?router:external=false", {"front", "back"}),
    ("networks?router:external=True", set()),
    ("networks?provider:network_type=vxlan", {"front", "back"}),
    ("networks?provider:network_type=vlan", set()),
    ("networks?provider:physical_network=", {"front", "back"}),
    ("networks?provider:physical_network=eth1", set()),
    ("networks?revision_number=1", {"front", "back"}),
    ("networks?tenant_id=nobody", set()),
    ("networks.json?name=front", {"front"}),
    ("subnets?enable_dhcp=no", {"bare"}),
    ("subnets?gateway_ip=10.1.0.1", {"subnet"}),
    ("subnets?gateway_ip=", {"bare"}),
    ("subnets?cidr=10.2.0.0/24", {"bare"}),
    ("subnets?ip_version=4", {"subnet", "bare"}),
    ("subnets?ip_version=6", set()),
    ("subnets?ipv6_ra_mode=slaac", set()),
    ("subnets?shared=True", {"subnet"}),
    ("subnets?subnetpool_id=x", set()),
    ("ports?mac_address=FA-16-3E-00-00-01", {"port"}),
    ("ports?fixed_ips=ip_address%3D10.1.0.77", {"port"}),
    ("ports?fixed_ips=ip_address_substr%3D.77", {"port"}),
    ("ports?fixed_ips=ip_address_substr%3D10.1.0.7&name=p", {"port"}),
    ("ports?fixed_ips=ip_address_substr%3D%25", set()),
    ("ports?fixed_ips=ip_address_substr%3D10_1", set()),
    ("ports?fixed_ips=ip_address_substr%3D10.2.", set()),
    ("ports?device_owner=network:dhcp&name=p", set()),
    ("ports?device_owner=&device_id=", {"port"}),
    ("ports?status=DOWN", {"port"}),
    ("ports?binding:host_id=&name=p", {"port"}),
    ("ports?binding:host_id=h1", set()),
    ("security-groups?name=web", {"group"}),
    ("security-groups?name=web&stateful=true", {"group"}),
    ("security-groups?name=web&stateful=false", set()),
]


async def test_a_filter_is_followed(client: Any, things: dict[str, dict[str, Any]]) -> None:
    for path, names in FOLLOWED:
        assert set(await found(client, path)) == {things[name]["id"] for name in names}, path


async def test_rules_are_filtered_by_what_they_lack_too(client: Any, make: Any, things: dict[str, Any]) -> None:
    ident = things["group"]["id"]
    ssh = await make("root", "security_group_rule", security_group_id=ident, direction="ingress", protocol="tcp",
                     port_range_min="22", port_range_max="22", remote_ip_prefix="192.0.2.0/24")  # fmt: skip
    of = f"security-group-rules?security_group_id={ident}"
    for query in ("protocol=TCP", "port_range_min=22", "remote_ip_prefix=192.0.2.0/24", "direction=ingress"):
        assert await found(client, f"{of}&{query}") == [ssh["id"]], query
    for query in ("protocol=any", "remote_ip_prefix=", "direction=egress"):
        assert len(await found(client, f"{of}&{query}")) == 2, query
    assert len(await found(client, f"{of}&ethertype=ipv6")) == 1


async def test_an_unknown_filter_is_refused(client: Any) -> None:
    for name, fields in LISTS.items():
        tags = () if "tags" in fields.by_name else ("tags=a", "not-tags=a")
        for query in ("colour=red", "name__contains=x", "tag=a", "fixed_ip=x", "x" * 5000, *tags):
            reply = await client("root").get(f"/v2.0/{name}?{query}")
            assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (400, "HTTPBadRequest")
            assert len(reply.content) < 2000


async def test_a_filter_by_what_one_does_not_see_is_refused(client: Any) -> None:
    for path in ("networks?provider:segmentation_id=1", "ports?binding:host_id=h1"):
        assert (await client("ann").get(f"/v2.0/{path}")).status_code == 400


async def test_no_value_of_a_filter_is_too_much(client: Any, things: dict[str, dict[str, Any]]) -> None:
    for name, filtered in (*FILTERS, ("ports", "fixed_ips"), ("ports", "security_groups")):
        for value in ODD:
            reply = await client("root").get(f"/v2.0/{name}", params={filtered: value})
            assert reply.status_code in {200, 400}, (name, filtered, value, reply.text)


async def test_a_list_is_sorted_by_what_it_says(client: Any, things: dict[str, Any]) -> None:
    for name, key in SORTS:
        up = await found(client, f"{name}?sort_key={key}&sort_dir=asc&sort_key=id&sort_dir=asc")
        down = await found(client, f"{name}?sort_key={key}&sort_dir=desc&sort_key=id&sort_dir=desc")
        assert up == down[::-1], (name, key)


async def test_a_sort_key_many_times_is_one(client: Any, things: dict[str, dict[str, Any]]) -> None:
    once = await found(client, "networks?sort_key=name&sort_dir=desc")
    many = "&".join(["sort_key=name&sort_dir=desc", *["sort_key=name&sort_dir=asc", "sort_key=mtu&sort_dir=asc"] * 15])
    assert await found(client, f"networks?{many}") == once
    project = "&".join(["sort_key=tenant_id&sort_dir=asc", "sort_key=project_id&sort_dir=asc"] * 16)
    assert len(await found(client, f"networks?{project}")) == 2


async def test_a_senseless_window_is_refused(client: Any) -> None:
    for query in (
        "sort_dir=asc", "sort_key=name&sort_dir=up", "sort_key=subnets", "sort_key=colour", "sort_key=shared",
        "limit=-1", "limit=x", "limit=1.5", "limit=²", "page_reverse=perhaps", "marker=nothing",
    ):  # fmt: skip
        assert (await client("root").get(f"/v2.0/networks?{query}")).status_code == 400, query


async def test_pages_show_everything_once(client: Any, make: Any) -> None:
    made = {(await make("ann", "network", name=f"n{number % 3}"))["id"] for number in range(7)}
    seen: list[str] = []
    reply = await client("ann").get("/v2.0/networks?limit=2&sort_key=name&sort_dir=asc")
    while reply.json()["networks"]:
        seen += [network["id"] for network in reply.json()["networks"]]
        links = {link["rel"]: link["href"] for link in reply.json().get("networks_links", ())}
        if "next" not in links:
            break
        reply = await client("ann").get(links["next"])
    assert sorted(seen) == sorted(made)
    assert set(await found(client, "networks?limit=0")) == made
    assert set(await found(client, f"networks?limit={10**18}")) == made


async def test_pages_show_everything_once_whatever_sorts_them(client: Any, make: Any, things: dict[str, Any]) -> None:
    """Also where some have nothing to be sorted by."""
    for number in (1, 22, 22, 65535):
        group = await make("root", "security_group", name="w")
        await make("root", "security_group_rule", security_group_id=group["id"], direction="ingress",
                   protocol="tcp", port_range_min=number, port_range_max=number)  # fmt: skip
    await make("root", "address_group")
    public = await make("root", "network", **{"router:external": True})
    await make("root", "subnet", network_id=public["id"], cidr="203.0.113.0/24")
    for _ in range(2):
        await make("root", "router")
        await make("root", "subnetpool", prefixes=["10.0.0.0/8"])
        await make("root", "address_scope", ip_version=4)
        await make("root", "floatingip", floating_network_id=public["id"])
    for collection, key in SORTS:
        if collection in ("agents", "network-ip-availabilities"):
            continue
        there = await found(client, collection)
        for direction in ("asc", "desc"):
            query = f"{collection}?sort_key={key}&sort_dir={direction}&limit=1"
            whole = await found(client, query.replace("&limit=1", ""))
            assert sorted(whole) == sorted(there), query
            for way, order in (("", whole), ("&page_reverse=true", whole[::-1])):
                follows = zip(order, [*order[1:], None], strict=True)
                for ident, after in follows:
                    assert await found(client, f"{query}{way}&marker={ident}") == ([after] if after else []), query


async def test_fields_cut_lists_and_things(client: Any, things: dict[str, dict[str, Any]]) -> None:
    reply = await client("root").get("/v2.0/networks?name=front&fields=name&fields=mtu&fields=colour&fields=")
    assert reply.json() == {"networks": [{"name": "front", "mtu": 1400}]}
    reply = await client("root").get(f"/v2.0/ports/{things['port']['id']}.json?fields=name")
    assert reply.json() == {"port": {"name": "p"}}
