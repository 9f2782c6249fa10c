"""/limits: what the project may have, and what it has."""

from __future__ import annotations

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import authenticated
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.cloud import compute_quotas as cloud
from floe.core.errors import Forbidden
from floe.core.versions import Version

_LIMITS: tuple[tuple[str, str, Version], ...] = (
    ("maxTotalInstances", "instances", (9999, 0)),
    ("maxTotalCores", "cores", (9999, 0)),
    ("maxTotalRAMSize", "ram", (9999, 0)),
    ("maxServerMeta", "metadata_items", (9999, 0)),
    ("maxImageMeta", "metadata_items", (2, 38)),
    ("maxPersonality", "injected_files", (2, 56)),
    ("maxPersonalitySize", "injected_file_content_bytes", (2, 56)),
    ("maxTotalKeypairs", "key_pairs", (9999, 0)),
    ("maxServerGroups", "server_groups", (9999, 0)),
    ("maxServerGroupMembers", "server_group_members", (9999, 0)),
)
"""Wire name, resource, and the last microversion that shows it."""

_USED = (
    ("totalInstancesUsed", "instances"),
    ("totalCoresUsed", "cores"),
    ("totalRAMUsed", "ram"),
    ("totalServerGroupsUsed", "server_groups"),
)


async def show(call: Call) -> Reply:
    """GET, for another project (`tenant_id`) by administrators."""
    project = call.one("tenant_id") or call.context.project_id or ""
    if project != call.context.project_id and not call.context.is_admin:
        raise Forbidden(f"Only administrators may see the limits of another project (tenant_id {project!r}).")
    found = await cloud.usage(call.cloud, project)
    absolute = {name: found.limits[resource] for name, resource, last in _LIMITS if call.version <= last}
    absolute |= {name: found.used[resource] for name, resource in _USED}
    if call.version < (2, 36):
        # They are the network API's business now.
        absolute |= {
            "maxSecurityGroups": found.limits["security_group"],
            "totalSecurityGroupsUsed": found.used["security_group"],
            "maxSecurityGroupRules": found.limits["security_group_rule"],
            "maxTotalFloatingIps": found.limits["floatingip"],
            "totalFloatingIpsUsed": found.used["floatingip"],
        }
    return Reply(200, {"limits": {"rate": [], "absolute": absolute}})


_QUERY = Query(Param("tenant_id", many=True), closed=(2, 75))

ROUTES = (Route("GET", "/v2.1/limits", show, "os_compute_api:limits", query=_QUERY),)

POLICIES = {"os_compute_api:limits": authenticated}
