"""/extensions: parts of the API that once could be left out, for clients that still ask."""

from __future__ import annotations

from typing import Any

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import authenticated
from floe.api.kit.routing import Route
from floe.core.errors import NotFound

NAMES = {
    "NMN": "Multinic",
    "OS-DCF": "DiskConfig",
    "OS-EXT-AZ": "ExtendedAvailabilityZone",
    "OS-EXT-IMG-SIZE": "ImageSize",
    "OS-EXT-IPS": "ExtendedIps",
    "OS-EXT-IPS-MAC": "ExtendedIpsMac",
    "OS-EXT-SRV-ATTR": "ExtendedServerAttributes",
    "OS-EXT-STS": "ExtendedStatus",
    "OS-FLV-DISABLED": "FlavorDisabled",
    "OS-FLV-EXT-DATA": "FlavorExtraData",
    "OS-SCH-HNT": "SchedulerHints",
    "OS-SRV-USG": "ServerUsage",
    "os-admin-password": "AdminPassword",
    "os-agents": "Agents",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-deferred-delete": "DeferredDelete",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-flavor-rxtx": "FlavorRxtx",
    "os-flavor-swap": "FlavorSwap",
    "os-floating-ip-pools": "FloatingIpPools",
    "os-floating-ips": "FloatingIps",
    "os-hosts": "Hosts",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-instance-usage-audit-log": "OSInstanceUsageAuditLog",
    "os-keypairs": "Keypairs",
    "os-multiple-create": "MultipleCreate",
    "os-networks": "Networks",
    "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas",
    "os-security-groups": "SecurityGroups",
    "os-server-diagnostics": "ServerDiagnostics",
    "os-server-groups": "ServerGroups",
    "os-server-password": "ServerPassword",
    "os-server-tags": "ServerTags",
    "os-services": "Services",
    "os-simple-tenant-usage": "SimpleTenantUsage",
    "os-tenant-networks": "OSTenantNetworks",
    "os-used-limits": "UsedLimits",
    "os-user-data": "UserData",
}
"""Those of which every call and field is there; a part of one is not advertised."""


async def index(_call: Call) -> Reply:
    """GET: all of them."""
    return Reply(200, {"extensions": [_shown(alias) for alias in sorted(NAMES)]})


async def show(call: Call) -> Reply:
    """GET {alias}."""
    alias = call.params["alias"]
    if alias not in NAMES:
        raise NotFound("extension", alias, message=f"There is no extension {alias!r}.")
    return Reply(200, {"extension": _shown(alias)})


def _shown(alias: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": NAMES[alias],
        "description": f"{NAMES[alias]}, built in.",
        "links": [],
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "updated": "2014-12-03T00:00:00Z",
    }


ROUTES = (
    Route("GET", "/v2.1/extensions", index, "os_compute_api:extensions", query=ONCE_OPEN),
    Route("GET", "/v2.1/extensions/{alias}", show, "os_compute_api:extensions", query=ONCE_OPEN),
)

POLICIES = {"os_compute_api:extensions": authenticated}
