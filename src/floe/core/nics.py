"""The NICs of a server: as they are asked for and planned, and as a host is to make them.

Once it has a host a NIC is a port's, and what is true of it stands in the port's row. A further kind is one more member
of `Nic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec

from floe.core.host_network import HostPort

VIF_MODELS = ("virtio", "e1000", "rtl8139", "e1000e")
"""What an image may ask for; the first one is the default."""


class PlannedNic(msgspec.Struct, frozen=True, kw_only=True):
    """One NIC that a create asks for, by a network or a port; what was left open is filled in when it is checked.

    The rows of servers keep it. `made`: Floe makes its port, and removes it with the server.
    """

    network_id: str = ""
    """"" until it is known which: a port that is asked for brings its own."""
    port_id: str | None = None
    fixed_ip: str | None = None
    security_groups: tuple[str, ...] = ()
    """Ids of the groups that its port is in."""
    made: bool = True
    port_security: bool = True
    device_tag: str = ""
    """What its user calls it, which the guest is told with where it is."""


class Tap(msgspec.Struct, frozen=True, kw_only=True, tag="tap"):
    """A NIC behind a tap that the data plane makes. NICs come in the order in which the guest is to see them."""

    port_id: str
    mac: str
    device: str
    """The tap's name."""
    mtu: int = 1450
    model: str = "virtio"
    queues: int = 1


Nic: TypeAlias = Tap


def nics_of(
    ports: Iterable[HostPort], mtus: Mapping[str, int], properties: Mapping[str, str], queues: int
) -> tuple[Nic, ...]:
    """Return the NICs of a server's ports, as its host is told of these, in the order in which the guest sees them.

    `mtus` are those of their networks, `properties` those of its image; each NIC has so many `queues`.
    """
    model = properties.get("hw_vif_model") or VIF_MODELS[0]
    return tuple(
        Tap(
            port_id=port.port_id,
            mac=port.mac,
            device=port.tap,
            mtu=mtus[port.network_id],
            model=model,
            queues=queues,
        )
        for port in sorted(ports, key=lambda port: port.nic)
    )
