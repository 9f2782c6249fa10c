"""What users ask for of the NICs of servers that are there in one run, and what goes wrong just then."""

from __future__ import annotations

from random import Random

from floe.simulation.shape import REQUESTS, Event, Plan

DEEDS = {
    "network": 6, "port": 3, "port-twice": 1, "address": 2, "take": 6, "take-twice": 1, "replace": 1.5,
    "take-and-delete": 1,
}  # fmt: skip
"""What they ask for, and how often, by weight."""
_POINTS = ("nic.before", "nic.after", "file", "bus.arrive", "bus.answer", "plane.before", "plane.after")


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Bursts of requests in some of the runs, with changes of power beside them, and faults of what they need."""
    if dice.random() < 0.5:
        return []
    events = [Event(at=dice.uniform(1.0, 3.0), what="port", args={"pick": number}) for number in range(2)]
    for _ in range(dice.choice((2, 3, 5, 7))):
        at, pick = dice.uniform(3.0, REQUESTS + 2.0), dice.randrange(100)
        for do in dice.choices(tuple(DEEDS), tuple(DEEDS.values()), k=dice.choice((1, 2, 3))):
            args = {"do": do, "pick": pick, "other": dice.randrange(100)}
            events.append(Event(at=at + dice.choice((0.0, 0.0, 0.3, dice.random())), what="nic", args=args))
        if dice.random() < 0.4:
            power = {"pick": pick, "rows": [dice.randrange(9) for _ in range(2)], "between": dice.choice((0.0, 0.3))}
            events.append(Event(at=at + dice.choice((0.0, 0.1, 0.5)), what="guest-power", args=power))
        if dice.random() < 0.4:
            events.append(_fault(dice, plan, at))
    return events


def _fault(dice: Random, plan: Plan, at: float) -> Event:
    host = dice.choice(plan.host_names)
    what = dice.choice(("crash", "crash", "hypervisor", "deaf"))
    if what == "hypervisor":
        operation = dice.choice(("attach_nic", "detach_nic"))
        return Event(at=at, what=what, args={"host": host, "operation": operation, "after": 0, "times": 1})
    if what == "deaf":
        return Event(at=at, what=what, args={"host": host, "seconds": dice.choice((1.0, 4.0))})
    role = "floe" if plan.together else f"agent-{host}"
    down = dice.choice((0.3, 2.0, 8.0))
    return Event(at=at, what=what, args={"role": role, "point": dice.choice(_POINTS), "count": 1, "down": down})
