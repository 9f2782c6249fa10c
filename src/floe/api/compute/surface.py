"""The compute surface: every noun's routes and policies in one table."""

from __future__ import annotations

from floe.api.compute import (
    agents,
    aggregates,
    availability_zones,
    extensions,
    flavor_extra_specs,
    flavors,
    hosts,
    hypervisors,
    instance_actions,
    keypairs,
    limits,
    migrations,
    quota_sets,
    server_actions,
    server_address_actions,
    server_addresses,
    server_diagnostics,
    server_external_events,
    server_groups,
    server_images,
    server_metadata,
    server_passwords,
    server_rebuild,
    server_rescue,
    server_resize,
    server_security_groups,
    server_shelving,
    server_tags,
    server_topology,
    servers,
    services,
    usage_audits,
    usages,
    versions,
    volume_attachments,
)
from floe.api.compute.faults import compute_envelope
from floe.api.compute.proxies import floating_ips, image_metadata, images, networks, security_groups
from floe.api.kit.policy import Rule, in_project
from floe.api.kit.surface import Microversions, Surface

_NOUNS = (
    versions,
    servers,
    server_actions,
    server_address_actions,
    server_images,
    server_metadata,
    server_passwords,
    server_rebuild,
    server_rescue,
    server_shelving,
    server_resize,
    server_tags,
    server_addresses,
    server_security_groups,
    server_topology,
    server_diagnostics,
    server_external_events,
    volume_attachments,
    migrations,
    flavors,
    flavor_extra_specs,
    keypairs,
    server_groups,
    limits,
    quota_sets,
    extensions,
    availability_zones,
    agents,
    aggregates,
    hosts,
    hypervisors,
    services,
    instance_actions,
    usage_audits,
    usages,
    floating_ips,
    networks,
    security_groups,
    images,
    image_metadata,
)

_ANY_SCOPE = frozenset({"compute:versions", "os_compute_api:flavors"})
"""What Nova has no rule for."""

POLICIES: dict[str, Rule] = {
    name: rule if name in _ANY_SCOPE else in_project(rule) for noun in _NOUNS for name, rule in noun.POLICIES.items()
}

SURFACE = Surface(
    name="compute",
    routes=tuple(route for noun in _NOUNS for route in noun.ROUTES),
    policies=POLICIES,
    envelope=compute_envelope,
    microversions=Microversions(
        "compute",
        versions.LOWEST,
        versions.HIGHEST,
        legacy_header="x-openstack-nova-api-version",
        before=("/v2", "/v2.1"),
    ),
    request_id_headers=("x-openstack-request-id", "x-compute-request-id"),
)
