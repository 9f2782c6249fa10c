"""Whose token passes which rule of the compute and placement surfaces: a table of every rule and every kind of token.

The rows are what the default policies of Nova 34 and Placement 15 decide with their scopes enforced, for a thing of the
token's own project. One cell differs on purpose: where their rules pass a token without any scope, ours do not.
"""

from __future__ import annotations

import pytest

from floe.api.app import SURFACES
from floe.core.context import Context

ROLES = {
    "reader": {"reader"},
    "member": {"member", "reader"},
    "manager": {"manager", "member", "reader"},
    "admin": {"admin", "manager", "member", "reader"},
    "service": {"service"},
    "other": {"auditor"},
}
SCOPES = {"unscoped": {}, "project": {"project_id": "p"}, "domain": {"domain_id": "d"}, "system": {"system": True}}

READERS = ("reader", "member", "manager", "admin")
MEMBERS = ("member", "manager", "admin")
MANAGERS = ("manager", "admin")
ADMINS = ("admin",)
SERVICES = ("admin", "service")
ANYBODY = tuple(ROLES)

OF_PROJECT: dict[tuple[str, ...], tuple[str, ...]] = {
    ANYBODY: (
        "os_compute_api:extensions",
        "os_compute_api:limits",
        "os_compute_api:os-availability-zone:list",
        "os_compute_api:os-floating-ip-pools",
        "os_compute_api:os-keypairs:create",
        "os_compute_api:os-keypairs:delete",
        "os_compute_api:os-keypairs:index",
        "os_compute_api:os-keypairs:show",
        "os_compute_api:os-quota-sets:defaults",
        # Gone with networks of the compute service's own, and with XenServer: whoever calls is told so.
        "os_compute_api:os-agents",
        "os_compute_api:os-networks",
        "os_compute_api:os-tenant-networks",
    ),
    READERS: (
        "compute:server:topology:index",
        "os_compute_api:image-metadata:index",
        "os_compute_api:image-metadata:show",
        "os_compute_api:images:detail",
        "os_compute_api:images:index",
        "os_compute_api:images:show",
        "os_compute_api:ips:index",
        "os_compute_api:ips:show",
        "os_compute_api:os-attach-interfaces:list",
        "os_compute_api:os-attach-interfaces:show",
        "os_compute_api:os-flavor-extra-specs:index",
        "os_compute_api:os-flavor-extra-specs:show",
        "os_compute_api:os-floating-ips:list",
        "os_compute_api:os-floating-ips:show",
        "os_compute_api:os-instance-actions:list",
        "os_compute_api:os-instance-actions:show",
        "os_compute_api:os-networks:list",
        "os_compute_api:os-networks:show",
        "os_compute_api:os-quota-sets:detail",
        "os_compute_api:os-quota-sets:show",
        "os_compute_api:os-security-groups:get",
        "os_compute_api:os-security-groups:list",
        "os_compute_api:os-security-groups:show",
        "os_compute_api:os-server-groups:index",
        "os_compute_api:os-server-groups:show",
        "os_compute_api:os-server-password:show",
        "os_compute_api:os-server-tags:index",
        "os_compute_api:os-server-tags:show",
        "os_compute_api:os-simple-tenant-usage:show",
        "os_compute_api:os-tenant-networks:list",
        "os_compute_api:os-tenant-networks:show",
        "os_compute_api:os-volumes-attachments:index",
        "os_compute_api:os-volumes-attachments:show",
        "os_compute_api:server-metadata:index",
        "os_compute_api:server-metadata:show",
        "os_compute_api:servers:detail",
        "os_compute_api:servers:index",
        "os_compute_api:servers:show",
    ),
    MEMBERS: (
        "os_compute_api:image-metadata:create",
        "os_compute_api:image-metadata:delete",
        "os_compute_api:image-metadata:update",
        "os_compute_api:image-metadata:update_all",
        "os_compute_api:images:delete",
        "os_compute_api:os-console-output",
        "os_compute_api:os-create-backup",
        "os_compute_api:os-deferred-delete:restore",
        "os_compute_api:os-deferred-delete:force",
        "os_compute_api:os-floating-ips:add",
        "os_compute_api:os-floating-ips:create",
        "os_compute_api:os-floating-ips:delete",
        "os_compute_api:os-floating-ips:remove",
        "os_compute_api:os-lock-server:lock",
        "os_compute_api:os-lock-server:unlock",
        "os_compute_api:os-attach-interfaces:create",
        "os_compute_api:os-attach-interfaces:delete",
        "os_compute_api:os-multinic:add",
        "os_compute_api:os-multinic:remove",
        "os_compute_api:os-pause-server:pause",
        "os_compute_api:os-pause-server:unpause",
        "os_compute_api:os-security-groups:add",
        "os_compute_api:os-security-groups:create",
        "os_compute_api:os-security-groups:delete",
        "os_compute_api:os-security-groups:remove",
        "os_compute_api:os-security-groups:rule:create",
        "os_compute_api:os-security-groups:rule:delete",
        "os_compute_api:os-security-groups:update",
        "os_compute_api:os-server-groups:create",
        "os_compute_api:os-server-groups:delete",
        "os_compute_api:os-server-password:clear",
        "os_compute_api:os-admin-password",
        "os_compute_api:os-server-tags:delete",
        "os_compute_api:os-rescue",
        "os_compute_api:os-unrescue",
        "os_compute_api:os-server-tags:delete_all",
        "os_compute_api:os-server-tags:update",
        "os_compute_api:os-server-tags:update_all",
        "os_compute_api:os-shelve:shelve",
        "os_compute_api:os-shelve:unshelve",
        "os_compute_api:os-suspend-server:resume",
        "os_compute_api:os-suspend-server:suspend",
        "os_compute_api:server-metadata:create",
        "os_compute_api:server-metadata:delete",
        "os_compute_api:server-metadata:update",
        "os_compute_api:server-metadata:update_all",
        "os_compute_api:servers:create",
        "os_compute_api:servers:create:trusted_certs",
        "os_compute_api:servers:create_image",
        "os_compute_api:servers:reboot",
        "os_compute_api:servers:rebuild",
        "os_compute_api:servers:rebuild:trusted_certs",
        "os_compute_api:servers:resize",
        "os_compute_api:servers:confirm_resize",
        "os_compute_api:servers:revert_resize",
        "os_compute_api:servers:start",
        "os_compute_api:servers:trigger_crash_dump",
        "os_compute_api:servers:stop",
        "os_compute_api:servers:delete",
        "os_compute_api:servers:update",
    ),
    MANAGERS: (
        "os_compute_api:os-migrations:index",
        "os_compute_api:servers:migrations:index",
    ),
    ADMINS: (
        "os_compute_api:os-admin-actions:reset_state",
        "os_compute_api:os-shelve:shelve_offload",
        "os_compute_api:os-shelve:unshelve_to_host",
        "os_compute_api:os-migrate-server:migrate",
        "os_compute_api:os-migrate-server:migrate:host",
        "os_compute_api:os-server-diagnostics",
        "os_compute_api:os-lock-server:unlock:unlock_override",
        "compute:aggregates:images",
        "os_compute_api:os-aggregates:add_host",
        "os_compute_api:os-aggregates:create",
        "os_compute_api:os-aggregates:delete",
        "os_compute_api:os-aggregates:index",
        "os_compute_api:os-aggregates:remove_host",
        "os_compute_api:os-aggregates:set_metadata",
        "os_compute_api:os-aggregates:show",
        "os_compute_api:os-aggregates:update",
        "os_compute_api:os-availability-zone:detail",
        "os_compute_api:os-hosts:list",
        "os_compute_api:os-hosts:reboot",
        "os_compute_api:os-hosts:show",
        "os_compute_api:os-hosts:shutdown",
        "os_compute_api:os-hosts:start",
        "os_compute_api:os-hosts:update",
        "os_compute_api:os-flavor-access",
        "os_compute_api:os-flavor-access:add_tenant_access",
        "os_compute_api:os-flavor-access:remove_tenant_access",
        "os_compute_api:os-flavor-extra-specs:create",
        "os_compute_api:os-flavor-extra-specs:delete",
        "os_compute_api:os-flavor-extra-specs:update",
        "os_compute_api:os-flavor-manage:create",
        "os_compute_api:os-flavor-manage:delete",
        "os_compute_api:os-flavor-manage:update",
        "os_compute_api:os-hypervisors:list",
        "os_compute_api:os-hypervisors:list-detail",
        "os_compute_api:os-hypervisors:search",
        "os_compute_api:os-hypervisors:servers",
        "os_compute_api:os-hypervisors:show",
        "os_compute_api:os-hypervisors:statistics",
        "os_compute_api:os-hypervisors:uptime",
        "os_compute_api:os-instance-usage-audit-log:list",
        "os_compute_api:os-instance-usage-audit-log:show",
        "os_compute_api:os-quota-class-sets:show",
        "os_compute_api:os-quota-class-sets:update",
        "os_compute_api:os-quota-sets:delete",
        "os_compute_api:os-quota-sets:update",
        "os_compute_api:os-services:delete",
        "os_compute_api:os-services:list",
        "os_compute_api:os-services:update",
        "os_compute_api:os-simple-tenant-usage:list",
        "os_compute_api:servers:migrations:show",
    ),
    SERVICES: (
        "placement:allocation_candidates:list",
        "placement:allocations:list",
        "placement:resource_classes:list",
        "placement:resource_classes:show",
        "placement:resource_providers:aggregates:list",
        "placement:resource_providers:allocations:list",
        "placement:resource_providers:inventories:list",
        "placement:resource_providers:inventories:show",
        "placement:resource_providers:list",
        "placement:resource_providers:show",
        "placement:resource_providers:traits:list",
        "placement:resource_providers:usages",
        "placement:traits:list",
        "placement:traits:show",
    ),
    (*READERS, "service"): ("placement:usages",),
}
"""By the roles that pass with a token scoped to a project: the rules. No other scope passes any of them."""

