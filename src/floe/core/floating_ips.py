"""Floating IPs: addresses of an external network by which ports of inner ones are reached."""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.core.port_forwardings import PortForwarding

ACTIVE, DOWN = "ACTIVE", "DOWN"


class LedTo(msgspec.Struct, frozen=True, gc=False):
    """What is told of the port that a floating IP leads to."""

    name: str
    network_id: str
    mac: str
    up: bool
    status: str
    device_id: str
    device_owner: str


class FloatingIP(msgspec.Struct, frozen=True, gc=False):
    """A floating IP as the database holds it."""

    id: str
    project_id: str
    network_id: str
    """The external network that it is of."""
    own_port_id: str
    """The port on that network that holds its address."""
    address: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    router_id: str | None = None
    """The router that passes packets on to its port, or to those of its port forwardings."""
    port_id: str | None = None
    """The port that is reached by it."""
    fixed_address: str | None = None
    """The one of that port's addresses which is meant."""
    tags: tuple[str, ...] = ()
    revision: int = 0
    port: LedTo | None = None
    forwardings: tuple[PortForwarding, ...] = ()

    @property
    def status(self) -> str:
        """ACTIVE where it leads somewhere."""
        return DOWN if self.router_id is None else ACTIVE
