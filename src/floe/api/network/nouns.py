"""The nouns of the network surface, each once: what it says of itself, and its names for errors, follow from them."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Resource
from floe.api.network.address_groups import ADDRESS_GROUP
from floe.api.network.address_scopes import ADDRESS_SCOPE
from floe.api.network.floating_ips import FLOATING_IP
from floe.api.network.networks import NETWORK
from floe.api.network.port_forwardings import PORT_FORWARDING
from floe.api.network.ports import PORT
from floe.api.network.routers import ROUTER
from floe.api.network.security_groups import GROUP, RULE
from floe.api.network.subnetpools import SUBNETPOOL
from floe.api.network.subnets import SUBNET

NOUNS: tuple[Resource[Any], ...] = (
    NETWORK,
    SUBNET,
    PORT,
    GROUP,
    RULE,
    ADDRESS_GROUP,
    ROUTER,
    FLOATING_IP,
    SUBNETPOOL,
    ADDRESS_SCOPE,
)
PARTS: tuple[Resource[Any], ...] = (PORT_FORWARDING,)
"""Those whose things are parts of others."""
