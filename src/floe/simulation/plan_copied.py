"""What users ask for of images of servers in one run, and what goes wrong just then."""

from __future__ import annotations

from random import Random

from floe.simulation.shape import REQUESTS, Event, Plan

DEEDS = {"image": 4, "image-twice": 1, "backup": 4, "image-and-delete": 2, "image-and-drop": 2}
"""What they ask for, and how often, by weight."""
_POINTS = ("copy.before", "copy.after", "send.before", "send", "send.after", "file", "bus.arrive", "bus.answer")


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Bursts of requests in some of the runs, and faults of what they need."""
    if dice.random() < 0.5:
        return []
    events = []
    for _ in range(dice.choice((1, 2, 3, 5))):
        at, pick = dice.uniform(3.0, REQUESTS + 2.0), dice.randrange(100)
        for do in dice.choices(tuple(DEEDS), tuple(DEEDS.values()), k=dice.choice((1, 2))):
            args = {"do": do, "pick": pick, "other": dice.randrange(100)}
            events.append(Event(at=at + dice.choice((0.0, 0.3, 1.0)), what="copy", args=args))
        if dice.random() < 0.5:
            events.append(_fault(dice, plan, at))
    return events


def _fault(dice: Random, plan: Plan, at: float) -> Event:
    host, down = dice.choice(plan.host_names), dice.choice((0.3, 2.0, 8.0))
    if dice.random() < 0.3:
        args = {"host": host, "operation": "copy_disk", "after": 0, "times": 1}
        return Event(at=at, what="hypervisor", args=args)
    role = "floe" if plan.together else f"agent-{host}"
    return Event(at=at, what="crash", args={"role": role, "point": dice.choice(_POINTS), "count": 1, "down": down})
