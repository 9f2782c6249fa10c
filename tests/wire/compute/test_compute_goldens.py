"""Replies of the compute API, word for word, at each microversion that changes them and at the one before it.

`FLOE_WRITE_GOLDENS=1` writes what is answered now; the difference is then for a human to judge.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.api.compute.server_groups import SERVER_GROUP
from floe.api.compute.surface import SURFACE

GOLDENS = Path(__file__).parent / "goldens"
CERTIFICATE = Path(__file__).parent / "certificate.pem"
IMAGE = "11111111-1111-4111-8111-111111111111"
PRIVATE = "00000000-0000-4000-8000-000000000001"
DEFAULT = "bf8fd082-96a7-48f5-afb9-d9e5e4c27ad2"
"""The network, and the security group, that the project of the user has."""
NEW = {"name": "n", "flavorRef": "0", "imageRef": IMAGE, "networks": "none"}
ACTION = "/v2.1/servers/{web}/action"
EARLY = {key: value for key, value in NEW.items() if key != "networks"}

SERVER = (
    "2.1 2.2 2.3 2.8 2.9 2.15 2.16 2.18 2.19 2.25 2.26 2.46 2.47 2.62 2.63 2.70 2.71 2.72 2.73 2.89 2.90 2.95 2.96 "
    "2.97 2.98 2.99 2.100 2.103 2.104"
)

CASES: dict[str, tuple[str, str, str, Any, str]] = {
    "versions": ("user", "GET", "/", None, "2.1"),
    "version": ("user", "GET", "/v2.1/", None, "2.1"),
    "version_old": ("user", "GET", "/v2/", None, "2.1"),
    "server_old": ("user", "GET", "/v2/servers/{web}", None, "2.96"),
    "servers": ("user", "GET", "/v2.1/servers?limit=1", None, "2.1 2.96"),
    "server_active": ("user", "GET", "/v2.1/servers/{web}", None, SERVER),
    "server_active_admin": ("admin", "GET", "/v2.1/servers/{web}", None, SERVER),
    "server_error": ("user", "GET", "/v2.1/servers/{bad}", None, "2.1 2.96"),
    "server_error_admin": ("admin", "GET", "/v2.1/servers/{bad}", None, "2.1 2.96"),
    "servers_detail": ("user", "GET", "/v2.1/servers/detail", None, "2.1 2.70 2.71 2.96 2.97 2.98 2.99 2.100"),
    "server_unknown": ("user", "GET", "/v2.1/servers/nope", None, "2.1"),
    "server_unknown_filter": ("user", "GET", "/v2.1/servers?nonsense=1", None, "2.74 2.75"),
    "servers_by_tag": ("user", "GET", "/v2.1/servers?tags=x", None, "2.25 2.26"),
    "servers_changed_before": ("user", "GET", "/v2.1/servers?changes-before=2000-01-01T00:00:00Z", None, "2.65 2.66"),
    "servers_locked": ("user", "GET", "/v2.1/servers?locked=true", None, "2.72 2.73"),
    "servers_by_key": ("user", "GET", "/v2.1/servers?key_name=nope", None, "2.82 2.83"),
    "create_networks": ("user", "POST", "/v2.1/servers", {"server": EARLY}, "2.36 2.37"),
    "create_networks_none": ("user", "POST", "/v2.1/servers", {"server": NEW}, "2.36 2.37"),
    "create_nic_tag": (
        "user",
        "POST",
        "/v2.1/servers",
        {"server": {**EARLY, "networks": [{"uuid": IMAGE, "tag": "t"}]}},
        "2.31 2.32",
    ),
    "create_description": ("user", "POST", "/v2.1/servers", {"server": {**EARLY, "description": "d"}}, "2.18 2.19"),
    "create_tags": ("user", "POST", "/v2.1/servers", {"server": {**NEW, "tags": ["t"]}}, "2.51 2.52"),
    "create_personality": (
        "user",
        "POST",
        "/v2.1/servers",
        {"server": {**NEW, "personality": [{"path": "/a", "contents": "YQ=="}]}},
        "2.56 2.57",
    ),
    "create_trusted": (
        "user",
        "POST",
        "/v2.1/servers",
        {"server": {**NEW, "trusted_image_certificates": [IMAGE]}},
        "2.62 2.63",
    ),
    "create_host": ("admin", "POST", "/v2.1/servers", {"server": {**NEW, "host": "nope"}}, "2.73 2.74"),
    "create_hostname": ("user", "POST", "/v2.1/servers", {"server": {**NEW, "hostname": "h"}}, "2.89 2.90"),
    "create_hostname_dotted": ("user", "POST", "/v2.1/servers", {"server": {**NEW, "hostname": "h.e"}}, "2.93 2.94"),
    "update": (
        "user",
        "PUT",
        "/v2.1/servers/{web}",
        {"server": {"name": "x"}},
        "2.1 2.70 2.71 2.74 2.75 2.96 2.97 2.98 2.99 2.100",
    ),
    "update_pinned_zone": (
        "user",
        "PUT",
        "/v2.1/servers/{web}",
        {"server": {"pinned_availability_zone": None}},
        "2.103 2.104",
    ),
    "update_pinned_elsewhere": (
        "user",
        "PUT",
        "/v2.1/servers/{web}",
        {"server": {"pinned_availability_zone": "zz"}},
        "2.104",
    ),
    "update_description": (
        "user",
        "PUT",
        "/v2.1/servers/{web}",
        {"server": {"description": None}},
        "2.18 2.19",
    ),
    "update_hostname": ("user", "PUT", "/v2.1/servers/{web}", {"server": {"hostname": "h"}}, "2.89 2.90"),
    **{
        f"rebuild_at_{version}": ("user", "POST", ACTION, {"rebuild": {"imageRef": IMAGE, "name": "x"}}, version)
        for version in ["2.1", "2.53", "2.54", "2.56", "2.57", "2.74", "2.75", "2.96", "2.97", "2.98", "2.99", "2.100"]
    },
    "rebuild_by_admin": ("admin", "POST", ACTION, {"rebuild": {"imageRef": IMAGE, "name": "x"}}, "2.75"),
    **{
        f"rebuild_{name}": ("user", "POST", ACTION, {"rebuild": {"imageRef": IMAGE, **more}}, versions)
        for name, more, versions in (
            ("description", {"description": "d"}, "2.18 2.19"),
            ("key", {"key_name": None}, "2.53 2.54"),
            ("user_data", {"user_data": "YQ=="}, "2.56 2.57"),
            ("personality", {"personality": [{"path": "/a", "contents": "YQ=="}]}, "2.57 2.56"),
            ("trusted", {"trusted_image_certificates": [IMAGE]}, "2.62 2.63"),
            ("hostname", {"hostname": "h"}, "2.89 2.90"),
            ("hostname_dotted", {"hostname": "h.e"}, "2.93 2.94"),
        )
    },
    **{
        f"rescue_at_{version}": ("user", "POST", ACTION, {"rescue": {"adminPass": "p"}}, version)
        for version in ("2.1", "2.96")
    },
    "rescue_no_image": ("user", "POST", ACTION, {"rescue": {"rescue_image_ref": DEFAULT}}, "2.1"),
    "rescue_other": ("user", "POST", ACTION, {"rescue": {"other": 1}}, "2.1"),
    "unrescue_active": ("user", "POST", ACTION, {"unrescue": None}, "2.1"),
    **{f"shelve_at_{version}": ("user", "POST", ACTION, {"shelve": None}, version) for version in ("2.1", "2.96")},
    "shelve_offload": ("admin", "POST", ACTION, {"shelveOffload": None}, "2.1 2.96"),
    "unshelve": ("user", "POST", ACTION, {"unshelve": None}, "2.76 2.77 2.90 2.91"),
    "unshelve_zone": ("user", "POST", ACTION, {"unshelve": {"availability_zone": "nova"}}, "2.76 2.77 2.91"),
    "unshelve_host": ("admin", "POST", ACTION, {"unshelve": {"host": "h1"}}, "2.90 2.91"),
    "migrate": ("admin", "POST", ACTION, {"migrate": None}, "2.1 2.55 2.56"),
    "migrate_by_user": ("user", "POST", ACTION, {"migrate": None}, "2.1"),
    "migrate_host": ("admin", "POST", ACTION, {"migrate": {"host": "h1"}}, "2.55 2.56"),
    "migrate_other": ("admin", "POST", ACTION, {"migrate": {"other": 1}}, "2.55 2.56"),
    "unshelve_of_nothing": ("user", "POST", ACTION, {"unshelve": {}}, "2.77 2.91"),
    **{
        f"resize_{name}": ("user", "POST", ACTION, {"resize": asked}, "2.1")
        for name, asked in (("same", {"flavorRef": "0"}), ("nothing", {}), ("unknown", {"flavorRef": DEFAULT}))
    },
    "resize_confirm": ("user", "POST", ACTION, {"confirmResize": None}, "2.1"),
    "resize_revert": ("user", "POST", ACTION, {"revertResize": None}, "2.1"),
    "resize_more": ("user", "POST", ACTION, {"resize": {"flavorRef": "2", "x": 1}}, "2.96"),
    "resize": ("user", "POST", ACTION, {"resize": {"flavorRef": "2"}}, "2.1"),
    "rebuild_failed_build": ("user", "POST", "/v2.1/servers/{bad}/action", {"rebuild": {"imageRef": IMAGE}}, "2.1"),
    "rebuild_unknown": ("user", "POST", "/v2.1/servers/nope/action", {"rebuild": {"imageRef": IMAGE}}, "2.1"),
    "rebuild_of_nothing": ("user", "POST", ACTION, {"rebuild": {}}, "2.1"),
    "rebuild_no_image": ("user", "POST", ACTION, {"rebuild": {"imageRef": DEFAULT}}, "2.1"),
    "lock_with_reason": (
        "user",
        "POST",
        "/v2.1/servers/{web}/action",
        {"lock": {"locked_reason": "r"}},
        "2.72 2.73",
    ),
    **{
        f"{name}_{version}": ("user", "POST", "/v2.1/servers/{web}/action", {action: {"name": "shot", **more}}, version)
        for name, action, more in (
            ("create_image", "createImage", {"metadata": {"a": "b"}}),
            ("create_backup", "createBackup", {"backup_type": "daily", "rotation": "1"}),
        )
        for version in ("2.44", "2.45")
    },
    "metadata": ("user", "GET", "/v2.1/servers/{web}/metadata", None, "2.1"),
    "password": ("user", "GET", "/v2.1/servers/{web}/os-server-password", None, "2.1"),
    "password_clear": ("user", "DELETE", "/v2.1/servers/{web}/os-server-password", None, "2.1"),
    "change_password": (
        "user",
        "POST",
        "/v2.1/servers/{web}/action",
        {"changePassword": {"adminPass": "p"}},
        "2.1 2.96",
    ),
    "change_password_wrong": ("user", "POST", "/v2.1/servers/{web}/action", {"changePassword": {}}, "2.1"),
    "diagnostics": ("admin", "GET", "/v2.1/servers/{web}/diagnostics", None, "2.47 2.48"),
    "diagnostics_forbidden": ("user", "GET", "/v2.1/servers/{web}/diagnostics", None, "2.48"),
    "external_events": (
        "admin",
        "POST",
        "/v2.1/os-server-external-events",
        {"events": [{"name": "network-changed", "server_uuid": IMAGE, "tag": "t"}]},
        "2.1 2.96",
    ),
    **{
        f"external_events_{name}": (
            "admin",
            "POST",
            "/v2.1/os-server-external-events",
            {"events": [{"name": name.replace("_", "-"), "server_uuid": IMAGE}]},
            versions,
        )
        for name, versions in {
            "volume_extended": "2.50 2.51",
            "power_update": "2.75 2.76",
            "accelerator_request_bound": "2.81 2.82",
            "volume_reimaged": "2.92 2.93",
        }.items()
    },
    "restore": ("user", "POST", "/v2.1/servers/{web}/action", {"restore": None}, "2.1 2.96"),
    "restore_unknown": ("user", "POST", "/v2.1/servers/nope/action", {"restore": None}, "2.1"),
    "password_unknown": ("user", "GET", "/v2.1/servers/nope/os-server-password", None, "2.1"),
    "tags": ("user", "GET", "/v2.1/servers/{web}/tags", None, "2.25 2.26"),
    "ips": ("user", "GET", "/v2.1/servers/{web}/ips", None, "2.1"),
    "interfaces": ("user", "GET", "/v2.1/servers/{web}/os-interface", None, "2.69 2.70"),
    "interface_attach": (
        "user",
        "POST",
        "/v2.1/servers/{web}/os-interface",
        {"interfaceAttachment": {"net_id": IMAGE, "tag": "nic"}},
        "2.48 2.49",
    ),
    "interface_attach_unknown": (
        "user",
        "POST",
        "/v2.1/servers/{web}/os-interface",
        {"interfaceAttachment": {"net_id": IMAGE}},
        "2.1",
    ),
    "interface_detach_unknown": ("user", "DELETE", f"/v2.1/servers/{{web}}/os-interface/{IMAGE}", None, "2.1"),
    "security_groups": ("user", "GET", "/v2.1/servers/{web}/os-security-groups", None, "2.1"),
    "security_groups_of_none": ("user", "GET", "/v2.1/servers/{bad}/os-security-groups", None, "2.1"),
    "volume_attachments": ("user", "GET", "/v2.1/servers/{web}/os-volume_attachments", None, "2.1"),
    "migrations_of_server": ("admin", "GET", "/v2.1/servers/{web}/migrations", None, "2.22 2.23"),
    "migrations": ("admin", "GET", "/v2.1/os-migrations", None, "2.1 2.22 2.23 2.58 2.59 2.79 2.80"),
    "migrations_of_project": ("manager", "GET", f"/v2.1/os-migrations?project_id={'a' * 32}", None, "2.80"),
    "migrations_of_others": ("manager", "GET", "/v2.1/os-migrations", None, "2.80"),
    "topology": ("user", "GET", "/v2.1/servers/{web}/topology", None, "2.77 2.78"),
    "agents": ("user", "GET", "/v2.1/os-agents", None, "2.1 2.104"),
    "agent_delete": ("admin", "DELETE", "/v2.1/os-agents/1", None, "2.1"),
    "aggregates": ("admin", "GET", "/v2.1/os-aggregates", None, "2.1 2.40 2.41"),
    "aggregate": ("admin", "GET", "/v2.1/os-aggregates/1", None, "2.1 2.40 2.41"),
    "aggregate_unknown": ("admin", "GET", "/v2.1/os-aggregates/99", None, "2.1"),
    "aggregate_create": ("admin", "POST", "/v2.1/os-aggregates", {"aggregate": {"name": "a"}}, "2.40"),
    "aggregate_create_uuid": (
        "admin",
        "POST",
        "/v2.1/os-aggregates",
        {"aggregate": {"name": "a", "availability_zone": "z"}},
        "2.41",
    ),
    "aggregate_update": ("admin", "PUT", "/v2.1/os-aggregates/1", {"aggregate": {"name": "b"}}, "2.40 2.41"),
    "aggregate_metadata": (
        "admin",
        "POST",
        "/v2.1/os-aggregates/1/action",
        {"set_metadata": {"metadata": {"ssd": None, "gpu": "a100"}}},
        "2.1 2.41",
    ),
    "aggregate_add_unknown": (
        "admin",
        "POST",
        "/v2.1/os-aggregates/1/action",
        {"add_host": {"host": "nowhere"}},
        "2.1",
    ),
    "aggregate_images": (
        "admin",
        "POST",
        "/v2.1/os-aggregates/1/images",
        {"cache": [{"id": IMAGE}]},
        "2.80 2.81",
    ),
    "aggregate_delete": ("admin", "DELETE", "/v2.1/os-aggregates/1", None, "2.1"),
    "flavors": ("user", "GET", "/v2.1/flavors?limit=1", None, "2.54 2.55 2.101 2.102"),
    "flavors_named": ("user", "GET", "/v2.1/flavors?name=%5Em1.s", None, "2.101 2.102"),
    "flavors_detail": (
        "user",
        "GET",
        "/v2.1/flavors/detail?limit=1",
        None,
        "2.1 2.54 2.55 2.60 2.61 2.74 2.75 2.101 2.102",
    ),
    "flavor": ("user", "GET", "/v2.1/flavors/0", None, "2.1 2.54 2.55 2.60 2.61 2.74 2.75 2.101 2.102"),
    "flavor_create_factor": (
        "admin",
        "POST",
        "/v2.1/flavors",
        {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "rxtx_factor": 1.5}},
        "2.101 2.102",
    ),
    "flavor_unknown_filter": ("user", "GET", "/v2.1/flavors?nonsense=1", None, "2.74 2.75"),
    "flavor_create": (
        "admin",
        "POST",
        "/v2.1/flavors",
        {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 1, "description": "d"}},
        "2.54 2.55",
    ),
    "flavor_update": ("admin", "PUT", "/v2.1/flavors/0", {"flavor": {"description": "d"}}, "2.54 2.55"),
    "flavor_extra_specs": ("user", "GET", "/v2.1/flavors/0/os-extra_specs", None, "2.1"),
    "flavor_extra_spec_unknown": (
        "admin",
        "PUT",
        "/v2.1/flavors/0/os-extra_specs/hw:cpu_polcy",
        {"hw:cpu_polcy": "dedicated"},
        "2.85 2.86",
    ),
    "flavor_extra_spec_value": (
        "admin",
        "POST",
        "/v2.1/flavors/0/os-extra_specs",
        {"extra_specs": {"trait:HW_CPU_X86_AVX2": "wanted"}},
        "2.85 2.86",
    ),
    "keypairs": ("user", "GET", "/v2.1/os-keypairs", None, "2.1 2.2"),
    "keypairs_paged": ("user", "GET", "/v2.1/os-keypairs?limit=1", None, "2.34 2.35"),
    "keypair": ("user", "GET", "/v2.1/os-keypairs/key", None, "2.1 2.2"),
    "keypair_of_another": ("user", "GET", "/v2.1/os-keypairs/key?user_id=other", None, "2.9 2.10"),
    "keypair_without_key": (
        "user",
        "POST",
        "/v2.1/os-keypairs",
        {"keypair": {"name": "a.b"}},
        "2.91 2.92",
    ),
    "keypair_x509": (
        "user",
        "POST",
        "/v2.1/os-keypairs",
        {"keypair": {"name": "w", "type": "x509", "public_key": CERTIFICATE.read_text()}},
        "2.1 2.2",
    ),
    "keypair_delete": ("user", "DELETE", "/v2.1/os-keypairs/key", None, "2.1"),
    "keypair_delete_2_2": ("user", "DELETE", "/v2.1/os-keypairs/key", None, "2.2"),
    "server_groups": ("user", "GET", "/v2.1/os-server-groups", None, "2.1 2.12 2.13 2.14 2.15 2.63 2.64"),
    "server_group_soft": (
        "user",
        "POST",
        "/v2.1/os-server-groups",
        {"server_group": {"name": "g", "policies": ["soft-affinity"]}},
        "2.14 2.15 2.64",
    ),
    "server_group_rules": (
        "user",
        "POST",
        "/v2.1/os-server-groups",
        {"server_group": {"name": "g", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}},
        "2.63 2.64",
    ),
    "limits": ("user", "GET", "/v2.1/limits", None, "2.1 2.35 2.36 2.38 2.39 2.56 2.57"),
    "quota": ("user", "GET", "/v2.1/os-quota-sets/" + "a" * 32, None, "2.1 2.35 2.36 2.56 2.57"),
    "quota_detail": ("user", "GET", "/v2.1/os-quota-sets/" + "a" * 32 + "/detail", None, "2.1 2.57"),
    "quota_user": ("admin", "GET", f"/v2.1/os-quota-sets/{'a' * 32}?user_id=ann", None, "2.35 2.36 2.56 2.57"),
    "quota_user_bad": ("admin", "GET", f"/v2.1/os-quota-sets/{'a' * 32}?user_id=a%20b", None, "2.57"),
    "quota_class": ("admin", "GET", "/v2.1/os-quota-class-sets/default", None, "2.1 2.49 2.50 2.56 2.57"),
    "quota_class_other": ("admin", "GET", "/v2.1/os-quota-class-sets/other", None, "2.1 2.104"),
    "quota_class_other_update": (
        "admin",
        "PUT",
        "/v2.1/os-quota-class-sets/other",
        {"quota_class_set": {"cores": 7}},
        "2.49 2.104",
    ),
    "usage": ("user", "GET", "/v2.1/os-simple-tenant-usage/" + "a" * 32 + "?limit=1", None, "2.39 2.40"),
    "usages": ("admin", "GET", "/v2.1/os-simple-tenant-usage?detailed=0", None, "2.1"),
    "usage_audit": ("admin", "GET", "/v2.1/os-instance_usage_audit_log", None, "2.1 2.104"),
    "usage_audit_before": (
        "admin",
        "GET",
        "/v2.1/os-instance_usage_audit_log/2016-12-10%2013:59:59.999999",
        None,
        "2.1",
    ),
    "usage_audit_wrong": ("admin", "GET", "/v2.1/os-instance_usage_audit_log/2016-12", None, "2.1"),
    "extensions": ("user", "GET", "/v2.1/extensions", None, "2.1"),
    "floating_ips": ("user", "GET", "/v2.1/os-floating-ips", None, "2.1 2.35 2.36"),
    "floating_ip_unknown": ("user", "GET", "/v2.1/os-floating-ips/" + IMAGE, None, "2.35 2.36"),
    "floating_ip_create": ("user", "POST", "/v2.1/os-floating-ips", {"pool": "p"}, "2.35 2.36"),
    "floating_ip_pools": ("user", "GET", "/v2.1/os-floating-ip-pools", None, "2.35 2.36"),
    "networks_of_old": ("user", "GET", "/v2.1/os-networks", None, "2.35 2.36"),
    "networks_of_old_admin": ("admin", "GET", "/v2.1/os-networks", None, "2.35 2.36"),
    "networks_of_old_create": ("admin", "POST", "/v2.1/os-networks", {"network": {"label": "n"}}, "2.35 2.36"),
    "tenant_networks": ("user", "GET", "/v2.1/os-tenant-networks", None, "2.35 2.36"),
    "groups_of_project": ("user", "GET", "/v2.1/os-security-groups", None, "2.35 2.36"),
    "group_rule_create": (
        "user",
        "POST",
        "/v2.1/os-security-group-rules",
        {"security_group_rule": {"parent_group_id": IMAGE, "ip_protocol": "tcp", "from_port": 22, "to_port": 22}},
        "2.35 2.36",
    ),
    "images": ("user", "GET", "/v2.1/images", None, "2.35 2.36"),
    "images_detail": ("user", "GET", "/v2.1/images/detail?limit=1", None, "2.35 2.36"),
    "image_metadata": ("user", "GET", f"/v2.1/images/{IMAGE}/metadata", None, "2.35 2.38 2.39"),
    "add_floating_ip": (
        "user",
        "POST",
        "/v2.1/servers/{web}/action",
        {"addFloatingIp": {"address": "192.0.2.1"}},
        "2.43 2.44",
    ),
    "add_fixed_ip": ("user", "POST", "/v2.1/servers/{web}/action", {"addFixedIp": {"networkId": IMAGE}}, "2.43 2.44"),
    "remove_floating_ip": (
        "user",
        "POST",
        "/v2.1/servers/{web}/action",
        {"removeFloatingIp": {"address": "192.0.2.1"}},
        "2.43 2.44",
    ),
    "remove_fixed_ip": (
        "user",
        "POST",
        "/v2.1/servers/{web}/action",
        {"removeFixedIp": {"address": "192.0.2.1"}},
        "2.43 2.44",
    ),
    "floating_ip_delete": ("user", "DELETE", f"/v2.1/os-floating-ips/{IMAGE}", None, "2.35 2.36"),
    "network_of_old": ("user", "GET", f"/v2.1/os-networks/{PRIVATE}", None, "2.35 2.36"),
    "network_of_old_admin": ("admin", "GET", f"/v2.1/os-networks/{PRIVATE}", None, "2.35 2.36"),
    "network_of_old_delete": ("admin", "DELETE", f"/v2.1/os-networks/{PRIVATE}", None, "2.35 2.36"),
    "network_of_old_add": ("admin", "POST", "/v2.1/os-networks/add", {"id": PRIVATE}, "2.35 2.36"),
    "network_of_old_disassociate": (
        "admin",
        "POST",
        f"/v2.1/os-networks/{PRIVATE}/action",
        {"disassociate": None},
        "2.35 2.36",
    ),
    "tenant_network": ("user", "GET", f"/v2.1/os-tenant-networks/{PRIVATE}", None, "2.35 2.36"),
    "tenant_network_create": ("user", "POST", "/v2.1/os-tenant-networks", {"network": {"label": "n"}}, "2.35 2.36"),
    "tenant_network_delete": ("user", "DELETE", f"/v2.1/os-tenant-networks/{PRIVATE}", None, "2.35 2.36"),
    "group_create": (
        "user",
        "POST",
        "/v2.1/os-security-groups",
        {"security_group": {"name": "g", "description": "d"}},
        "2.35 2.36",
    ),
    "group": ("user", "GET", f"/v2.1/os-security-groups/{DEFAULT}", None, "2.35 2.36"),
    "group_update": (
        "user",
        "PUT",
        f"/v2.1/os-security-groups/{DEFAULT}",
        {"security_group": {"name": "default", "description": "d"}},
        "2.35 2.36",
    ),
    "group_delete": ("user", "DELETE", f"/v2.1/os-security-groups/{DEFAULT}", None, "2.35 2.36"),
    "group_rule_delete": ("user", "DELETE", f"/v2.1/os-security-group-rules/{IMAGE}", None, "2.35 2.36"),
    "image": ("user", "GET", f"/v2.1/images/{IMAGE}", None, "2.35 2.36"),
    "image_delete": ("user", "DELETE", f"/v2.1/images/{PRIVATE}", None, "2.35 2.36"),
    "image_metadata_set": ("admin", "PUT", f"/v2.1/images/{IMAGE}/metadata", {"metadata": {"a": "b"}}, "2.38 2.39"),
    "image_metadata_add": ("admin", "POST", f"/v2.1/images/{IMAGE}/metadata", {"metadata": {"a": "b"}}, "2.38 2.39"),
    "image_metadata_item": ("user", "GET", f"/v2.1/images/{IMAGE}/metadata/a", None, "2.38 2.39"),
    "image_metadata_item_set": (
        "admin",
        "PUT",
        f"/v2.1/images/{IMAGE}/metadata/a",
        {"meta": {"a": "b"}},
        "2.38 2.39",
    ),
    "image_metadata_item_delete": ("admin", "DELETE", f"/v2.1/images/{IMAGE}/metadata/a", None, "2.38 2.39"),
    "add_security_group": (
        "user",
        "POST",
        "/v2.1/servers/{web}/action",
        {"addSecurityGroup": {"name": "default"}},
        "2.1 2.96",
    ),
    "too_new": ("user", "GET", "/v2.1/servers", None, "2.97"),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_reply_is_word_for_word_as_recorded(wire: httpx.AsyncClient, name: str) -> None:
    caller, method, path, body, versions = CASES[name]
    named = {server["name"]: server["id"] for server in (await wire.get("/v2.1/servers")).json()["servers"]}
    replies: dict[str, Any] = {}
    for version in versions.split():
        headers = {"x-auth-token": caller, "openstack-api-version": f"compute {version}"}
        reply = await wire.request(method, path.format(**named), json=body, headers=headers)
        replies[version] = {"status": reply.status_code, "body": _known(reply.json() if reply.content else None)}
    recorded = GOLDENS / f"{name}.json"
    if os.environ.get("FLOE_WRITE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        recorded.write_text(json.dumps(replies, indent=1, sort_keys=True) + "\n")
    assert replies == json.loads(recorded.read_text())


def _known(value: Any) -> Any:
    """Put fixed words in the place of what is drawn by lot: passwords and keys."""
    if isinstance(value, dict):
        fixed = {"adminPass", "private_key"}
        return {key: f"<{key}>" if key in fixed else _known(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_known(inner) for inner in value]
    return value


def test_replies_are_recorded_at_the_highest_version_and_the_one_below() -> None:
    assert SURFACE.microversions is not None
    major, minor = SURFACE.microversions.highest
    recorded = {version for *_, versions in CASES.values() for version in versions.split()}
    assert {f"{major}.{minor}", f"{major}.{minor - 1}"} <= recorded


def test_the_edges_of_each_field_of_a_resource_are_recorded() -> None:
    """At the version that brings or ends a field, and at the one before it."""
    recorded = {
        version
        for _, method, path, _, versions in CASES.values()
        for version in versions.split()
        if path.startswith("/v2.1/os-server-groups")
    }
    for wire in SERVER_GROUP.fields.wires:
        for major, minor in {wire.since, (wire.until[0], wire.until[1] + 1)} - {(0, 0), (9999, 10000)}:
            assert {f"{major}.{minor}", f"{major}.{minor - 1}"} <= recorded, wire.name


def test_each_proxy_is_recorded_at_its_last_version_and_after_it() -> None:
    """Calls that stand for those of other services, up to a version; those of hosts stand in `wire/hosts`."""
    assert SURFACE.microversions is not None
    for route in SURFACE.routes:
        of_hosts = route.path.startswith(("/v2.1/os-hypervisors", "/v2.1/os-hosts"))
        if of_hosts or not (2, 35) <= route.until < SURFACE.microversions.highest:
            continue
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))
        versions = [
            set(asked.split())
            for _, method, path, body, asked in CASES.values()
            if method == route.method and pattern.fullmatch(path.partition("?")[0])
            if route.action is None or route.action in body
        ]
        major, minor = route.until
        assert any({f"{major}.{minor}", f"{major}.{minor + 1}"} <= each for each in versions), route


def test_every_recorded_reply_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDENS.glob("*.json")} == set(CASES)


async def test_the_old_path_is_the_lowest_version_whatever_is_asked(wire: httpx.AsyncClient) -> None:
    token = {"x-auth-token": "user"}
    old = await wire.get("/v2/servers/detail", headers={**token, "openstack-api-version": "compute 2.96"})
    new = await wire.get("/v2.1/servers/detail", headers={**token, "openstack-api-version": "compute 2.1"})
    assert (old.status_code, len(old.json()["servers"])) == (200, 2)
    assert old.json() == new.json()
    assert "openstack-api-version" not in old.headers
    assert (await wire.get("/v2x/servers", headers=token)).status_code == 404


async def test_the_versions_used_are_named_in_both_headers(wire: httpx.AsyncClient) -> None:
    reply = await wire.get("/v2.1/servers", headers={"openstack-api-version": "compute 2.96"})
    assert reply.headers["openstack-api-version"] == "compute 2.96"
    assert reply.headers["x-openstack-nova-api-version"] == "2.96"
    plain = {"openstack-api-version": "", "x-openstack-nova-api-version": "latest"}
    assert (await wire.get("/v2.1/servers", headers=plain)).headers["openstack-api-version"] == "compute 2.104"
    assert re.fullmatch(r"req-[0-9a-f-]{36}", reply.headers["x-compute-request-id"])
