"""Query strings of the compute API: what each call refuses from which microversion on, as Nova's schemas say."""

from __future__ import annotations

from collections import defaultdict

import httpx
import pytest

from floe.api.compute.surface import SURFACE
from floe.core.versions import version_text

PROJECT = "a" * 32
assert SURFACE.microversions is not None
HIGHEST = version_text(SURFACE.microversions.highest)

CLOSED = [
    ("/v2.1/servers", "2.75"),
    ("/v2.1/servers/detail", "2.75"),
    ("/v2.1/flavors", "2.75"),
    ("/v2.1/flavors/detail", "2.75"),
    ("/v2.1/os-keypairs", "2.75"),
    ("/v2.1/os-keypairs/key", "2.75"),
    ("/v2.1/os-server-groups", "2.75"),
    ("/v2.1/limits", "2.75"),
    ("/v2.1/os-services", "2.75"),
    (f"/v2.1/os-quota-sets/{PROJECT}", "2.75"),
    (f"/v2.1/os-quota-sets/{PROJECT}/detail", "2.75"),
    ("/v2.1/os-simple-tenant-usage", "2.75"),
    (f"/v2.1/os-simple-tenant-usage/{PROJECT}", "2.75"),
    ("/v2.1/os-hypervisors", "2.53"),
    ("/v2.1/os-hypervisors/detail", "2.53"),
    ("/v2.1/servers/{web}/os-instance-actions", "2.58"),
    ("/v2.1/servers/{web}/os-volume_attachments", "2.75"),
    ("/v2.1/os-migrations", "2.59"),
]
OPEN = [
    "/v2.1/servers/{web}/tags",
    "/v2.1/servers/{web}/os-volume_attachments/1",
    f"/v2.1/os-quota-sets/{PROJECT}/defaults",
    "/v2.1/",
]
CLOSED_AT_LAST = [
    "/v2.1/servers/{server_id}",
    "/v2.1/servers/{server_id}/diagnostics",
    "/v2.1/servers/{server_id}/ips",
    "/v2.1/servers/{server_id}/ips/{network}",
    "/v2.1/servers/{server_id}/metadata",
    "/v2.1/servers/{server_id}/metadata/{key}",
    "/v2.1/servers/{server_id}/migrations",
    "/v2.1/servers/{server_id}/migrations/{migration_id}",
    "/v2.1/servers/{server_id}/os-instance-actions/{request_id}",
    "/v2.1/servers/{server_id}/os-interface",
    "/v2.1/servers/{server_id}/os-interface/{port_id}",
    "/v2.1/servers/{server_id}/os-security-groups",
    "/v2.1/servers/{server_id}/os-server-password",
    "/v2.1/servers/{server_id}/topology",
    "/v2.1/flavors/{flavor_id}",
    "/v2.1/flavors/{flavor_id}/os-extra_specs",
    "/v2.1/flavors/{flavor_id}/os-extra_specs/{key}",
    "/v2.1/flavors/{flavor_id}/os-flavor-access",
    "/v2.1/os-aggregates",
    "/v2.1/os-aggregates/{aggregate_id}",
    "/v2.1/os-availability-zone",
    "/v2.1/os-availability-zone/detail",
    "/v2.1/os-instance_usage_audit_log",
    "/v2.1/os-instance_usage_audit_log/{before}",
    "/v2.1/os-quota-class-sets/default",
    "/v2.1/os-server-groups/{group_id}",
    "/v2.1/extensions",
    "/v2.1/extensions/{alias}",
]
"""Where unknown parameters are ignored up to 2.101."""


async def _get(wire: httpx.AsyncClient, path: str, version: str, caller: str = "admin") -> int:
    everybodys = {"x-auth-token": "admin"}
    found = (await wire.get("/v2.1/servers?all_tenants=1", headers=everybodys)).json()["servers"]
    named = {server["name"]: server["id"] for server in found}
    headers = {"x-auth-token": caller, "openstack-api-version": f"compute {version}"}
    values = defaultdict(lambda: "0", named, server_id=named["web"], before="2030-01-01 00:00:00")
    return (await wire.get(path.format_map(values), headers=headers)).status_code


def _before(version: str) -> str:
    return f"2.{int(version.removeprefix('2.')) - 1}"


@pytest.mark.parametrize(("path", "since"), CLOSED)
async def test_an_unknown_parameter_is_refused_from_the_closing_version_on(
    wire: httpx.AsyncClient, path: str, since: str
) -> None:
    caller = "user" if path.endswith("/key") else "admin"
    for version in ("2.1", _before(since)):
        assert await _get(wire, path + "?nonsense=1", version, caller) == 200
    for version in (since, HIGHEST):
        assert await _get(wire, path, version, caller) == 200
        assert await _get(wire, path + "?nonsense=1", version, caller) == 400


@pytest.mark.parametrize("path", CLOSED_AT_LAST)
async def test_what_is_closed_last_ignores_unknown_parameters_before(wire: httpx.AsyncClient, path: str) -> None:
    for version in ("2.78", "2.101"):
        assert await _get(wire, path + "?nonsense=1", version) == await _get(wire, path, version)
    assert await _get(wire, path + "?nonsense=1", "2.101") in {200, 404}
    assert await _get(wire, path + "?nonsense=1", "2.102") == 400


@pytest.mark.parametrize("path", OPEN)
async def test_where_nova_ignores_unknown_parameters_they_are_ignored(wire: httpx.AsyncClient, path: str) -> None:
    assert await _get(wire, path + "?nonsense=1", HIGHEST) == await _get(wire, path, HIGHEST)


