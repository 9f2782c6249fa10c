"""What servers move in one run, and what goes wrong just then."""

from __future__ import annotations

from random import Random

from floe.simulation.plan_shelved import there_and_back
from floe.simulation.shape import Event, Plan

_FIRST = {"migrate": 6, "migrate-and-drop": 1}
_NEXT = {"confirm": 4, "revert": 4, "confirm-and-drop": 1, "revert-and-drop": 1}


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Servers that are migrated in some of the runs, and stay or go back; and faults of what that needs."""
    return there_and_back(dice, plan, "move", _FIRST, _NEXT)
