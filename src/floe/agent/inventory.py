"""What a host tells of itself."""

from __future__ import annotations

from floe.agent.ledger import Ledger
from floe.core.guests import GuestState
from floe.core.messages import HostUp
from floe.hypervisors.protocol import HypervisorFacts


def host_up(
    host: str,
    facts: HypervisorFacts,
    network_traits: tuple[str, ...],
    guests: list[GuestState],
    files: tuple[str, ...],
    ledger: Ledger,
    *,
    address: str,
    availability_zone: str,
) -> HostUp:
    """Return the event that says what a host is and has, and which guests, and files of none, it found."""
    return HostUp(
        host=host,
        hypervisor_type=facts.type,
        hypervisor_version=facts.version,
        inventories=facts.inventories,
        traits=(*facts.traits, *network_traits),
        cpu_info=facts.cpu_info or {},
        address=address,
        availability_zone=availability_zone,
        guests=tuple(sorted(guests, key=lambda guest: guest.server_id)),
        files=files,
        network_generation=ledger.network.generation,
        network_newest=ledger.network.newest,
        members_at=ledger.network.members_at,
        members_newest=ledger.network.members_newest,
        told=ledger.told(),
    )
