"""What users ask for of rebuilds in one run, and what goes wrong just then."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from floe.simulation.shape import REQUESTS, Event, Plan

_DEEDS = {"rebuild": 6, "rebuild-twice": 1, "rebuild-and-delete": 2}
_OPERATIONS = ("adopt_image", "create_overlay", "end", "start", "start", "find")
_POINTS = (
    *("disk.before", "disk.after", "power.before", "power.after", "start.before", "start.after"),
    *("file", "file", "bus.arrive", "bus.answer"),
)


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Rebuilds in some of the runs, with changes of power beside them, and faults of what they need."""
    if dice.random() < 0.5:
        return []
    events = []
    for _ in range(dice.choice((1, 2, 3, 5))):
        at, pick = dice.uniform(3.0, REQUESTS + 2.0), dice.randrange(100)
        do = dice.choices(tuple(_DEEDS), tuple(_DEEDS.values()))[0]
        args = {"do": do, "pick": pick, "other": dice.randrange(100)}
        events.append(Event(at=at, what="rebuild", args=args))
        if dice.random() < 0.4:
            power = {"pick": pick, "rows": [dice.randrange(9) for _ in range(2)], "between": dice.choice((0.0, 0.3))}
            events.append(Event(at=at + dice.choice((-0.5, 0.1, 0.5, 2.0)), what="guest-power", args=power))
        if dice.random() < 0.5:
            events.append(fault(dice, plan, at))
    return events


def fault(dice: Random, plan: Plan, at: float, operations: Sequence[str] = _OPERATIONS) -> Event:
    """Return something that goes wrong where a disk is made anew."""
    host = dice.choice(plan.host_names)
    what = dice.choice(("crash", "crash", "hypervisor", "hypervisor", "disk-full", "power", "forget"))
    if what == "hypervisor":
        operation = dice.choice(operations)
        return Event(at=at, what=what, args={"host": host, "operation": operation, "after": 0, "times": 1})
    if what in {"disk-full", "power", "forget"}:
        seconds = dice.choice((0.5, 2.0, 5.0))
        return Event(at=at + dice.choice((0.0, 0.2, 0.5)), what=what, args={"host": host, "seconds": seconds})
    role = "floe" if plan.together else f"agent-{host}"
    down = dice.choice((0.3, 2.0, 8.0))
    args = {"role": role, "point": dice.choice(_POINTS), "count": dice.choice((1, 1, 2, 3)), "down": down}
    return Event(at=at, what=what, args=args)
