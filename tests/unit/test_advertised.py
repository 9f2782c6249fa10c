"""What is advertised is there: the extensions of the compute API, and the drivers that docstrings call shipped."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import floe
from floe.api.compute import extensions
from floe.api.compute.flavors import FLAVOR
from floe.api.compute.server_bodies import CREATE as SERVER
from floe.api.compute.server_shapes import OPERATOR
from floe.api.compute.surface import SURFACE
from floe.api.kit.resource import Use

FIELDS = {
    "OS-DCF": "OS-DCF:diskConfig",
    "OS-EXT-AZ": "OS-EXT-AZ:availability_zone",
    "OS-EXT-IPS": "addresses",
    "OS-EXT-IPS-MAC": "addresses",
    "OS-EXT-SRV-ATTR": "OS-EXT-SRV-ATTR:host",
    "OS-EXT-STS": "OS-EXT-STS:vm_state",
    "OS-FLV-DISABLED": "OS-FLV-DISABLED:disabled",
    "OS-FLV-EXT-DATA": "OS-FLV-EXT-DATA:ephemeral",
    "OS-SCH-HNT": "OS-SCH-HNT:scheduler_hints",
    "OS-SRV-USG": "OS-SRV-USG:launched_at",
    "os-config-drive": "config_drive",
    "os-flavor-rxtx": "rxtx_factor",
    "os-flavor-swap": "swap",
    "os-multiple-create": "min_count",
    "os-user-data": "user_data",
}
"""Extensions of servers and flavors by a field: one of them, shown or taken."""

CALLS = {
    "OS-EXT-IMG-SIZE": ("GET /images/detail", "GET /images/{}"),
    "os-agents": ("GET /os-agents", "POST /os-agents", "PUT /os-agents/{}", "DELETE /os-agents/{}"),
    "os-availability-zone": ("GET /os-availability-zone", "GET /os-availability-zone/detail"),
    "os-console-output": ("POST /servers/{}/action os-getConsoleOutput",),
    "os-flavor-access": (
        "GET /flavors/{}/os-flavor-access",
        "POST /flavors/{}/action addTenantAccess",
        "POST /flavors/{}/action removeTenantAccess",
    ),
    "os-flavor-extra-specs": (
        "GET /flavors/{}/os-extra_specs",
        "POST /flavors/{}/os-extra_specs",
        "GET /flavors/{}/os-extra_specs/{}",
        "PUT /flavors/{}/os-extra_specs/{}",
        "DELETE /flavors/{}/os-extra_specs/{}",
    ),
    "os-flavor-manage": ("POST /flavors", "DELETE /flavors/{}", "PUT /flavors/{}"),
    "os-floating-ip-pools": ("GET /os-floating-ip-pools",),
    "os-floating-ips": (
        "GET /os-floating-ips",
        "POST /os-floating-ips",
        "GET /os-floating-ips/{}",
        "DELETE /os-floating-ips/{}",
        "POST /servers/{}/action addFloatingIp",
        "POST /servers/{}/action removeFloatingIp",
    ),
    "os-hosts": (
        "GET /os-hosts",
        "GET /os-hosts/{}",
        "PUT /os-hosts/{}",
        "GET /os-hosts/{}/startup",
        "GET /os-hosts/{}/shutdown",
        "GET /os-hosts/{}/reboot",
    ),
    "os-hypervisors": (
        "GET /os-hypervisors",
        "GET /os-hypervisors/detail",
        "GET /os-hypervisors/statistics",
        "GET /os-hypervisors/{}",
        "GET /os-hypervisors/{}/search",
        "GET /os-hypervisors/{}/servers",
        "GET /os-hypervisors/{}/uptime",
    ),
    "os-instance-actions": ("GET /servers/{}/os-instance-actions", "GET /servers/{}/os-instance-actions/{}"),
    "os-instance-usage-audit-log": ("GET /os-instance_usage_audit_log", "GET /os-instance_usage_audit_log/{}"),
    "os-keypairs": ("GET /os-keypairs", "POST /os-keypairs", "GET /os-keypairs/{}", "DELETE /os-keypairs/{}"),
    "NMN": ("POST /servers/{}/action addFixedIp", "POST /servers/{}/action removeFixedIp"),
    "os-networks": (
        "GET /os-networks",
        "POST /os-networks",
        "POST /os-networks/add",
        "GET /os-networks/{}",
        "DELETE /os-networks/{}",
        "POST /os-networks/{}/action",
    ),
    "os-quota-class-sets": ("GET /os-quota-class-sets/{}", "PUT /os-quota-class-sets/{}"),
    "os-quota-sets": (
        "GET /os-quota-sets/{}",
        "PUT /os-quota-sets/{}",
        "DELETE /os-quota-sets/{}",
        "GET /os-quota-sets/{}/defaults",
        "GET /os-quota-sets/{}/detail",
    ),
    "os-security-groups": (
        "GET /os-security-groups",
        "POST /os-security-groups",
        "GET /os-security-groups/{}",
        "PUT /os-security-groups/{}",
        "DELETE /os-security-groups/{}",
        "POST /os-security-group-rules",
        "DELETE /os-security-group-rules/{}",
        "GET /servers/{}/os-security-groups",
        "POST /servers/{}/action addSecurityGroup",
        "POST /servers/{}/action removeSecurityGroup",
    ),
    "os-server-groups": (
        "GET /os-server-groups",
        "POST /os-server-groups",
        "GET /os-server-groups/{}",
        "DELETE /os-server-groups/{}",
    ),
    "os-server-password": ("GET /servers/{}/os-server-password", "DELETE /servers/{}/os-server-password"),
    "os-server-tags": (
        "GET /servers/{}/tags",
        "PUT /servers/{}/tags",
        "DELETE /servers/{}/tags",
        "GET /servers/{}/tags/{}",
        "PUT /servers/{}/tags/{}",
        "DELETE /servers/{}/tags/{}",
    ),
    "os-admin-password": ("POST /servers/{}/action changePassword",),
    "os-deferred-delete": ("POST /servers/{}/action restore", "POST /servers/{}/action forceDelete"),
    "os-server-diagnostics": ("GET /servers/{}/diagnostics",),
    "os-services": ("GET /os-services", "PUT /os-services/{}", "DELETE /os-services/{}"),
    "os-simple-tenant-usage": ("GET /os-simple-tenant-usage", "GET /os-simple-tenant-usage/{}"),
    "os-tenant-networks": (
        "GET /os-tenant-networks",
        "POST /os-tenant-networks",
        "GET /os-tenant-networks/{}",
        "DELETE /os-tenant-networks/{}",
    ),
    "os-used-limits": ("GET /limits",),
}
"""Extensions by calls: all that Nova's has."""


