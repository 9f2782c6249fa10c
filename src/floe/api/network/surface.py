"""The network surface: its routes, policies and envelope."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Resource
from floe.api.kit.surface import Surface
from floe.api.network import agents, availability, extensions, quotas, versions
from floe.api.network.address_groups import ADDRESS_GROUP
from floe.api.network.faults import network_envelope
from floe.api.network.networks import NETWORK
from floe.api.network.ports import PORT
from floe.api.network.security_groups import GROUP, RULE
from floe.api.network.subnets import SUBNET

NOUNS: tuple[Resource[Any], ...] = (NETWORK, SUBNET, PORT, GROUP, RULE, ADDRESS_GROUP)
_OTHERS = (versions, extensions, quotas, agents, availability)

SURFACE = Surface(
    name="network",
    routes=(
        *(route for noun in NOUNS for route in noun.routes),
        *(route for other in _OTHERS for route in other.ROUTES),
    ),
    policies={
        **{name: rule for noun in NOUNS for name, rule in noun.policies.items()},
        **{name: rule for other in _OTHERS for name, rule in other.POLICIES.items()},
    },
    envelope=network_envelope,
    trailing_slash=True,
    suffix=".json",
)
