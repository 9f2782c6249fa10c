"""What users ask for of deletes that are put off in one run, and what goes wrong just then."""

from __future__ import annotations

from random import Random

from floe.simulation.shape import REQUESTS, Event, Plan

DEEDS = {"delete": 3, "restore": 3, "delete-and-restore": 2, "delete-twice": 1, "delete-and-force": 1}
"""What they ask for, and how often, by weight."""


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Bursts of requests in some of the runs, and crashes in the middle of them."""
    if dice.random() < 0.6:
        return []
    events = []
    for _ in range(dice.choice((2, 4, 6))):
        at, pick = dice.uniform(3.0, REQUESTS + 2.0), dice.randrange(100)
        for do in dice.choices(tuple(DEEDS), tuple(DEEDS.values()), k=dice.choice((1, 2))):
            args = {"do": do, "pick": pick, "other": dice.randrange(100), "seconds": dice.choice((1.0, 4.0, 1e6))}
            events.append(Event(at=at + dice.choice((0.0, 0.3, 2.0)), what="put-off", args=args))
        if dice.random() < 0.4:
            host, down = dice.choice(plan.host_names), dice.choice((0.3, 2.0, 8.0))
            role = "floe" if plan.together else f"agent-{host}"
            point = dice.choice(("power.before", "power.after", "bus.arrive", "bus.answer"))
            args = {"role": role, "point": point, "count": 1, "down": down}
            events.append(Event(at=at, what="crash", args=args))
    return events
