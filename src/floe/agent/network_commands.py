"""The commands by which a host is told what its network should be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from floe.agent.ledger import Ledger
from floe.agent.ports import Ports
from floe.core.messages import (
    ApplyNetwork,
    ChangeMembers,
    ChangeRouters,
    MembersChanged,
    NetworkApplied,
)


def handlers(ledger: Ledger, ports: Ports, follow: Callable[[], None]) -> dict[type, Callable[[Any], Awaitable[Any]]]:
    """Return what does each of them, by its type: remember it, and have data plane and guests `follow`."""

    async def apply(command: ApplyNetwork) -> NetworkApplied:
        known = ledger.network.ports.keys()
        fresh = frozenset(port.port_id for port in command.network.ports if port.port_id not in known)
        ledger.replace_network(command.network)
        await ports.plug(fresh & ledger.network.ports.keys())
        follow()
        return NetworkApplied(generation=ledger.network.generation)

    async def change_routers(command: ChangeRouters) -> NetworkApplied:
        ledger.change_routers(command.change)
        await ports.plug()
        return NetworkApplied(generation=ledger.network.generation)

    async def change_members(command: ChangeMembers) -> MembersChanged:
        before = ledger.network.members_at
        taken = ledger.change_members(command.change)
        if taken:
            await ports.plug()
        return MembersChanged(taken=taken, at=before)

    return {ApplyNetwork: apply, ChangeRouters: change_routers, ChangeMembers: change_members}
