"""Aggregates through the API: what they hold, what is refused, and the zones that follow from them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud.cloud import Cloud
from floe.core.aggregates import MAX_AGGREGATES, MAX_ITEMS
from floe.core.hosts import Host
from floe.core.servers import ACTIVE, BUILDING, Server, ServerFlavor
from floe.store import aggregates, allocations, hosts, quota_usages, servers
from floe.store.engine import Connection

A = "/os-aggregates"


@pytest.fixture
async def root(client: Any, compute_cloud: Cloud) -> Any:
    """Give an administrator's client of a cloud with three hosts, of which h3 names the zone east itself."""
    now = compute_cloud.clock.now()
    for name, zone in (("h1", "nova"), ("h2", "nova"), ("h3", "east")):
        host = Host(
            name=name, availability_zone=zone, created_at=now, updated_at=now, started_at=now, last_seen=now
        )  # fmt: skip
        await compute_cloud.db.write(lambda conn, host=host: hosts.put(conn, host))
    return client("root")


async def make(root: Any, name: str, zone: str | None = None, *there: str) -> int:
    asked = {"name": name, **({} if zone is None else {"availability_zone": zone})}
    reply = await root.post(A, json={"aggregate": asked})
    assert reply.status_code == 200, reply.text
    ident: int = reply.json()["aggregate"]["id"]
    for host in there:
        assert (await act(root, ident, "add_host", host=host)).status_code == 200
    return ident


async def act(root: Any, ident: Any, action: str, **given: Any) -> Any:
    return await root.post(f"{A}/{ident}/action", json={action: given})


async def put(root: Any, ident: int, **given: Any) -> Any:
    return await root.put(f"{A}/{ident}", json={"aggregate": given})


def said(reply: Any, status: int) -> str:
    assert reply.status_code == status, reply.text
    (fault,) = reply.json().values()
    message: str = fault["message"]
    return message


async def occupy(cloud: Cloud, host: str, ident: str = "s", *, there: bool = True) -> None:
    """Have a server on a host, or on its way there."""
    flavor = ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=64, root_gib=1)
    server = Server(
        id=ident, number=0, project_id="a" * 32, user_id="ann", name=ident, hostname=ident, vm_state=ACTIVE, host=host,
        reservation_id="r", flavor=flavor, created_at=cloud.clock.now(),
    )  # fmt: skip
    claim = {
        "server_id": ident, "host": host, "project_id": "a" * 32, "user_id": "ann", "vcpus": 1, "memory_mib": 64,
        "disk_gib": 1, "created_at": cloud.clock.now(),
    }  # fmt: skip

    def add(conn: Connection) -> None:
        servers.add(conn, server if there else replace(server, host=None, vm_state=BUILDING))
        conn.execute(allocations.allocations.insert().values(**claim))

    await cloud.db.write(add)


async def zones(root: Any) -> dict[str, list[str]]:
    found = (await root.get("/os-availability-zone/detail")).json()["availabilityZoneInfo"]
    return {zone["zoneName"]: sorted(zone["hosts"]) for zone in found if zone["zoneName"] != "internal"}


async def test_an_aggregate_is_made_shown_changed_and_deleted(root: Any, client: Any) -> None:
    made = (await root.post(A, json={"aggregate": {"name": "fast", "availability_zone": None}})).json()["aggregate"]
    assert sorted(made) == [
        *("availability_zone", "created_at", "deleted", "deleted_at", "id", "name", "updated_at", "uuid")
    ]
    one = f"{A}/{made['id']}"
    shown = (await root.get(one)).json()["aggregate"]
    assert shown == {**made, "hosts": [], "metadata": {}}
    assert (shown["updated_at"], shown["deleted"], shown["deleted_at"]) == (None, False, None)
    assert "uuid" in shown and "uuid" not in (await client("root", "2.40").get(one)).json()["aggregate"]
    changed = (await put(root, made["id"], name=" faster ", availability_zone="west")).json()["aggregate"]
    assert (changed["name"], changed["availability_zone"]) == ("faster", "west")
    assert changed["metadata"] == {"availability_zone": "west"}
    assert changed["updated_at"] is not None
    assert (await root.get(A)).json() == {"aggregates": [changed]}
    gone = await root.delete(one)
    assert (gone.status_code, gone.content) == (200, b"")
    assert said(await root.get(one), 404) == f"Aggregate {made['id']} could not be found."
    assert await make(root, "next") > made["id"], "the number of one that is gone is not given to another"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 256},
        {"name": " x"},
        {"name": "a\x00b"},
        {"name": 1},
        {"name": "a", "availability_zone": ""},
        {"name": "a", "availability_zone": "a:b"},
        {"name": "a", "availability_zone": "x" * 256},
        {"name": "a", "availability_zone": " x"},
        {"name": "a", "more": 1},
    ],
)
async def test_an_aggregate_that_makes_no_sense_is_refused(root: Any, body: dict[str, Any]) -> None:
    assert (await root.post(A, json={"aggregate": body})).status_code == 400
    ident = await make(root, "whole")
    if body not in ({"name": " x"},):  # of a new name the spaces are taken off, as Nova does
        assert (await put(root, ident, **body)).status_code == 400
    assert [each["name"] for each in (await root.get(A)).json()["aggregates"]] == ["whole"]


