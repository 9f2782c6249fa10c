"""What goes wrong between programs that share nothing but a bus and a database: partitions, lateness, clocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from floe.simulation.shape import FAULTS, LONG, Event, Plan

MOST_FRAME, SMALL_FRAME = 1024 * 1024, 1024 + 500
"""Of a frame: what NATS takes, and so little that whatever is told of a host comes in parts."""
VERY_LATE = 30.0
"""Seconds that a message is late for which whoever sent it has long given up."""
OLDER_THAN_ALL = 65.0
"""Seconds that a message is late which is older than any deadline there is, that of a build among them."""
_LONG = 0.12
"""How many of the runs apart are long ones."""

_KINDS = {
    "unplug": 3,
    "no-database": 3,
    "slow-bus": 1.5,
    "slow-database": 1.5,
    "very-late": 4,
    "overtaken": 3,
    "tick": 2,
    "set-back": 1.5,
}
"""What happens, and how often, by weight."""
_SOME = {"tick"}
"""What may happen to agents, too; they have no database, and `partition` cuts them off the bus."""


def apart(plan: Plan) -> Plan:
    """Return a plan in which programs on their own mostly have the bus between machines, and clocks of their own."""
    if plan.together:
        return plan
    frame = Random(f"{plan.seed} frames").choice((0, MOST_FRAME, MOST_FRAME, SMALL_FRAME))  # noqa: S311
    long = Random(f"{plan.seed} long").random() < _LONG  # noqa: S311
    clocks = Random(f"{plan.seed} clocks").random() < 0.7  # noqa: S311
    return replace(plan, frame=frame, apart=clocks, healed=LONG if long else plan.healed)


def events_apart(dice: Random, plan: Plan, busy: Sequence[float]) -> list[Event]:
    """Give what happens in a run, mostly when there is something to disturb; nothing where all is one process."""
    if plan.together or dice.random() < 0.4:
        return []
    events = []
    for _ in range(dice.choice((1, 1, 2, 3))):
        at = (
            dice.choice(busy) + plan.slow * dice.uniform(-0.05, 0.8) if dice.random() < 0.7 else dice.uniform(0.8, 12.0)
        )
        kinds = {what: weight for what, weight in _KINDS.items() if plan.frame or what not in {"very-late", "set-back"}}
        what = dice.choices(tuple(kinds), tuple(kinds.values()))[0]
        at = min(max(at, 0.1), FAULTS)
        if what == "overtaken":
            events += _overtaken(dice, plan, at)
        elif what == "set-back":
            events += _set_back(dice, plan, at)
        else:
            events.append(Event(at=at, what=what, args=_args(dice, plan, what)))
    return events


def _args(dice: Random, plan: Plan, what: str) -> dict[str, Any]:
    seconds = round(dice.choice((0.5, 1.5, 4.0, 9.0, 14.0)) * dice.uniform(0.6, 1.4), 3)
    if what == "very-late":
        return {"which": dice.choice(("commands", "commands", "answers", "events")), "seconds": seconds}
    roles = [role for role in plan.roles if what in _SOME or not role.startswith("agent")]
    role = dice.choice([*roles, *(role for role in roles if role.startswith("conductor"))])
    if what == "tick":
        return {"role": role, "jump": dice.choice((-1.0, -0.3, 0.3, 1.0))}
    if what == "no-database":
        return {"role": role, "seconds": seconds, "unsure": dice.choice((0, 0, 1, 2))}
    if what in {"slow-bus", "slow-database"}:
        return {"role": role, "seconds": seconds, "by": dice.choice((0.3, 1.0, 3.0))}
    return {"role": role, "seconds": seconds}


def _overtaken(dice: Random, plan: Plan, at: float) -> list[Event]:
    """A conductor is overtaken and does not know it: it stands still for longer than a lease, or is slow to be heard.

    What it says meanwhile may be late, too, or come just after what the other one said, whose time of day is ahead.
    """
    conductors = [role for role in plan.roles if role.startswith("conductor")]
    role = dice.choice(conductors)
    if len(conductors) > 1 and dice.random() < 0.5:
        slow = Event(at=at, what="slow-bus", args={"role": role, "seconds": 6.0, "by": 3.0})
        others = [other for other in conductors if other != role]
        ahead = (Event(at=at + 0.5, what="clock", args={"role": other, "jump": 40.0}) for other in others)
        return [slow, *ahead]
    still = Event(at=at, what="stall", args={"role": role, "seconds": dice.choice((9.0, 12.0, 15.0))})
    if not plan.frame or dice.random() < 0.5:
        return [still]
    late = Event(at=max(0.1, at - 0.5), what="very-late", args={"which": "commands", "seconds": 3.0})
    return [late, still]


def _set_back(dice: Random, plan: Plan, at: float) -> list[Event]:
    """A host's time of day is set back while what it is told is late."""
    late = Event(at=at, what="very-late", args={"which": "commands", "seconds": 3.0})
    role = dice.choice([role for role in plan.roles if role.startswith("agent")])
    return [late, Event(at=at + 4.0, what="clock", args={"role": role, "jump": -40.0})]


def long_events(dice: Random, plan: Plan) -> list[Event]:
    """Give the faults of a long run: partitions longer than what hosts and leases are waited for, and old messages."""
    events = []
    for _ in range(dice.choice((1, 1, 2))):
        at, seconds = dice.uniform(1.0, FAULTS), round(dice.uniform(31.0, 55.0), 3)
        conductors = [role for role in plan.roles if role.startswith("conductor")]
        what = dice.choice(("partition", "partition", "unplug", "no-database", "very-late" if plan.frame else "unplug"))
        if what == "partition":
            args: dict[str, Any] = {"host": dice.choice(plan.host_names), "seconds": seconds}
        elif what == "very-late":
            which = dice.choice(("commands", "commands", "answers", "events"))
            args = {"which": which, "seconds": dice.choice((4.0, 9.0)), "by": OLDER_THAN_ALL}
        else:
            args = {"role": dice.choice(["api", *conductors, *conductors]), "seconds": seconds}
            if what == "no-database":
                args["unsure"] = dice.choice((0, 0, 1, 2))
        events.append(Event(at=at, what=what, args=args))
    return events
