"""Planted bugs in the power of guests."""

from __future__ import annotations

import itertools
from typing import Any

from floe.agent import power as agent_power
from floe.agent.ledger import Ledger
from floe.agent.wishes import Wishes
from floe.core.guests import PowerState
from floe.core.power import Deed, Power, Wanted, deeds
from floe.simulation.planting import Planted, both, patched, through
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


POWER = (
    Planted(
        "a-wait-without-end",
        "what waits for a host that is down is not taken up when that is back",
        patched((actions, "back", _nobody_is_back)),
    ),
    Planted(
        "reboots-twice",
        "a reboot that is asked for again is done again",
        both(
            patched((agent_power, "deeds", _boots_again)),
            patched((Wishes, "answer", _no_answer)),
        ),
    ),
    Planted(
        "every-start-is-the-machines",
        "a guest that shut itself down is started when only the agent was",
        both(
            patched((Ledger, "follow", _follow_nothing)),
            through(boot_id=_always_anew),
        ),
    ),
)
