"""What users ask for of rescues in one run; what goes wrong just then is what goes wrong in rebuilds."""

from __future__ import annotations

from random import Random

from floe.simulation.plan_rebuilt import fault
from floe.simulation.shape import REQUESTS, Event, Plan

_DEEDS = {"turn": 8, "turn-twice": 1, "turn-and-delete": 1}


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Rescues and their ends in some of the runs, with changes of power beside them, and faults of what they need."""
    if dice.random() < 0.5:
        return []
    events, pick = [], dice.randrange(100)
    for _ in range(dice.choice((1, 2, 4, 6))):
        at = dice.uniform(3.0, REQUESTS + 2.0)
        do = dice.choices(tuple(_DEEDS), tuple(_DEEDS.values()))[0]
        args = {"do": do, "pick": pick, "other": dice.randrange(100)}
        events.append(Event(at=at, what="rescue", args=args))
        if dice.random() < 0.3:
            power = {"pick": pick, "rows": [dice.randrange(9) for _ in range(2)], "between": dice.choice((0.0, 0.3))}
            events.append(Event(at=at + dice.choice((-0.5, 0.1, 0.5, 2.0)), what="guest-power", args=power))
        if dice.random() < 0.5:
            events.append(fault(dice, plan, at))
    return events
