"""The NICs of guests that are there: given and taken while they run, and brought back to what the network says."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import msgspec

from floe.agent.ledger import Ledger
from floe.agent.ports import Ports
from floe.agent.power import GuestPower
from floe.agent.steps import Steps
from floe.core.errors import HostFailure
from floe.core.guest_hardware import queues_of
from floe.core.guests import GuestSpec, PowerState
from floe.core.host_network import HostNetwork
from floe.core.host_network_state import HostNetworkState
from floe.core.messages import ChangeNics, NicsChanged
from floe.core.nic_limits import limits_of
from floe.core.nics import Nic, Tap, nics_of
from floe.core.ports import tap_name
from floe.hypervisors.protocol import Hypervisor

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.5
_ASK_EVERY = 10.0
"""Seconds between looks whether a guest let go of a NIC, and after which it is asked again: it may have been too early
in its boot to listen."""
_TAKEN_BACK = 10.0
"""Seconds that a guest has to let go of a NIC which it was given in vain."""


class GaveWay(Exception):
    """Something else waits for the server while its guest is waited for: that goes first, and then this again."""

    def __init__(self, patience: float) -> None:
        super().__init__(f"{patience:g} s of patience are left")
        self.patience = patience


class GuestNics(msgspec.Struct, frozen=True):
    """Changes the NICs of guests on one host; whoever calls holds the server's lock."""

    ledger: Ledger
    power: GuestPower
    ports: Ports
    hypervisor: Hypervisor
    sleep: Callable[[float], Awaitable[None]]

    async def change(self, command: ChangeNics, steps: Steps, others: Callable[[], bool]) -> NicsChanged:
        """Give a guest NICs and take others; `others` says whether something else waits for the server.

        Raises NotFound, GaveWay, and HostFailure where that cannot be: then it has the NICs that it had.
        """
        guest = await self.power.known(command, steps)
        if command.attach:
            await self._attach(guest, command, steps)
        if command.detach:
            await self._detach(self.ledger.guests[command.server_id], command, steps, others)
        return NicsChanged(steps=tuple(steps.done))

    def astray(self) -> list[str]:
        """Return the servers whose guests have NICs without a port here, or not one for each."""
        ports: dict[str, set[str]] = {}
        for port in self.ledger.network.ports.values():
            ports.setdefault(port.server_id, set()).add(port.port_id)
        return [
            server_id
            for server_id, guest in self.ledger.guests.items()
            if {nic.port_id for nic in guest.nics} != ports.get(server_id, set()) and self.ledger.is_built(server_id)
        ]

    async def follow(self, server_id: str, held: Sequence[Nic] = ()) -> Sequence[Nic]:
        """Have a guest have a NIC for each of its ports here and no others, without waiting for it to let go of any.

        Returns those that it holds on to, `held` are those that were returned before.
        """
        guest, network = self.ledger.guests.get(server_id), self.ledger.network
        if guest is None or not self.ledger.is_built(server_id):
            return ()
        own = [port for port in network.ports.values() if port.server_id == server_id]
        mtus = {segment.network_id: segment.mtu for segment in network.segments.values()}
        wanted = nics_of(own, mtus, guest.image.properties, _queues(guest))
        there = {nic.port_id for nic in guest.nics}
        gone = [nic for nic in (*guest.nics, *held) if nic.port_id not in {each.port_id for each in wanted}]
        found = await self.hypervisor.find(server_id)
        if found is not None and found.power_state is PowerState.SUSPENDED:
            return held  # its NICs are on the disk with its memory, and follow once it goes on
        held = [nic for nic in gone if not await self.hypervisor.detach_nic(server_id, nic)]
        for nic in wanted:
            if nic.port_id not in there:
                await self.ports.plug(frozenset({nic.port_id}))
                await self.hypervisor.attach_nic(guest, nic)
        # Last: an agent that dies before finds it astray again. What is held is not the guest's: it starts without.
        self.ledger.rewire(ChangeNics(action_id="", server_id=server_id, network=HostNetwork()), wanted)
        return held

    async def _attach(self, guest: GuestSpec, command: ChangeNics, steps: Steps) -> None:
        """Have the ports, and then their NICs. What fails is taken back."""
        brought = [port for port in command.network.ports if port.port_id in command.attach]
        mtus = {segment.network_id: segment.mtu for segment in command.network.segments}
        own = [nic for nic in guest.nics if nic.port_id not in command.attach]
        new = nics_of(brought, mtus, guest.image.properties, _queues(guest))
        self.ledger.rewire(command, (*own, *new))
        try:
            async with steps.step("ports"):
                await self.ports.plug(frozenset(command.attach))
            async with steps.step("guest"):
                for nic in new:
                    await self.hypervisor.attach_nic(self.ledger.guests[guest.server_id], nic)
        except HostFailure:
            await self._take_back(command, own, new)
            raise

    async def _take_back(self, command: ChangeNics, own: Sequence[Nic], new: Sequence[Nic]) -> None:
        try:
            for nic in new:  # an attempt before may have given it to the guest
                await self._let_go(command.server_id, nic, _TAKEN_BACK, lambda: False)
            self.ledger.rewire(command, own, gone=command.attach)
            await self.ports.plug()
        except HostFailure as error:
            log.error("cleaning up after a NIC that failed went wrong: %s", error.detail or error.message)

    async def _detach(self, guest: GuestSpec, command: ChangeNics, steps: Steps, others: Callable[[], bool]) -> None:
        """Have the guest let go of NICs, and then remove their ports; not of one that came back since that was said."""
        gone = [port for port in command.detach if not _is_newer(self.ledger.network, port, command.network.generation)]
        async with steps.step("guest"):
            there = {nic.port_id: nic for nic in guest.nics}
            for port_id in gone:
                # The host may have been told of the guest anew, without what it was to lose, and the guest has it.
                nic = there.get(port_id) or Tap(port_id=port_id, mac="", device=tap_name(port_id))
                await self._let_go(guest.server_id, nic, command.patience, others)
        async with steps.step("ports"):
            self.ledger.rewire(command, [nic for nic in guest.nics if nic.port_id not in gone], gone=gone)
            await self.ports.plug()

    async def _let_go(self, server_id: str, nic: Nic, patience: float, others: Callable[[], bool]) -> None:
        """Ask a guest for a NIC until it has let go of it.

        Raises HostFailure once there is no more patience, and GaveWay where there is and others wait.
        """
        waited = since = 0.0
        while not await self.hypervisor.detach_nic(server_id, nic, ask=since == 0.0):
            if waited >= patience:
                raise HostFailure(
                    f"The guest did not let go of the NIC of port {nic.port_id} in {patience:g} s: is it still booting,"
                    " or does its kernel not know how to?",
                    stage="guest",
                )
            await self.sleep(_LOOK_EVERY)
            waited += _LOOK_EVERY
            if others():
                raise GaveWay(patience - waited)
            since = 0.0 if since + _LOOK_EVERY >= _ASK_EVERY else since + _LOOK_EVERY


def of_guests(network: HostNetwork, guests: Collection[GuestSpec]) -> HostNetwork:
    """Return a host's network with what its guests alone say of ports: whose NICs have several queues, or limits."""
    several = queued(guests)
    limits = {guest.server_id: found for guest in guests if (found := limits_of(guest.extra_specs)) is not None}
    if not several and not limits:
        return network
    limited = {port.port_id: limits[port.server_id] for port in network.ports if port.server_id in limits}
    return msgspec.structs.replace(network, queued=several, limited=limited)


def queued(guests: Iterable[GuestSpec]) -> frozenset[str]:
    """Return the ports of guests whose NICs have several queues."""
    return frozenset(nic.port_id for guest in guests for nic in guest.nics if nic.queues > 1)


def _queues(guest: GuestSpec) -> int:
    return queues_of(guest.extra_specs, guest.image.properties, guest.vcpus)


def _is_newer(network: HostNetworkState, port_id: str, generation: int) -> bool:
    return network.learnt.get(port_id, -1) > generation
