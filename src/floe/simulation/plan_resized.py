"""What users ask for of resizes in one run, and what goes wrong just then."""

from __future__ import annotations

from random import Random
from typing import Any

from floe.simulation import plan_rebuilt
from floe.simulation.shape import REQUESTS, Event, Plan

_FIRST = {"resize": 12, "resize-and-resize": 1, "resize-and-drop": 1, "resize-and-confirm": 1, "resize-and-revert": 1}
_NEXT = {
    "confirm": 6,
    "revert": 6,
    "confirm-and-drop": 1,
    "revert-and-drop": 1,
    "confirm-and-revert": 1,
    "revert-and-confirm": 1,
    "confirm-and-confirm": 1,
    "revert-and-revert": 1,
    "confirm-old": 2,
}
_OPERATIONS = ("clone_disk", "clone_disk", "create_blank", "end", "start", "start", "find", "shut_down")
_POINTS = ("db.before", "db.after", "db.after", "bus.send", "sleep")


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Servers that are resized in some of the runs, and what is decided of each; faults of what that needs."""
    if dice.random() < 0.5:
        return []
    events = []
    for _ in range(dice.choice((1, 2, 3, 4))):
        at, pick = dice.uniform(3.0, REQUESTS), dice.randrange(100)
        later = dice.choice((1.0, 2.0, 4.0))
        asked = [(_FIRST, at), *((_NEXT, at + later * number) for number in range(1, dice.choice((2, 3, 4))))]
        for deeds, when in asked:
            do = dice.choices(tuple(deeds), tuple(deeds.values()))[0]
            args = {"do": do, "pick": pick, "other": dice.randrange(100), "after": dice.randrange(8) * 0.05}
            events.append(Event(at=when, what="resize", args=args))
            if dice.random() < 0.4 and when < plan.healed:
                events.append(_fault(dice, plan, when))
        if dice.random() < 0.3:
            events.append(_beside(dice, at + dice.choice((0.1, 0.5, later + 0.1))))
    return events


def _beside(dice: Random, at: float) -> Event:
    """Return something else that is asked for of a server."""
    what, pick = dice.choice(("put-off", "guest-power", "rebuild", "rescue", "reset")), dice.randrange(100)
    args: dict[str, dict[str, Any]] = {
        "put-off": {"do": "delete", "pick": pick, "other": 0, "seconds": dice.choice((1.0, 4.0))},
        "guest-power": {"pick": pick, "rows": [dice.randrange(9) for _ in range(2)], "between": 0.3},
        "rebuild": {"do": "rebuild", "pick": pick, "other": dice.randrange(100)},
        "rescue": {"do": "turn", "pick": pick, "other": dice.randrange(100)},
        "reset": {"pick": pick, "active": dice.random() < 0.5},
    }
    return Event(at=at, what=what, args=args[what])


def _fault(dice: Random, plan: Plan, at: float) -> Event:
    """Return something that goes wrong on a host, or the death of whoever conducts."""
    if dice.random() < 0.7:
        return plan_rebuilt.fault(dice, plan, at, _OPERATIONS)
    roles = [role for role in plan.roles if not role.startswith("agent")]
    args = {"role": dice.choice(roles), "point": dice.choice(_POINTS), "count": dice.choice((1, 2, 3, 5, 8))}
    return Event(at=at, what="crash", args={**args, "down": dice.choice((0.3, 2.0, 8.0))})