def test_every_table_that_closes_stands_in_the_list_above() -> None:
    closing = {
        route.path
        for route in SURFACE.routes
        if route.method == "GET" and route.query is not None and route.query.closed is not None
    }
    listed = {path.replace("{web}", "{server_id}").replace(PROJECT, "{project_id}") for path, _ in CLOSED}
    listed = {path.replace("os-keypairs/key", "os-keypairs/{name}") for path in listed}
    listed |= {path.replace("sets/default", "sets/{name}") for path in CLOSED_AT_LAST}
    assert closing - listed == {"/v2.1/os-hypervisors/{hypervisor_id}"}
    assert listed <= closing


@pytest.mark.parametrize("query", ["dryrun=1", "limit=1", "%ff=1"])
async def test_a_create_with_a_parameter_makes_no_server(wire: httpx.AsyncClient, query: str) -> None:
    body = {"server": {"name": "n", "flavorRef": "0", "imageRef": "11111111-1111-4111-8111-111111111111"}}
    before = (await wire.get("/v2.1/servers")).json()["servers"]
    reply = await wire.post(f"/v2.1/servers?{query}", json=body)
    assert reply.status_code == 400
    assert (await wire.get("/v2.1/servers")).json()["servers"] == before


@pytest.mark.parametrize(
    ("path", "version", "status"),
    [
        # once only, where the schema says so
        ("/v2.1/os-hypervisors?limit=1&limit=2", "2.52", 200),
        ("/v2.1/os-hypervisors?limit=1&limit=2", "2.53", 400),
        ("/v2.1/os-hypervisors?with_servers=true&with_servers=true", "2.53", 400),
        ("/v2.1/servers/{web}/os-instance-actions?limit=1&limit=1", "2.57", 200),
        ("/v2.1/servers/{web}/os-instance-actions?limit=1&limit=1", "2.58", 400),
        ("/v2.1/servers?limit=1&limit=1", HIGHEST, 200),
        ("/v2.1/flavors?limit=1&limit=1", HIGHEST, 200),
        ("/v2.1/os-keypairs?limit=1&limit=1", HIGHEST, 200),
        # what it has to be
        ("/v2.1/os-hypervisors?with_servers=maybe", "2.52", 200),
        ("/v2.1/os-hypervisors?with_servers=maybe", "2.53", 400),
        ("/v2.1/os-hypervisors?with_servers=", "2.53", 400),
        ("/v2.1/os-hypervisors?with_servers=On", "2.53", 200),
        ("/v2.1/os-hypervisors?hypervisor_hostname_pattern=a%25", "2.53", 400),
        ("/v2.1/os-hypervisors?limit=x", "2.32", 200),
        ("/v2.1/os-hypervisors?limit=x", "2.33", 400),
        ("/v2.1/os-keypairs?limit=x", "2.34", 200),
        ("/v2.1/os-keypairs?limit=x", "2.35", 400),
        ("/v2.1/os-simple-tenant-usage?limit=-1", "2.39", 200),
        ("/v2.1/os-simple-tenant-usage?limit=-1", "2.40", 400),
        ("/v2.1/os-simple-tenant-usage?detailed=maybe", HIGHEST, 200),
        ("/v2.1/os-server-groups?offset=x", "2.1", 400),
        ("/v2.1/os-server-groups?offset=²", "2.1", 400),
        ("/v2.1/servers/{web}/os-instance-actions?changes-since=then", "2.57", 200),
        ("/v2.1/servers/{web}/os-instance-actions?changes-since=then", "2.58", 400),
        ("/v2.1/servers/{web}/os-instance-actions?changes-before=2020-01-01T00:00:00Z", "2.65", 400),
        ("/v2.1/servers/{web}/os-instance-actions?changes-before=2020-01-01T00:00:00Z", "2.66", 200),
        (
            "/v2.1/servers/{web}/os-instance-actions?changes-before=2020-01-01T00:00:00Z&changes-since=2021-01-01",
            "2.66",
            400,
        ),
        ("/v2.1/servers?changes-before=then", "2.65", 200),
        ("/v2.1/servers?changes-before=then", "2.66", 400),
        ("/v2.1/servers?locked=maybe", "2.72", 200),
        ("/v2.1/servers?locked=maybe", "2.73", 400),
        ("/v2.1/servers?limit=", "2.1", 400),
        ("/v2.1/flavors?name=[", "2.101", 400),
        ("/v2.1/flavors?name=nano", "2.101", 400),
        ("/v2.1/flavors?name=nano", "2.102", 200),
        ("/v2.1/flavors?name=[", "2.102", 400),
        ("/v2.1/flavors?sort_key=rxtx_factor", "2.101", 200),
        ("/v2.1/flavors?sort_key=rxtx_factor", "2.102", 400),
        ("/v2.1/flavors?limit=-1", "2.1", 400),
    ],
)
async def test_a_parameter_is_read_from_the_version_that_knows_it(
    wire: httpx.AsyncClient, path: str, version: str, status: int
) -> None:
    assert await _get(wire, path, version) == status


async def test_what_is_inside_of_a_server_is_no_filter(wire: httpx.AsyncClient) -> None:
    for name in ("metadata", "system_metadata", "_sa_instance_state", "services"):
        for version in ("2.1", HIGHEST):
            assert await _get(wire, f"/v2.1/servers?{name}=x", version, "admin") == 400
            assert await _get(wire, f"/v2.1/servers?{name}=x", version, "user") == 200


async def test_a_sort_key_named_again_changes_nothing(wire: httpx.AsyncClient) -> None:
    once = (await wire.get("/v2.1/servers?sort_key=display_name&sort_dir=asc")).json()
    again = "&".join(["sort_key=display_name"] * 20 + ["sort_dir=asc"])
    assert (await wire.get(f"/v2.1/servers?{again}")).json() == once
    assert (await wire.get("/v2.1/servers?" + "&".join(["sort_key=uuid"] * 65))).status_code == 400
