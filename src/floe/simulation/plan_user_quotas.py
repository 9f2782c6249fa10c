"""What an administrator sets of users' own quotas in one run, and takes back, while they ask for servers."""

from __future__ import annotations

from random import Random

from floe.simulation.shape import REQUESTS, Event

_LIMITS: tuple[dict[str, int], ...] = (
    {"instances": 0},
    {"instances": 1},
    {"instances": 2},
    {"cores": 2},
    {"ram": 1024},
    {"ram": 2048},
    {},
)


def requests(dice: Random) -> list[Event]:
    """Quotas of users in some of the runs; without limits they are taken back."""
    if dice.random() < 0.7:
        return []
    return [
        Event(
            at=dice.uniform(0.5, REQUESTS + 3.0),
            what="user-quota",
            args={"project": dice.choice((0, 0, 1)), "limits": dice.choice(_LIMITS), "force": dice.random() < 0.7},
        )
        for _ in range(dice.choice((1, 2, 4, 6)))
    ]
