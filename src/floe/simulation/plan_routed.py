"""What users ask for of routers and floating IPs in one run: made of a seed, as all that happens in it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from floe.simulation.shape import HEALED, REQUESTS, Event

DEEDS = {
    "router": 3, "join": 6, "join-port": 1.5, "leave": 2, "gateway": 3, "close": 1, "switch": 1, "route": 1.5,
    "router-delete": 1.5, "network": 2, "network-delete": 1, "floating": 5, "lead": 6, "unlead": 1.5,
    "floating-delete": 2, "hop": 0.5, "serve": 1, "pooled": 1, "pool-delete": 0.3,
}  # fmt: skip
"""What they ask for, and how often, by weight."""
_FIRST = ("router", "join", "floating", "network", "lead", "join")
"""What they begin with, so that there is something that the rest is about."""
FURTHER: dict[str, dict[str, float]] = {
    "forwarding": {
        "new": 8, "change": 2, "leave": 2, "end": 1, "readdress": 2, "more": 1, "less": 1.5, "port-delete": 0.7,
    },
    "gateway": {"move": 3, "several": 3, "floating": 2, "add-route": 3, "drop-route": 1},
    "pool": {"scope": 2, "pool": 3, "subnet": 5, "grow": 1, "rescope": 1, "pool-delete": 0.7, "scope-delete": 0.7},
    "pin": {"new": 3, "bind": 3, "let-go": 1.5, "switch": 1},
    "topology": {"allocate": 3, "delete": 1},
}  # fmt: skip
"""What else they ask for, by what it is about, and how often, by weight."""
_ABOUT: dict[str, float] = {"forwarding": 4, "gateway": 3, "pool": 2, "pin": 2, "topology": 2}

_LATE = ("lead", "lead", "unlead", "floating-delete")


def requests(dice: Random) -> list[Event]:
    """Bursts of requests, in some of the runs: what races for the same thing comes at the same time."""
    if dice.random() < 0.5:
        return []
    project = dice.choice((0, 0, 1))
    events = [_event(dice, 0.9 + 0.4 * number, what, project) for number, what in enumerate(_FIRST)]
    for _ in range(dice.randint(2, 7)):
        at = dice.uniform(2.0, REQUESTS)
        for what in dice.choices(tuple(DEEDS), tuple(DEEDS.values()), k=dice.choice((1, 2, 3, 5))):
            events += [
                _event(dice, at + dice.choice((0.0, 0.0, dice.random())), what, project)
                for _ in range(dice.choice((1, 1, 1, 2)))
            ]
    return [*events, *_together(dice, project)]


def further(dice: Random, there: Sequence[Event]) -> list[Event]:
    """Bursts about one thing or two, in most of the runs that have routers: those know what it is about."""
    if not there or dice.random() < 0.3:
        return []
    project = there[0].args["project"]
    events: list[Event] = []
    about = dice.choices(tuple(_ABOUT), tuple(_ABOUT.values()), k=dice.choice((1, 2, 3)))
    for what in dict.fromkeys(about):
        deeds = FURTHER[what]
        events += [_event(dice, 3.0 + 0.3 * number, do, project, what) for number, do in enumerate([*deeds][:2])]
        for _ in range(dice.randint(1, 4)):
            at = dice.uniform(3.2, REQUESTS)
            for do in dice.choices(tuple(deeds), tuple(deeds.values()), k=dice.choice((1, 2, 3))):
                many = range(dice.choice((1, 1, 2)))
                events += [_event(dice, at + dice.choice((0.0, 0.0, dice.random())), do, project, what) for _ in many]
    return events


def _together(dice: Random, project: int) -> list[Event]:
    """Servers that come together and are led to; late, when nothing else is done any more, one of them goes.

    Later still some are led to otherwise: no host that comes back is sent all of it after that.
    """
    if dice.random() < 0.5:
        return []
    create = {
        "project": project, "least": 2, "most": 3, "flavor": "0", "image": 0, "group": False, "network": "auto",
    }  # fmt: skip
    leads = [_event(dice, dice.uniform(4.0, REQUESTS), "lead", project) for _ in range(3)]
    gone = Event(at=dice.uniform(REQUESTS, HEALED - 3.0), what="delete", args={"pick": dice.randrange(100)})
    late = [_event(dice, dice.uniform(HEALED - 3.0, HEALED), dice.choice(_LATE), project) for _ in range(4)]
    return [Event(at=1.2, what="create", args=create), *leads, gone, *late]


def _event(dice: Random, at: float, do: str, project: int, what: str = "routed") -> Event:
    """Ask for one thing; mostly it is the same project that does."""
    args = {
        "do": do,
        "project": project if dice.random() < 0.75 else 1 - project,
        "pick": dice.randrange(100),
        "other": dice.randrange(100),
    }
    return Event(at=at, what=what, args=args)
