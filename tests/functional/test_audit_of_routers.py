"""The audit finds what is amiss of routers, floating IPs and subnet pools, and mends what is safe."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import (
    address_scopes,
    audit_repair,
    audits,
    floating_ips,
    networks,
    ports,
    router_interfaces,
    routers,
    subnetpools,
    subnets,
)
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.ids import random_id
from floe.core.routers import Gateway
from floe.store import audit_routers as rules
from floe.store import quotas
from floe.store.engine import Database
from floe.store.schema import create_all

ROOT = Context(request_id="", user_id="root", project_id="a" * 32, roles=frozenset({"member", "reader", "admin"}))


async def _at_once(_seconds: float) -> None:
    return None


class Site:
    """A project with a way out, whose rows can be changed behind the cloud's back."""

    def __init__(self, cloud: Cloud, path: Path) -> None:
        self.cloud, self._path = cloud, path
        self.ids: dict[str, str] = {}

    async def build(self) -> None:
        cloud, ids = self.cloud, self.ids
        (public,) = await networks.create(cloud, ROOT, [{"name": "public", "external": True, "default": True}])
        await subnets.create(cloud, ROOT, [{"network_id": public.id, "cidr": "203.0.113.0/24", "dhcp": False}])
        (private,) = await networks.create(cloud, ROOT, [{"name": "private"}])
        (below,) = await subnets.create(cloud, ROOT, [{"network_id": private.id, "cidr": "10.1.0.0/24"}])
        made = await routers.create(cloud, ROOT, [{"gateway": Gateway(network_id=public.id)} for _ in range(2)])
        joined = await router_interfaces.add(cloud, ROOT, made[0].id, {"subnet_id": below.id})
        await routers.add_routes(cloud, ROOT, made[0].id, {"routes": [("192.0.2.0/24", "10.1.0.9")]})
        (port,) = await ports.create(cloud, ROOT, [{"network_id": private.id}])
        (one,) = await floating_ips.create(cloud, ROOT, [{"network_id": public.id, "port_id": port.id}])
        (pool,) = await subnetpools.create(cloud, ROOT, [{"prefixes": ["10.8.0.0/16"], "default": True}])
        (pooled,) = await networks.create(cloud, ROOT, [{"name": "pooled"}])
        (of_pool,) = await subnets.create(cloud, ROOT, [{"network_id": pooled.id, "pool_id": pool.id, "length": 26}])
        ids |= {
            "public": public.id, "private": private.id, "subnet": below.id, "router": made[0].id, "other": made[1].id,
            "interface": joined.port_id, "port": port.id, "floating": one.id, "holder": one.own_port_id,
            "pool": pool.id, "pooled": pooled.id, "of_pool": of_pool.id,
        }  # fmt: skip

    def do(self, *statements: str) -> None:
        """Do what nobody should, with no constraint in the way; words in {} are ids."""
        raw = sqlite3.connect(self._path)
        raw.execute("PRAGMA foreign_keys = OFF")
        for text in statements:
            raw.execute(text.format_map({name: f"'{ident}'" for name, ident in self.ids.items()}))
        raw.commit()
        raw.close()

    async def found(self) -> set[str]:
        return {item.rule for item in await audits.run(self.cloud, _at_once)}

    async def left(self) -> set[str]:
        repair = await audit_repair.repair(self.cloud, _at_once)
        assert repair.done
        return {item.rule for item in repair.left}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    db = Database(tmp_path / "x.db")
    db.open()
    await db.write(create_all)
    cloud = Cloud(
        db=db, bus=LocalBus(), blobs=FileBlobs(tmp_path / "blobs"), clock=FixedClock(), new_id=random_id,
        settings=CloudSettings(), token_keys=[Fernet.generate_key()].copy,
    )  # fmt: skip
    made = Site(cloud, tmp_path / "x.db")
    await made.build()
    yield made
    await cloud.bus.close()
    db.close()


async def test_what_is_in_order_is_not_told_of(site: Site) -> None:
    assert await site.found() == set()


