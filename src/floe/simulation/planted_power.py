"""Planted bugs in the power of guests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from floe.agent import power as agent_power
from floe.agent.ledger import Ledger
from floe.agent.power import GuestPower
from floe.agent.wishes import Wishes
from floe.core import ahead
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.messages import ChangePower
from floe.core.power import Deed, Power, Wanted, deeds
from floe.hypervisors.protocol import GuestFiles, Hypervisor
from floe.simulation.planting import Planted, both, otherwise, patched, through
from floe.store import actions
from floe.store.engine import Connection

_deeds = deeds


def _boots_again(state: PowerState, boots: int, wanted: Wanted, booted: int) -> Any:
    """Take "running" for an order to boot."""
    if wanted.power is Power.RUNNING and wanted.boots > 1 and state is PowerState.RUNNING:
        return (Deed.END, Deed.START)
    return _deeds(state, boots, wanted, booted)


def _no_answer(self: Wishes, server_id: str, action_id: str) -> None:
    """Remember no answer."""


def _follow_nothing(self: Ledger, server_id: str, state: PowerState) -> None:
    """Want what was wanted, whatever the guest does."""


_starts = itertools.count()


def _always_anew(host: str, _boots: int) -> str:
    """Take each start of the agent for one of the machine."""
    return f"{host} {next(_starts)}"


def _nobody_is_back(_conn: Connection, host: str) -> int:
    """Have nothing taken up that waits for a host."""
    return 0


async def _bring_nothing_back(self: GuestPower, guests: Iterable[GuestState]) -> list[GuestState]:
    """Leave guests as the machine's start finds them."""
    return list(guests)


async def _bring_all_back(self: GuestPower, guests: Iterable[GuestState]) -> list[GuestState]:
    """Start all guests, whatever they did before."""
    found = list(guests)
    for guest in found:
        self.ledger.wishes.follow(guest.server_id, Power.RUNNING)
    return await _bring_back(self, found)


_bring_back = GuestPower.bring_back


def _nothing_wanted(self: Wishes, command: ChangePower) -> None:
    """Do what is said, and do not write down that it was said."""


def _nothing_followed(self: Wishes, server_id: str, power: Power) -> None:
    """Nor what comes of it."""


def _resumes_afresh(hypervisor: Hypervisor) -> Any:
    async def resume(guest: GuestSpec, files: GuestFiles) -> None:
        """Boot what was suspended, instead of letting it go on."""
        await hypervisor.start(guest, files)

    return otherwise(hypervisor, resume=resume)


def _no_time(now: datetime) -> int:
    """Say the same at any time."""
    return 0


POWER = (
    Planted(
        "a-wait-without-end",
        "what waits for a host that is down is not taken up when that is back",
        patched((actions, "back", _nobody_is_back)),
    ),
    Planted(
        "not-brought-back",
        "guests that ran when their machine lost its power stay off when it is back",
        patched((GuestPower, "bring_back", _bring_nothing_back)),
        needs="power",
    ),
    Planted(
        "all-brought-back",
        "guests that were off when their machine lost its power are started when it is back",
        patched((GuestPower, "bring_back", _bring_all_back)),
        needs="power",
    ),
    Planted(
        "wish-unwritten",
        "a host does not write down what a guest should be, so that its own start knows what was before",
        patched((Wishes, "want", _nothing_wanted), (Wishes, "follow", _nothing_followed)),
        needs="power",
    ),
    Planted(
        "resumed-afresh",
        "a suspended guest is booted when it should go on where it was",
        through(hypervisor=_resumes_afresh),
        needs="guest-power",
    ),
    Planted(
        "reboots-twice",
        "a reboot that is asked for again is done again",
        both(
            patched((agent_power, "deeds", _boots_again)),
            patched((Wishes, "answer", _no_answer)),
        ),
        needs="guest-power",
    ),
    Planted(
        "only-counted",
        "what hosts remember is numbered by counting what is there, so that an older copy of it counts all again",
        patched((ahead, "of_clock", _no_time)),
        needs="older-copy",
    ),
    Planted(
        "every-start-is-the-machines",
        "a guest that shut itself down is started when only the agent was",
        both(
            patched((Ledger, "follow", _follow_nothing)),
            through(boot_id=_always_anew),
        ),
        needs="guest-dies",
    ),
)
