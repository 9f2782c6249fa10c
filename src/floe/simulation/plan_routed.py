"""What users ask for of routers and floating IPs in one run: made of a seed, as all that happens in it."""

from __future__ import annotations

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


def _event(dice: Random, at: float, what: str, project: int) -> Event:
    """Ask for one thing; mostly it is the same project that does."""
    args = {
        "do": what,
        "project": project if dice.random() < 0.75 else 1 - project,
        "pick": dice.randrange(100),
        "other": dice.randrange(100),
    }
    return Event(at=at, what="routed", args=args)