GATEWAY = "device_owner = 'network:router_gateway' AND router_id = {router}"
FORWARDED = (
    "INSERT INTO port_forwardings SELECT 'w{0}', project_id, id, {{port}}, fixed_address, 'tcp', {0}, 85, {0}, 85, '',"
    " created_at, updated_at, 0 FROM floating_ips"
)
MENDED = {
    rules.UNROUTED: ["UPDATE ports SET router_id = NULL WHERE id = {interface}"],
    f"{rules.UNROUTED} of a router that is gone": ["UPDATE ports SET router_id = 'gone' WHERE id = {interface}"],
    f"{rules.UNROUTED}, but somebody's": ["UPDATE ports SET router_id = {other} WHERE id = {port}"],
    rules.UNGATED: ["UPDATE routers SET gateway_network_id = NULL WHERE id = {other}"],
    rules.NO_GATEWAY: [
        f"DELETE FROM port_addresses WHERE port_id IN (SELECT id FROM ports WHERE {GATEWAY})",
        f"DELETE FROM ports WHERE {GATEWAY}",
    ],
    rules.INSIDE: ["UPDATE networks SET external = 0, \"default\" = 0 WHERE id = {public}"],
    rules.ASTRAY: ["UPDATE routers SET routes = '[[\"192.0.2.0/24\",\"10.7.0.9\"]]' WHERE id = {router}"],
    rules.NOWHERE: ["DELETE FROM port_addresses WHERE port_id = {interface}"],
    rules.UNHELD: ["DELETE FROM port_addresses WHERE port_id = {holder}"],
    f"{rules.UNHELD} at all": [
        "DELETE FROM port_addresses WHERE port_id = {holder}", "DELETE FROM ports WHERE id = {holder}",
    ],
    rules.UNUSED: ["DELETE FROM floating_ips WHERE id = {floating}"],
    rules.ADRIFT: ["DELETE FROM port_addresses WHERE port_id = {port}"],
    f"{rules.ADRIFT} any more": [
        "DELETE FROM port_addresses WHERE port_id = {port}", "DELETE FROM ports WHERE id = {port}",
    ],
    f"{rules.ADRIFT} by half": ["UPDATE floating_ips SET port_id = NULL WHERE id = {floating}"],
    rules.FORWARDED: [
        "UPDATE floating_ips SET port_id = NULL, fixed_address = NULL",
        "INSERT INTO port_forwardings SELECT 'w', project_id, id, {port}, '10.1.0.77', 'tcp', 80, 80, 80, 80, '',"
        " created_at, updated_at, 0 FROM floating_ips",
    ],
    rules.NO_WAY: ["UPDATE floating_ips SET router_id = {other} WHERE id = {floating}"],
    f"{rules.NO_WAY}, to which it forwards": [
        FORWARDED.format("80"),
        "UPDATE floating_ips SET port_id = NULL, fixed_address = NULL, router_id = {other}",
    ],
    f"{rules.NO_WAY} at all": [
        "DELETE FROM port_addresses WHERE port_id = {interface}", "DELETE FROM ports WHERE id = {interface}",
        "UPDATE routers SET routes = '[]'",
    ],
    rules.DEFAULTS: ["UPDATE networks SET \"default\" = 1, external = 1 WHERE id = {pooled}"],
    rules.DEFAULT_INSIDE: ["UPDATE networks SET \"default\" = (id = {pooled})"],
    rules.DEFAULT_POOLS: [
        "INSERT INTO subnetpools SELECT 'another', project_id, name, description, '[\"10.99.0.0/16\"]', default_length,"
        " least_length, most_length, quota, shared, \"default\", NULL, tags, created_at, updated_at, revision"
        " FROM subnetpools",
    ],
    rules.UNPOOLED: ["UPDATE subnetpools SET prefixes = '[\"10.200.0.0/16\"]'"],
}  # fmt: skip


@pytest.mark.parametrize("what", MENDED)
async def test_what_is_amiss_is_found_and_mended(what: str, site: Site) -> None:
    site.do(*MENDED[what])
    found = await site.found()
    assert any(what.startswith(rule) for rule in found), found
    assert await site.left() == set()
    assert await site.found() == set()