ANY_TOKEN = {"os_compute_api:flavors"}
"""Nova asks for no more than a token."""
NO_TOKEN = {"compute:versions", "placement:versions"}
OTHER_PROOF = {"floe:blobs:read", "floe:snapshots:write", "floe:join"}
"""Ours: for who shows a ticket of its host, or what a host is joined with; a token is not asked for."""
OPERATORS = {
    *("floe:audit:show", "floe:audit:repair", "floe:purge"),
    *("floe:hosts:list", "floe:hosts:create", "floe:hosts:update", "floe:hosts:delete"),
    *("floe:image-quotas:show", "floe:image-quotas:update", "floe:image-quotas:delete"),
}
"""Ours: for administrators of a project or of the system."""
OURS = {
    "floe:trace:show": READERS,
    "floe:trace:show_image": READERS,
    "floe:packets:show": READERS,
    "os_compute_api:os-server-external-events:create": SERVICES,  # in Nova services alone
}

RULES = {name: (surface, rule) for surface in SURFACES for name, rule in surface.policies.items()}


def caller(scope: str, role: str) -> Context:
    values: dict[str, object] = {"request_id": "r", "user_id": "u", **SCOPES[scope]}
    roles = frozenset() if scope == "unscoped" else frozenset(ROLES[role])
    return Context(roles=roles, **values)  # type: ignore[arg-type]


