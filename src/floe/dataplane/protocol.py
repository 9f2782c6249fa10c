"""What a data plane does for the agent of its host."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Protocol

import msgspec

from floe.core.errors import HostFailure
from floe.core.host_network import HostNetwork


class MetadataAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where guests of a network ask for metadata: a namespace (None: the host's own) and an address.

    At a router ask those of the networks it has an interface on, each from a subnet of that interface.
    """

    network_id: str = ""
    router_id: str = ""
    """One of the two says whose it is."""
    namespace: str | None
    address: str
    port: int = 80
    namespace_id: int = 0
    """Which namespace of that name it is: another number means it was made anew; so must the socket be."""


class PortsFailure(HostFailure):
    """Some ports, networks or routers of a host could not be made; all the others are as they should be.

    `ports`, `networks` and `routers` map the ids of those concerned to the reason, and a port is named, too, when its
    network is. Of a router named here a part may be in place. A caller whose own ids are not among them got what it
    wanted.
    """

    def __init__(
        self,
        *,
        detail: str,
        ports: Mapping[str, str],
        networks: Mapping[str, str],
        routers: Mapping[str, str],
        first: str,
    ) -> None:
        super().__init__(
            f"{len(ports)} port(s), {len(networks)} network(s) and {len(routers)} router(s) of this host could not be "
            f"made: {first}",
            stage="ports",
            detail=detail,
        )
        self.routers = dict(routers)
        self.ports = dict(ports)
        self.networks = dict(networks)


class DataPlane(Protocol):
    """Makes the host's network what it should be.

    Shipped: `dataplane.linux.plane.LinuxPlane`, `dataplane.fake.FakePlane`.
    All errors are `HostFailure` with stage `ports`.
    """

    async def open(self) -> None:
        """Check that the host can do it (programs, kernel settings) and find what an earlier run left."""
        ...

    def traits(self) -> tuple[str, ...]:
        """Return the traits of what this host can do and others cannot, once it is open."""
        ...

    async def close(self) -> None:
        """Let go; taps, rules and DHCP go on serving the guests that run."""
        ...

    async def apply(self, network: HostNetwork) -> None:
        """Make the whole host look like this: atomically where rules are concerned, idempotently in all.

        What is Floe's and not in `network` is removed; what is not Floe's is never touched. Rules of a new
        port are in force before its tap can carry a packet. Of concurrent calls the latest counts, and one
        round of work may answer several. Raises `PortsFailure` when a part of it could not be done.
        """
        ...

    async def drift(self, network: HostNetwork) -> list[str]:
        """Return how the host differs from `network`, a sentence each; changes nothing."""
        ...

    async def metadata_addresses(self) -> list[MetadataAddress]:
        """Return where metadata has to be served, after the latest `apply`."""
        ...

    async def metadata_socket(self, address: MetadataAddress) -> socket.socket:
        """Return a listening TCP socket at `address`, inside its namespace; it serves from any event loop."""
        ...

    async def remove_all(self) -> None:
        """Remove all of Floe's from the host: devices, namespaces, rules, DHCP servers and their files."""
        ...


def failure_of(network: HostNetwork, problems: dict[str, str]) -> PortsFailure:
    """Return the failure that tells problems, which are by the id of a port, network or router."""
    networks = {
        segment.network_id: problems[segment.network_id]
        for segment in network.segments
        if segment.network_id in problems
    }
    routers_failed = {
        router.router_id: problems[router.router_id] for router in network.routers if router.router_id in problems
    }
    ports = {ident: text for ident, text in problems.items() if ident not in networks.keys() | routers_failed.keys()}
    for port in network.ports:
        if port.network_id in networks:
            ports.setdefault(port.port_id, networks[port.network_id])
    return PortsFailure(
        detail="\n".join(problems.values()),
        ports=ports,
        networks=networks,
        routers=routers_failed,
        first=next(iter(problems.values())),
    )