LEFT = {
    rules.BOTH_WAYS: [FORWARDED.format("80")],
    rules.FORWARDED_TWICE: [FORWARDED.format("80"), FORWARDED.format("82")],
    rules.SHARED_ADDRESS: [
        "INSERT INTO floating_ips SELECT 'another', project_id, network_id, {port}, address, description, NULL, NULL,"
        " NULL, tags, created_at, updated_at, revision FROM floating_ips",
    ],
    rules.TWICE: [
        "INSERT INTO port_addresses VALUES ((SELECT network_id FROM subnets WHERE id = {subnet}), 167837951, {subnet},"
        " {interface})",
    ],
    rules.CROSSED: [
        "UPDATE subnets SET cidr = '10.1.0.0/16', pool_id = NULL WHERE id = {of_pool}",
        "INSERT INTO port_addresses VALUES ({pooled}, 167837951, {of_pool}, {interface})",
    ],
    rules.STRAY_ADDRESS: [
        "INSERT INTO port_addresses VALUES ({pooled}, 167837951, {subnet}, {port})",
    ],
    rules.POOL_OVERLAP: [
        "UPDATE subnets SET pool_id = {pool}, cidr = '10.8.0.0/27' WHERE id = {subnet}",
    ],
    rules.POOLS_MIXED: ["UPDATE subnets SET network_id = {pooled} WHERE id = {subnet}"],
}  # fmt: skip


@pytest.mark.parametrize("what", LEFT)
async def test_what_guests_may_use_is_told_of_and_left(what: str, site: Site) -> None:
    site.do(*LEFT[what])
    assert what in await site.found()
    assert what in {item.rule for item in (await audit_repair.repair(site.cloud, _at_once)).left}


async def test_pools_of_a_scope_that_overlap_are_told_of(site: Site) -> None:
    (scope,) = await address_scopes.create(site.cloud, ROOT, [{"name": "s", "ip_version": 4}])
    await subnetpools.create(site.cloud, ROOT, [{"prefixes": ["10.50.0.0/16"], "scope_id": scope.id}])
    await subnetpools.create(site.cloud, ROOT, [{"prefixes": ["10.51.0.0/16"], "scope_id": scope.id}])
    site.do("UPDATE subnetpools SET prefixes = '[\"10.50.0.0/15\"]', shared = 1 WHERE scope_id IS NOT NULL")
    assert {rules.SCOPE_OVERLAP, rules.SCOPE_CLOSED} <= await site.found()


async def test_a_floating_ip_gets_the_address_that_it_had_and_leads_where_it_led(site: Site) -> None:
    before = await floating_ips.show(site.cloud, ROOT, site.ids["floating"])
    site.do(
        "DELETE FROM port_addresses WHERE port_id = {holder}", "DELETE FROM ports WHERE id = {holder}",
        "UPDATE floating_ips SET router_id = {other} WHERE id = {floating}",
    )  # fmt: skip
    assert await site.left() == set()
    after = await floating_ips.show(site.cloud, ROOT, site.ids["floating"])
    assert (after.address, after.router_id, after.port_id) == (before.address, before.router_id, before.port_id)


async def test_an_address_that_another_has_by_now_is_not_taken_from_it(site: Site) -> None:
    one = await floating_ips.show(site.cloud, ROOT, site.ids["floating"])
    site.do("DELETE FROM port_addresses WHERE port_id = {holder}")
    (other,) = await ports.create(
        site.cloud, ROOT, [{"network_id": site.ids["public"], "fixed_ips": [(None, one.address)]}]
    )
    assert rules.UNHELD in {item.rule for item in (await audit_repair.repair(site.cloud, _at_once)).left}
    assert (await ports.show(site.cloud, ROOT, other.id)).fixed_ips[0][1] == one.address


async def test_each_rule_is_shown_to_be_found() -> None:
    every = {value for name, value in vars(rules).items() if name.isupper() and isinstance(value, str) and " " in value}
    told = (Path(__file__).parents[2] / "docs/howto/read-the-audit.md").read_text()
    assert [rule for rule in every if rule not in told] == []
    shown = {rule for rule in every for what in (*MENDED, *LEFT) if what.startswith(rule)}
    assert every - shown == {rules.SCOPE_OVERLAP, rules.SCOPE_CLOSED}, "which have a test of their own"


async def test_ports_for_dhcp_are_not_held_against_a_quota_whenever_they_came(site: Site) -> None:
    """They are not refused, and what is written last may have been begun first."""
    name = "the quota of port is exceeded in project"
    for limit, told in ((2, False), (1, True)):  # an interface and a port were asked for
        await site.cloud.db.write(lambda conn, most=limit: quotas.put(conn, "a" * 32, {"port": most}))
        site.do("UPDATE ports SET created_at = created_at - 1 WHERE device_owner = 'network:dhcp'")
        site.do("UPDATE quotas SET set_at = NULL")
        assert (name in await site.found()) == told