def test_every_extension_that_is_listed_is_one_that_is_held_against_the_routes() -> None:
    assert set(extensions.NAMES) == FIELDS.keys() | CALLS.keys()


@pytest.mark.parametrize("alias", FIELDS)
def test_the_field_of_an_extension_is_shown_or_taken(alias: str) -> None:
    shown = {field.name for shape in (OPERATOR, FLAVOR.fields.shape) for field in shape.fields}
    taken = {
        field.name
        for body in (SERVER, FLAVOR.fields.body("flavor", Use.CREATE))
        for field in (*body.fields, *body.siblings)
    }
    assert FIELDS[alias] in shown | taken


@pytest.mark.parametrize("alias", CALLS)
def test_every_call_of_an_extension_has_its_route(alias: str) -> None:
    routes = {
        f"{route.method} {re.sub(r'{[^}]*}', '{}', route.path.removeprefix('/v2.1'))} {route.action or ''}".strip()
        for route in SURFACE.routes
    }
    assert set(CALLS[alias]) - routes == set()


def test_what_a_docstring_calls_shipped_can_be_imported() -> None:
    root = Path(floe.__file__).parent
    named = [
        name if "." in name else f"{'.'.join(path.relative_to(root).with_suffix('').parts)}.{name}"
        for path in root.rglob("*.py")
        for sentence in re.findall(r"Shipped:[^\n]*", path.read_text())
        for name in re.findall(r"`([\w.]+)`", sentence)
    ]
    assert len(named) >= 5
    for name in named:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(f"floe.{module}"), attribute), name