def passes(name: str, scope: str, role: str) -> bool:
    if name in NO_TOKEN | ANY_TOKEN | OTHER_PROOF:
        return True
    if name in OPERATORS:
        return role == "admin" and scope in {"project", "system"}
    allowed = OURS.get(name) or next(roles for roles, names in OF_PROJECT.items() if name in names)
    return scope == "project" and role in allowed


def test_every_rule_of_these_surfaces_stands_in_the_table() -> None:
    listed = {name for names in OF_PROJECT.values() for name in names}
    listed |= NO_TOKEN | ANY_TOKEN | OTHER_PROOF | OPERATORS | OURS.keys()
    assert listed == {name for name, (surface, _) in RULES.items() if surface.name in {"compute", "placement", "floe"}}


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("role", ROLES)
def test_a_rule_passes_whom_the_services_policies_pass(scope: str, role: str) -> None:
    context = caller(scope, role)
    wrong = [
        name
        for name, (surface, rule) in RULES.items()
        if surface.name in {"compute", "placement", "floe"} and rule(context) != passes(name, scope, role)
    ]
    assert wrong == []


def test_without_a_token_only_the_versions_are_shown() -> None:
    nobody = Context(request_id="r")
    assert {
        name for name, (surface, rule) in RULES.items() if surface.name in {"compute", "placement"} and rule(nobody)
    } == NO_TOKEN
