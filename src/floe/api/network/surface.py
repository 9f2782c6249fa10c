"""The network surface: its routes, policies and envelope."""

from __future__ import annotations

from floe.api.kit.surface import Surface
from floe.api.network import (
    agents,
    availability,
    extensions,
    networks,
    ports,
    quotas,
    security_groups,
    subnets,
    versions,
)
from floe.api.network.faults import network_envelope

SURFACE = Surface(
    name="network",
    routes=(
        *versions.ROUTES,
        *extensions.ROUTES,
        *networks.ROUTES,
        *subnets.ROUTES,
        *ports.ROUTES,
        *security_groups.ROUTES,
        *quotas.ROUTES,
        *agents.ROUTES,
        *availability.ROUTES,
    ),
    policies={
        **versions.POLICIES,
        **extensions.POLICIES,
        **networks.POLICIES,
        **subnets.POLICIES,
        **ports.POLICIES,
        **security_groups.POLICIES,
        **quotas.POLICIES,
        **agents.POLICIES,
        **availability.POLICIES,
    },
    envelope=network_envelope,
    trailing_slash=True,
    suffix=".json",
)
