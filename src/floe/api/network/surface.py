"""The network surface: its routes, policies and envelope."""

from __future__ import annotations

from floe.api.kit.surface import Surface
from floe.api.network import (
    agent_schedulers,
    agents,
    auto_allocated,
    availability,
    extensions,
    quotas,
    service_providers,
    versions,
)
from floe.api.network.faults import network_envelope
from floe.api.network.nouns import NOUNS, PARTS

_OTHERS = (versions, extensions, quotas, agents, agent_schedulers, availability, auto_allocated, service_providers)

SURFACE = Surface(
    name="network",
    routes=(
        *(route for noun in (*NOUNS, *PARTS) for route in noun.routes),
        *(route for other in _OTHERS for route in other.ROUTES),
    ),
    policies={
        **{name: rule for noun in (*NOUNS, *PARTS) for name, rule in noun.policies.items()},
        **{name: rule for other in _OTHERS for name, rule in other.POLICIES.items()},
    },
    envelope=network_envelope,
    trailing_slash=True,
    suffix=".json",
)
