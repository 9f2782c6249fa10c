"""What users put away in one run, and what goes wrong just then."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from floe.simulation.shape import REQUESTS, Event, Plan

_FIRST = {"shelve": 6, "shelve-and-drop": 1}
_NEXT = {"unshelve": 6, "unshelve-and-drop": 1, "offload": 1}
_POINTS = (
    *("copy.after", "send.after", "power.after", "destroy.before", "destroy.after", "disk.after", "start.after"),
    *("file", "file", "bus.arrive", "bus.answer"),
)
_OPERATIONS = ("copy_disk", "end", "destroy", "create_overlay", "start")


def requests(dice: Random, plan: Plan) -> list[Event]:
    """Servers that are shelved and unshelved in some of the runs, and faults of what that needs."""
    return there_and_back(dice, plan, "shelve", _FIRST, _NEXT)


def there_and_back(
    dice: Random, plan: Plan, what: str, first: Mapping[str, int], then: Mapping[str, int]
) -> list[Event]:
    """Servers with which in some of the runs one thing is done and then another; and hosts that fail or die then.

    Of `what` is done each has its weight.
    """
    if dice.random() < 0.5:
        return []
    events = []
    for _ in range(dice.choice((1, 2, 3))):
        at, pick = dice.uniform(3.0, REQUESTS), dice.randrange(100)
        for deeds, later in ((first, 0.0), (then, dice.choice((0.5, 2.0, 4.0)))):
            do = dice.choices(tuple(deeds), tuple(deeds.values()))[0]
            args = {"do": do, "pick": pick, "other": dice.randrange(100)}
            events.append(Event(at=at + later, what=what, args=args))
        if dice.random() < 0.6:
            events.append(_fault(dice, plan, at + dice.choice((0.0, 0.5, 2.0))))
    return events


def _fault(dice: Random, plan: Plan, at: float) -> Event:
    host, down = dice.choice(plan.host_names), dice.choice((0.3, 2.0, 8.0))
    if dice.random() < 0.4:
        args = {"host": host, "operation": dice.choice(_OPERATIONS), "after": 0, "times": 1}
        return Event(at=at, what="hypervisor", args=args)
    role = "floe" if plan.together else f"agent-{host}"
    return Event(at=at, what="crash", args={"role": role, "point": dice.choice(_POINTS), "count": 1, "down": down})
