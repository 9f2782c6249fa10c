"""A data plane in memory: it remembers what was applied, and fails or waits where it is told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from floe.core.host_network import HostNetwork
from floe.core.nic_limits import NIC_LIMITS_TRAIT
from floe.dataplane.checks import METADATA_ADDRESS, served_subnets, sound_part
from floe.dataplane.protocol import MetadataAddress, PortsFailure

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class FakeScript:
    """What goes wrong, and how long things take.

    `faults` maps an id to the reason why it cannot be made: a port's, a network's (which takes its ports along), a
    router's, or a tap's name. `failure` is raised by every `apply` and nothing is changed. `delay` seconds pass in
    each. Without `limiting` it is a host that cannot limit NICs.
    """

    faults: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None
    delay: float = 0.0
    limiting: bool = True


class FakePlane:
    """Implements `DataPlane` without a network; `applied` is what the host looks like now."""

    def __init__(self, script: FakeScript | None = None, sleep: Sleep = asyncio.sleep) -> None:
        self.script = script or FakeScript()
        self.applied = HostNetwork()
        self.rounds = 0
        """How many times `apply` was asked for."""
        self._latest = 0
        self._complete: tuple[HostNetwork, HostNetwork] | None = None
        """What was asked for and made without a fault: to be asked for it again changes nothing."""
        self._sleep = sleep

    async def open(self) -> None:
        """There is nothing to check."""

    def traits(self) -> tuple[str, ...]:
        """Say whether it can limit NICs."""
        return (NIC_LIMITS_TRAIT,) if self.script.limiting else ()

    async def close(self) -> None:
        """There is nothing to let go."""

    async def apply(self, network: HostNetwork) -> None:
        """Take `network` as it is, less what the script lets fail."""
        self.rounds += 1
        round_ = self.rounds
        if self.script.delay:
            await self._sleep(self.script.delay)
        if self.script.failure is not None:
            raise self.script.failure
        faults = self.script.faults
        if self._complete is not None and not faults:
            asked, made = self._complete
            if self.applied is made and network == asked:
                self._latest = round_
                return
        sound, problems = sound_part(network, limiting=self.script.limiting)
        networks, ports, routers = self._refused(network, problems) if problems or faults else ({}, {}, {})
        if round_ > self._latest:  # a later call may have been faster
            self._latest = round_
            self.applied = HostNetwork(
                generation=network.generation,
                segments=tuple(x for x in sound.segments if x.network_id not in networks)
                if networks
                else sound.segments,
                ports=tuple(x for x in sound.ports if x.port_id not in ports) if ports else sound.ports,
                groups=network.groups,
                routers=tuple(x for x in sound.routers if x.router_id not in faults) if faults else sound.routers,
                queued=network.queued,
                limited=network.limited,
            )
            self._complete = None if ports or networks or routers else (network, self.applied)
        if ports or networks or routers:
            reasons = [*networks.values(), *ports.values(), *routers.values()]
            raise PortsFailure(
                detail="\n".join(reasons), ports=ports, networks=networks, routers=routers, first=reasons[0]
            )

    def _refused(
        self, network: HostNetwork, problems: dict[str, str]
    ) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """Return the networks, ports and routers that cannot be made, and why."""
        faults = self.script.faults
        networks = {
            segment.network_id: reason
            for segment in network.segments
            if (reason := problems.get(segment.network_id) or faults.get(segment.network_id))
        }
        ports = {
            port.port_id: reason
            for port in network.ports
            if (
                reason := problems.get(port.port_id)
                or faults.get(port.port_id)
                or faults.get(port.tap)
                or networks.get(port.network_id)
            )
        }
        routers = {
            router.router_id: reason
            for router in network.routers
            if (reason := problems.get(router.router_id) or faults.get(router.router_id))
        }
        return networks, ports, routers

    async def drift(self, network: HostNetwork) -> list[str]:
        """Return what `applied` has too much, too little, or otherwise."""
        found = []
        for what, should, does in (
            ("port", {x.port_id: x for x in network.ports}, {x.port_id: x for x in self.applied.ports}),
            ("network", {x.network_id: x for x in network.segments}, {x.network_id: x for x in self.applied.segments}),
            ("security group", {x.group_id: x for x in network.groups}, {x.group_id: x for x in self.applied.groups}),
            ("limit of port", network.limited, self.applied.limited),
            ("router", {x.router_id: x for x in network.routers}, {x.router_id: x for x in self.applied.routers}),
        ):
            found += [f"{what} {ident} is missing" for ident in sorted(should.keys() - does.keys())]
            found += [f"{what} {ident} is left" for ident in sorted(does.keys() - should.keys())]
            both = sorted(should.keys() & does.keys())
            found += [f"{what} {ident} is out of date" for ident in both if should[ident] != does[ident]]
        return found

    async def metadata_addresses(self) -> list[MetadataAddress]:
        """Return an address per served segment and router, in no namespace: only `metadata_socket` can listen there."""
        return [
            MetadataAddress(network_id=segment.network_id, namespace=None, address=METADATA_ADDRESS)
            for segment in self.applied.segments
            if served_subnets(segment)
        ] + [
            MetadataAddress(router_id=router.router_id, namespace=None, address=METADATA_ADDRESS)
            for router in self.applied.routers
            if router.interfaces
        ]

    async def metadata_socket(self, address: MetadataAddress) -> socket.socket:
        """Return a listening socket on the loopback, at a port that the kernel chooses."""
        made = socket.create_server(("127.0.0.1", 0))
        made.setblocking(False)
        return made

    async def remove_all(self) -> None:
        """Forget everything."""
        self.applied = HostNetwork()
