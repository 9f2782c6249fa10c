"""A guest is told the state of its server: groups by name, as its ports have them now, and its disks' real names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from floe.agent import documents

NETWORK = "/network/v2.0"
Start = Callable[..., Awaitable[Any]]


async def make(user: Any, kind: str, **values: Any) -> dict[str, Any]:
    reply = await user.http.post(f"{NETWORK}/{kind}s".replace("_", "-"), json={kind: values})
    assert reply.status_code == 201, reply.text
    return dict(reply.json()[kind])


def told(user: Any, ident: str, path: str) -> str:
    """Return what the guest of a server reads at a path of its metadata."""
    ledger = user.cloud.node.agents[0]._ledger
    found = documents.lookup(documents.view_of(ledger.guests[ident], ledger.network, b""), path)
    return "" if found is None else found[1].decode()


async def test_groups_are_told_by_name_and_follow_the_ports(start: Start, kit: Any) -> None:
    user = await start()
    web, db = [await make(user, "security_group", name=name) for name in ("web", "db")]
    path = "/latest/meta-data/security-groups"
    by_id = await user.built(security_groups=[{"name": web["id"]}])
    assert told(user, by_id, path) == "web"
    assert (await user.server(by_id))["security_groups"] == [{"name": "web"}]

    networks = (await user.http.get(f"{NETWORK}/networks?name=private")).json()["networks"]
    port = await make(user, "port", network_id=networks[0]["id"], security_groups=[db["id"]])
    premade = await user.built(name="b", networks=[{"port": port["id"]}])
    assert told(user, premade, path) == "db"

    change = {"port": {"security_groups": [db["id"], web["id"]]}}
    assert (await user.http.put(f"{NETWORK}/ports/{port['id']}", json=change)).status_code == 200
    await kit.until(lambda: sorted(told(user, premade, path).split("\n")) == ["db", "web"])

    renamed = {"security_group": {"name": "database"}}
    assert (await user.http.put(f"{NETWORK}/security-groups/{db['id']}", json=renamed)).status_code == 200
    await kit.until(lambda: sorted(told(user, premade, path).split("\n")) == ["database", "web"])
    assert kit.violations(user.cloud) == []


async def test_a_group_that_a_neighbours_rules_refer_to_keeps_its_name(start: Start) -> None:
    user = await start()
    web, db = [await make(user, "security_group", name=name) for name in ("web", "db")]
    rule = {"security_group_id": db["id"], "direction": "ingress", "remote_group_id": web["id"]}
    await make(user, "security_group_rule", **rule)
    first = await user.built(security_groups=[{"name": "web"}])
    await user.built(name="b", security_groups=[{"name": "db"}])
    assert told(user, first, "/latest/meta-data/security-groups") == "web"


async def test_a_server_without_nics_is_in_no_group(start: Start) -> None:
    user = await start()
    ident = await user.built(networks="none")
    assert told(user, ident, "/latest/meta-data/security-groups") == ""
    assert "security_groups" not in await user.server(ident)


async def test_the_root_device_is_the_one_its_bus_gives_it(start: Start, kit: Any) -> None:
    user = await start()
    admin = await kit.user(user.cloud, "admin").login()
    for bus, device in (("scsi", "/dev/sda"), ("ide", "/dev/hda"), ("virtio", "/dev/vda")):
        patch = [{"op": "add", "path": "/hw_disk_bus", "value": bus}]
        kind = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        reply = await user.http.patch(f"/image/v2/images/{user.image}", json=patch, headers=kind)
        assert reply.status_code == 200, reply.text
        ident = await user.built(name=bus)
        assert told(user, ident, "/latest/meta-data/block-device-mapping/root") == device
        assert (await admin.server(ident))["OS-EXT-SRV-ATTR:root_device_name"] == device
    await admin.http.aclose()