async def test_names_are_unique(root: Any) -> None:
    first, second = await make(root, "a"), await make(root, "b")
    assert said(await root.post(A, json={"aggregate": {"name": "a"}}), 409) == "Aggregate a already exists."
    assert said(await put(root, second, name="a"), 409) == "Aggregate a already exists."
    assert (await put(root, first, name="a")).status_code == 200


async def test_an_id_is_a_whole_number(root: Any) -> None:
    for ident, status in (("x", 400), ("1.5", 400), ("²", 400), ("9" * 30, 400), ("-1", 404), ("7", 404)):
        for reply in (
            await root.get(f"{A}/{ident}"),
            await root.put(f"{A}/{ident}", json={"aggregate": {"name": "n"}}),
            await root.delete(f"{A}/{ident}"),
            await act(root, ident, "add_host", host="h1"),
            await act(root, ident, "set_metadata", metadata={}),
        ):
            assert reply.status_code == status, (ident, reply.text)


async def test_hosts_come_and_go(root: Any, compute_cloud: Cloud) -> None:
    ident = await make(root, "a", None, "h2", "h1")
    shown = (await root.get(f"{A}/{ident}")).json()["aggregate"]
    assert shown["hosts"] == ["h1", "h2"]
    assert said(await act(root, ident, "add_host", host="h1"), 409) == f"Aggregate {ident} already has host h1."
    assert said(await act(root, ident, "add_host", host="no"), 404) == "Compute host no could not be found."
    assert said(await act(root, ident, "remove_host", host="h3"), 404).startswith("Cannot remove host h3 in aggregate")
    assert said(await root.delete(f"{A}/{ident}"), 400) == (
        f"Cannot remove host from aggregate {ident}. Reason: Host aggregate is not empty."
    )
    assert (await act(root, ident, "remove_host", host="h1")).json()["aggregate"]["hosts"] == ["h2"]
    await compute_cloud.db.write(lambda conn: hosts.remove(conn, "h2"))
    assert (await root.get(f"{A}/{ident}")).json()["aggregate"]["hosts"] == []
    assert (await root.delete(f"{A}/{ident}")).status_code == 200


async def test_metadata_is_set_item_by_item_and_null_removes(root: Any) -> None:
    ident = await make(root, "a", "west")
    await act(root, ident, "set_metadata", metadata={"ssd": "true", "gpu": "no"})
    changed = (await act(root, ident, "set_metadata", metadata={"gpu": None, "gone": None, "n": ""})).json()
    assert changed["aggregate"]["metadata"] == {"ssd": "true", "n": "", "availability_zone": "west"}
    for bad in ({"a/b": "x"}, {"a": 1}, {"a": "x" * 256}, {"": "x"}):
        assert (await act(root, ident, "set_metadata", metadata=bad)).status_code == 400
    for zone in (None, ""):
        assert said(await act(root, ident, "set_metadata", metadata={"availability_zone": zone}), 400) == (
            f"Cannot update metadata of aggregate {ident}. Reason: Aggregate a does not support empty named "
            "availability zone."
        )
    assert (await act(root, ident, "set_metadata", metadata={"availability_zone": "a:b"})).status_code == 400
    assert (await act(root, ident, "set_metadata", metadata={"availability_zone": "east"})).status_code == 200
    assert (await root.get(f"{A}/{ident}")).json()["aggregate"]["availability_zone"] == "east"


