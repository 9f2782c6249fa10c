"""Planted bugs in the NICs that servers are given and lose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from floe.agent.nics import GuestNics
from floe.cloud import server_interfaces
from floe.core.nics import Nic
from floe.hypervisors.protocol import Hypervisor
from floe.simulation.planting import Planted, otherwise, patched, through
from floe.store import ports as port_rows
from floe.store.engine import Connection


async def _follow_nothing(self: GuestNics, server_id: str, held: Sequence[Nic] = ()) -> Sequence[Nic]:
    """Leave a guest with the NICs that it has."""
    return ()


def _let_go_of_nothing(conn: Connection, server_id: str, port_id: str, now: datetime) -> None:
    """Have the port stay the server's, on no host."""


def _keep_nothing(conn: Connection, server_id: str, port_id: str, now: datetime) -> None:
    """Leave a port off its host that the guest has."""


def _untie_nothing(conn: Connection, port_ids: Iterable[str]) -> None:
    """Have users' own ports stay a server's that has lost them."""


def _hears_of_none(hypervisor: Hypervisor) -> Any:
    async def detach_nic(server_id: str, nic: Nic, *, ask: bool = True) -> bool:
        """Say that the guest let go, and never ask it."""
        return True

    return otherwise(hypervisor, detach_nic=detach_nic)


WIRED = (
    Planted(
        "nic-unasked",
        "a guest is not asked for the NIC that it loses",
        through(hypervisor=_hears_of_none),
        needs="nic",
    ),
    Planted(
        "nics-follow-nothing",
        "guests keep NICs whose ports went with a network that their host was sent",
        patched((GuestNics, "follow", _follow_nothing)),
        needs="nic",
    ),
    Planted(
        "detach-forgets-the-row",
        "a server that lost a NIC has its port still",
        patched((server_interfaces, "let_go", _let_go_of_nothing)),
        needs="nic",
    ),
    Planted(
        "detach-not-taken-back",
        "a port whose NIC the guest did not let go of stays off its host",
        patched((server_interfaces, "keep", _keep_nothing)),
        needs="nic",
    ),
    Planted(
        "own-port-kept",
        "a user's own port is not free once its server has lost it",
        patched((port_rows, "untie", _untie_nothing)),
        needs="nic",
    ),
)
