"""Each microversion of the compute API: what it brings or ends is not there one version earlier or later."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

IMAGE = "11111111-1111-4111-8111-111111111111"
SERVER, FLAVOR = "/v2.1/servers/{web}", "/v2.1/flavors/0"
ACTION = f"{SERVER}/action"
NEW = {"name": "n", "flavorRef": "0", "imageRef": IMAGE}
LATER = {**NEW, "networks": "none"}
TAGGED = {"source_type": "image", "destination_type": "local", "boot_index": 0, "uuid": IMAGE, "tag": "t"}
TYPED = {**TAGGED, "volume_type": "fast"}
KEY = {"name": "k", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGQ3N2Y4ZjE0NzQ5ZmQ4ZTM2ZjBhZmQ2ZTk3Nzk2"}
SIZE = {"name": "f", "ram": 1, "vcpus": 1, "disk": 1}
LAST = 104

BROUGHT = [
    *(("admin", SERVER, f"server.OS-EXT-SRV-ATTR:{name}", 3) for name in (
        "reservation_id", "launch_index", "ramdisk_id", "kernel_id", "hostname", "root_device_name", "user_data",
    )),
    ("user", SERVER, "server.locked", 9),
    ("admin", SERVER, "server.host_status", 16),
    ("user", SERVER, "server.description", 19),
    ("user", SERVER, "server.tags", 26),
    ("user", SERVER, "server.flavor.original_name", 47),
    ("user", SERVER, "server.trusted_image_certificates", 63),
    ("user", SERVER, "server.server_groups", 71),
    ("user", SERVER, "server.locked_reason", 73),
    ("user", SERVER, "server.OS-EXT-SRV-ATTR:hostname", 90),
    ("user", SERVER, "server.pinned_availability_zone", 96),
    ("user", SERVER, "server.image.properties", 98),
    ("user", SERVER, "server.scheduler_hints", 100),
    ("user", FLAVOR, "flavor.description", 55),
    ("user", FLAVOR, "flavor.extra_specs", 61),
    ("admin", "/v2.1/os-quota-class-sets/default", "quota_class_set.server_groups", 50),
    ("user", f"{SERVER}/tags", "tags", 26),
    ("user", f"{SERVER}/topology", "nodes", 78),
    ("admin", f"{SERVER}/diagnostics", "num_cpus", 48),
]  # fmt: skip
"""Who asks, for what, which field of the answer is there, and since when."""

ENDED = [
    ("user", SERVER, "server.flavor.id", 46),
    ("user", FLAVOR, "flavor.rxtx_factor", 101),
    ("user", FLAVOR, "flavor.OS-FLV-DISABLED:disabled", 101),
    ("user", "/v2.1/limits", "limits.absolute.maxSecurityGroups", 35),
    ("user", "/v2.1/limits", "limits.absolute.maxImageMeta", 38),
    ("user", "/v2.1/limits", "limits.absolute.maxPersonality", 56),
    ("admin", "/v2.1/os-quota-sets/abc", "quota_set.floating_ips", 35),
    ("admin", "/v2.1/os-quota-sets/abc", "quota_set.injected_files", 56),
    ("admin", "/v2.1/os-quota-class-sets/default", "quota_class_set.floating_ips", 49),
    ("admin", "/v2.1/os-quota-class-sets/default", "quota_class_set.injected_files", 56),
    ("admin", "/v2.1/os-hypervisors/statistics", "hypervisor_statistics", 87),
    *(("user", f"/v2.1/{name}", key, 35) for name, key in (
        ("images", "images"), ("os-networks", "networks"), ("os-floating-ips", "floating_ips"),
        ("os-floating-ip-pools", "floating_ip_pools"), ("os-security-groups", "security_groups"),
    )),
]  # fmt: skip
"""The same, and the last version that has it."""

TAKEN = [
    ("POST", "/v2.1/servers", "server", {**NEW, "networks": [{"uuid": IMAGE, "tag": "t"}]}, 32, 36),
    ("POST", "/v2.1/servers", "server", {**NEW, "networks": [{"uuid": IMAGE, "tag": "t"}]}, 42, LAST),
    ("POST", "/v2.1/servers", "server", {**NEW, "block_device_mapping_v2": [TAGGED]}, 32, 32),
    ("POST", "/v2.1/servers", "server", {**LATER, "block_device_mapping_v2": [TAGGED]}, 42, LAST),
    ("POST", "/v2.1/servers", "server", {**LATER, "block_device_mapping_v2": [TYPED]}, 67, LAST),
    ("POST", f"{SERVER}/os-interface", "interfaceAttachment", {"net_id": IMAGE, "tag": "t"}, 49, LAST),
    ("POST", "/v2.1/servers", "server", {**NEW, "networks": "auto"}, 37, LAST),
    ("POST", "/v2.1/servers", "server", {**NEW, "description": None}, 19, 36),
    ("POST", "/v2.1/servers", "server", {**LATER, "tags": ["t"]}, 52, LAST),
    ("POST", "/v2.1/servers", "server", {**LATER, "personality": []}, 37, 56),
    ("POST", "/v2.1/servers", "server", {**LATER, "trusted_image_certificates": None}, 63, LAST),
    ("POST", "/v2.1/servers", "server", {**LATER, "host": "nope"}, 74, LAST),
    ("POST", "/v2.1/servers", "server", {**LATER, "hypervisor_hostname": "nope"}, 74, LAST),
    ("POST", "/v2.1/servers", "server", {**LATER, "hostname": "h"}, 90, LAST),
    ("POST", "/v2.1/servers", "server", {**LATER, "hostname": "h.e"}, 94, LAST),
    ("PUT", SERVER, "server", {"description": "d"}, 19, LAST),
    ("PUT", SERVER, "server", {"hostname": "h"}, 90, LAST),
    ("PUT", SERVER, "server", {"hostname": "h.e"}, 94, LAST),
    ("PUT", SERVER, "server", {"pinned_availability_zone": None}, 104, LAST),
    ("POST", ACTION, "rebuild", {"imageRef": IMAGE, "description": "d"}, 19, LAST),
    ("POST", ACTION, "rebuild", {"imageRef": IMAGE, "key_name": None}, 54, LAST),
    ("POST", ACTION, "rebuild", {"imageRef": IMAGE, "user_data": None}, 57, LAST),
    ("POST", ACTION, "rebuild", {"imageRef": IMAGE, "personality": []}, 1, 56),
    ("POST", ACTION, "rebuild", {"imageRef": IMAGE, "trusted_image_certificates": None}, 63, LAST),
    ("POST", ACTION, "rebuild", {"imageRef": IMAGE, "hostname": "h"}, 90, LAST),
    ("POST", "/v2.1/flavors", "flavor", {**SIZE, "description": "d"}, 55, LAST),
    ("POST", "/v2.1/flavors", "flavor", {**SIZE, "rxtx_factor": 1.0}, 1, 101),
    ("POST", "/v2.1/os-keypairs", "keypair", {**KEY, "type": "ssh"}, 2, LAST),
    ("POST", "/v2.1/os-keypairs", "keypair", {**KEY, "user_id": "someone"}, 10, LAST),
    ("POST", "/v2.1/os-keypairs", "keypair", {"name": "generated"}, 1, 91),
    ("POST", "/v2.1/os-server-groups", "server_group", {"name": "g", "policies": ["soft-affinity"]}, 15, 63),
    ("POST", "/v2.1/os-server-groups", "server_group", {"name": "g", "policy": "affinity"}, 64, LAST),
    ("PUT", "/v2.1/os-quota-sets/abc", "quota_set", {"injected_files": 5}, 1, 56),
    ("PUT", "/v2.1/os-quota-sets/abc", "quota_set", {"floating_ips": 5}, 1, 35),
]  # fmt: skip
"""A body, and the versions whose form it has."""


async def _ask(wire: httpx.AsyncClient, who: str, method: str, path: str, body: Any, minor: int) -> httpx.Response:
    everybodys = {"x-auth-token": "admin"}
    found = (await wire.get("/v2.1/servers?all_tenants=1", headers=everybodys)).json()["servers"]
    named = {server["name"]: server["id"] for server in found}
    headers = {"x-auth-token": who, "openstack-api-version": f"compute 2.{minor}"}
    return await wire.request(method, path.format_map(named), json=body, headers=headers)


async def _has(wire: httpx.AsyncClient, who: str, path: str, field: str, minor: int) -> bool:
    reply = await _ask(wire, who, "GET", path, None, minor)
    if reply.status_code == 404:
        return False
    assert reply.status_code == 200, reply.text
    found: Any = reply.json()
    for part in field.split("."):
        if isinstance(found, list):
            found = found[int(part)]
        elif not isinstance(found, dict) or part not in found:
            return False
        else:
            found = found[part]
    return True


@pytest.mark.parametrize(("who", "path", "field", "since"), BROUGHT)
async def test_a_field_is_shown_since_its_version(
    wire: httpx.AsyncClient, who: str, path: str, field: str, since: int
) -> None:
    shown = [await _has(wire, who, path, field, minor) for minor in (1, since - 1, since)]
    assert shown == [False, False, True]


@pytest.mark.parametrize(("who", "path", "field", "until"), ENDED)
async def test_a_field_is_shown_up_to_its_last_version(
    wire: httpx.AsyncClient, who: str, path: str, field: str, until: int
) -> None:
    assert [await _has(wire, who, path, field, minor) for minor in (until, until + 1, LAST)] == [True, False, False]


@pytest.mark.parametrize(("method", "path", "key", "value", "since", "until"), TAKEN)
async def test_a_body_is_taken_by_the_versions_that_know_it(
    wire: httpx.AsyncClient, method: str, path: str, key: str, value: Any, since: int, until: int
) -> None:
    """What becomes of it is another matter: within its versions it may still be refused, but not for its form."""
    edges = {minor for minor in (since - 1, since, until, until + 1) if 0 < minor <= LAST}
    for minor in sorted(edges):
        reply = await _ask(wire, "admin", method, path, {key: value}, minor)
        if since <= minor <= until:
            assert not re.search("unknown field|Expected|required", reply.text), (minor, reply.text)
        else:
            assert reply.status_code == 400, (minor, reply.text)