async def test_aggregates_and_their_items_are_bounded(root: Any, compute_cloud: Cloud) -> None:
    ident = await make(root, "a")
    many = {f"k{number}": "v" for number in range(MAX_ITEMS)}
    assert (await act(root, ident, "set_metadata", metadata=many)).status_code == 200
    refused = said(await act(root, ident, "set_metadata", metadata={"one": "more"}), 403)
    assert str(MAX_ITEMS) in refused
    assert (await act(root, ident, "set_metadata", metadata={"one": "more", "k0": None})).status_code == 200
    row = {"items": {}, "created_at": compute_cloud.clock.now()}
    rows = [{**row, "name": f"n{number}", "uuid": f"u{number}"} for number in range(MAX_AGGREGATES - 1)]
    await compute_cloud.db.write(lambda conn: conn.execute(aggregates.aggregates.insert(), rows) and None)
    assert str(MAX_AGGREGATES) in said(await root.post(A, json={"aggregate": {"name": "one more"}}), 403)
    assert len((await root.get(A)).json()["aggregates"]) == MAX_AGGREGATES


async def test_zones_follow_the_aggregates_of_hosts(root: Any, client: Any) -> None:
    assert await zones(root) == {"nova": ["h1", "h2"], "east": ["h3"]}
    west = await make(root, "a", "west", "h1", "h3")
    await make(root, "no zone", None, "h1", "h2")
    assert await zones(root) == {"nova": ["h2"], "west": ["h1", "h3"]}
    services = (await root.get("/os-services?binary=nova-compute")).json()["services"]
    assert {each["host"]: each["zone"] for each in services} == {"h1": "west", "h2": "nova", "h3": "west"}
    named = (await client("ann").get("/os-availability-zone")).json()["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in named] == ["nova", "west"]
    assert (await put(root, west, availability_zone="south")).status_code == 200
    assert await zones(root) == {"nova": ["h2"], "south": ["h1", "h3"]}
    await act(root, west, "remove_host", host="h3")
    assert await zones(root) == {"east": ["h3"], "nova": ["h2"], "south": ["h1"]}


async def test_a_host_is_in_one_zone(root: Any) -> None:
    west = await make(root, "a", "west", "h1")
    east = await make(root, "b", "east", "h2")
    plain = await make(root, "c", None, "h1", "h2")
    assert said(await act(root, east, "add_host", host="h1"), 409) == (
        f"Cannot add host to aggregate {east}. Reason: One or more hosts already in availability zone(s) ['west']."
    )
    assert said(await put(root, plain, availability_zone="west"), 400) == (
        f"Cannot update aggregate {plain}. Reason: One or more hosts already in availability zone(s) ['east']."
    )
    assert said(await act(root, plain, "set_metadata", metadata={"availability_zone": "x"}), 400) == (
        f"Cannot update metadata of aggregate {plain}. Reason: One or more hosts already in availability zone(s) "
        "['east', 'west']."
    )
    same = await make(root, "d", "west", "h1")
    assert (await act(root, west, "remove_host", host="h1")).status_code == 200
    assert (await zones(root))["west"] == ["h1"], f"aggregate {same} still says so"


async def test_no_host_changes_its_zone_that_a_server_is_coming_to(root: Any, compute_cloud: Cloud) -> None:
    await occupy(compute_cloud, "h1", there=False)
    west, plain = await make(root, "a", "west"), await make(root, "b", None, "h1")
    assert "already has 1 instance(s)" in said(await act(root, west, "add_host", host="h1"), 409)
    assert "contain instances in this zone" in said(await put(root, plain, availability_zone="west"), 400)


async def test_no_server_changes_its_zone(root: Any, client: Any, compute_cloud: Cloud) -> None:
    await occupy(compute_cloud, "h1")
    west = await make(root, "a", "west")
    assert said(await act(root, west, "add_host", host="h1"), 409).startswith(
        f"Cannot add host to aggregate {west}. Reason: The host cannot be added to the aggregate as the availability "
        "zone of the host would change from 'nova' to 'west' but the host already has 1 instance(s)."
    )
    plain = await make(root, "b", None, "h1")
    for reply in (
        await put(root, plain, availability_zone="west"),
        await act(root, plain, "set_metadata", metadata={"availability_zone": "west"}),
    ):
        assert "Reason: One or more hosts contain instances in this zone." in said(reply, 400)
    assert (await put(root, plain, availability_zone="nova")).status_code == 200, "that is where it is anyway"
    assert (await act(root, plain, "remove_host", host="h1")).status_code == 200
    await act(root, west, "add_host", host="h2")
    await occupy(compute_cloud, "h2", "t")
    assert "would change from 'west' to 'nova'" in said(await act(root, west, "remove_host", host="h2"), 409)
    shown = (await client("ann").get("/servers/t")).json()["server"]
    assert shown["OS-EXT-AZ:availability_zone"] == "west"
    listed = (await root.get("/servers?all_tenants=1&availability_zone=west")).json()["servers"]
    assert [each["id"] for each in listed] == ["t"]


async def test_a_create_may_name_the_zones_that_there_are(root: Any, client: Any) -> None:
    await make(root, "a", "west", "h1")
    body = {"name": "n", "flavorRef": "1", "imageRef": "11111111-1111-4111-8111-111111111111", "networks": "none"}
    for zone, status in (("west", 202), ("nova", 202), ("north", 400), ("west:h1", 403)):
        reply = await client("ann").post("/servers", json={"server": {**body, "availability_zone": zone}})
        assert reply.status_code == status, (zone, reply.text)
    pinned = (await client("ann").get("/servers/detail")).json()["servers"]
    assert sorted(each["pinned_availability_zone"] for each in pinned) == ["nova", "west"]
    wrong = await root.post("/servers", json={"server": {**body, "availability_zone": "nova:h1"}})
    assert "in availability zone 'west'" in said(wrong, 400)


async def test_images_are_not_cached_ahead(root: Any, client: Any) -> None:
    ident, image = await make(root, "a"), {"id": "11111111-1111-4111-8111-111111111111"}
    path = f"{A}/{ident}/images"
    assert "Images cannot be cached ahead" in said(await root.post(path, json={"cache": [image]}), 400)
    assert "Duplicate" in said(await root.post(path, json={"cache": [image, image]}), 400)
    assert (await root.post(path, json={"cache": []})).status_code == 400
    assert (await root.post(f"{A}/99/images", json={"cache": [image]})).status_code == 404
    assert (await client("root", "2.80").post(path, json={"cache": [image]})).status_code == 404
    assert (await client("ann").post(path, json={"cache": [image]})).status_code == 403


async def test_rows_of_hosts_say_what_their_aggregates_say(root: Any, compute_cloud: Cloud) -> None:
    first = await make(root, "a", "west", "h1", "h2")
    second = await make(root, "b", None, "h1")
    await act(root, first, "remove_host", host="h2")
    assert compute_cloud.db.read_now(aggregates.untold) == []
    host = compute_cloud.db.read_now(lambda conn: hosts.get(conn, "h1"))
    assert host is not None and (host.aggregates, host.zone) == ((first, second), "west")

    def lie(conn: Any) -> None:
        conn.execute(hosts.hosts.update().where(hosts.hosts.c.name == "h1").values(aggregate_zone=None))

    await compute_cloud.db.write(lie)
    assert compute_cloud.db.read_now(aggregates.untold) == ["h1"]


async def test_aggregates_are_counted_as_they_come_and_go(root: Any, compute_cloud: Cloud) -> None:
    async def counted() -> int:
        found = await compute_cloud.db.read(lambda conn: quota_usages.of(conn, quota_usages.EVERYBODY))
        return found["aggregate"]

    there = len((await root.get(A)).json()["aggregates"])
    assert await counted() == there
    ident = await make(root, "a")
    await make(root, "b")
    assert await counted() == there + 2
    assert (await root.delete(f"{A}/{ident}")).status_code == 200
    assert await counted() == there + 1
    await compute_cloud.db.write(lambda conn: conn.execute(quota_usages.quota_usages.delete()) and None)
    mended = await compute_cloud.db.write(quota_usages.count_anew)
    assert [drift.there for drift in mended if drift.resource == "aggregate"] == [there + 1]
    assert await counted() == there + 1
