"""What happens in one run: made of a seed, whole, before anything runs, so that parts can be left out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from floe.simulation import (
    plan_copied,
    plan_moved,
    plan_put_off,
    plan_rebuilt,
    plan_rescued,
    plan_resized,
    plan_routed,
    plan_shelved,
    plan_user_quotas,
    plan_wired,
)
from floe.simulation.apart import apart, events_apart, long_events
from floe.simulation.shape import FAULTS, HEALED, LONG, REQUESTS, Event, Plan

_REQUESTS = {
    "create": 10,
    "delete": 5,
    "create-delete": 3,
    "delete-twice": 1,
    "port": 1,
    "port-delete": 1,
    "rule": 1,
    "upload": 1.5,
    "image-delete": 1,
    "metadata": 1.5,
    "quota": 1,
    "group-delete": 0.5,
}
"""What users ask for, and how often, by weight."""

_ANSWERING = ("db.before", "db.after", "upload", "blob.before", "blob.after")
_CONDUCTING = ("db.before", "db.after", "bus.send", "sleep")
_HOSTING = (
    *("bus.arrive", "bus.answer", "file", "image", "publish", "sleep", "guests"),
    *("start.before", "start.after", "destroy.before", "destroy.after", "disk.before", "disk.after"),
    *("plane.before", "plane.after"),
)
"""Where a crash of each role can be placed: the awaits at which the world outside is touched, or waited for."""


def make(seed: int) -> Plan:
    """Return the run that a seed stands for."""
    dice = Random(seed)  # noqa: S311
    shape = Plan(
        seed=seed,
        hosts=dice.choice((1, 2, 2, 3, 3)),
        conductors=dice.choice((1, 2, 3)),
        together=dice.random() < 0.25,
        slow=dice.choice((0.2, 1.0, 1.0, 4.0)),
        noise=dice.random() < 0.3,
        events=(),
    )
    shape = apart(shape)
    requests = [*_requests(dice), *_resets(Random(f"{seed} resets"))]  # noqa: S311
    requests += _of_power(Random(f"{seed} power"))  # noqa: S311
    requests += _of_operators(Random(f"{seed} operators"), requests)  # noqa: S311
    requests += _of_drives(Random(f"{seed} drives"), requests)  # noqa: S311
    requests += _of_passwords(Random(f"{seed} passwords"))  # noqa: S311
    routed = plan_routed.requests(Random(f"{seed} routed"))  # noqa: S311
    requests += [*routed, *plan_routed.further(Random(f"{seed} further"), routed)]  # noqa: S311
    wired = plan_wired.requests(Random(f"{seed} wired"), shape)  # noqa: S311
    events = [*requests, *_faults(dice, shape, [request.at for request in requests])]
    events += _of_images(Random(f"{seed} images"), shape)  # noqa: S311
    events += _outage(Random(f"{seed} outage"), shape)  # noqa: S311
    events += _of_waits(Random(f"{seed} waits"), shape)  # noqa: S311
    events += _of_ledgers(Random(f"{seed} ledgers"), shape, events)  # noqa: S311
    events += _of_older_copies(Random(f"{seed} older"), events)  # noqa: S311
    events += events_apart(Random(f"{seed} apart"), shape, [request.at for request in requests])  # noqa: S311
    events += [*wired, *plan_rebuilt.requests(Random(f"{seed} rebuilt"), shape)]  # noqa: S311
    events += plan_copied.requests(Random(f"{seed} copied"), shape)  # noqa: S311
    events += plan_rescued.requests(Random(f"{seed} rescued"), shape)  # noqa: S311
    events += plan_put_off.requests(Random(f"{seed} put off"), shape)  # noqa: S311
    events += plan_shelved.requests(Random(f"{seed} shelved"), shape)  # noqa: S311
    events += plan_moved.requests(Random(f"{seed} moved"), shape)  # noqa: S311
    events += plan_user_quotas.requests(Random(f"{seed} user quotas"))  # noqa: S311
    events += plan_resized.requests(Random(f"{seed} resized"), shape)  # noqa: S311
    if shape.healed != HEALED:
        events += [*long_events(Random(f"{seed} cuts"), shape), *_late(Random(f"{seed} late"))]  # noqa: S311
    if shape.together:
        events += _last_requests(dice)
    events = _with_ledgers(shape, events)
    events.sort(key=lambda event: event.at)
    return replace(shape, conductors=1 if shape.together else shape.conductors, events=tuple(events))


def _requests(dice: Random) -> list[Event]:
    """Bursts of requests: what races for the same thing comes at the same time."""
    events = [Event(at=0.5, what="group", args={"policy": dice.choice(("affinity", "anti-affinity", "anti-affinity"))})]
    for _ in range(dice.randint(2, 8)):
        at = dice.uniform(1.0, REQUESTS)
        for _ in range(dice.choice((1, 1, 2, 3))):
            what = dice.choices(tuple(_REQUESTS), tuple(_REQUESTS.values()))[0]
            event = Event(at=at + dice.choice((0.0, 0.0, dice.random())), what=what, args=_args(dice, what))
            events.append(event)
            if what == "create" and dice.random() < 0.4:
                event.args["key"] = f"k{len(events)}"
                events += _again(dice, event)
    return events


def _resets(dice: Random) -> list[Event]:
    """An operator says of servers that they are in error, or that they are not."""
    return [
        Event(
            at=dice.uniform(1.0, REQUESTS),
            what="reset",
            args={"pick": dice.randrange(100), "active": dice.random() < 0.4},
        )
        for _ in range(dice.choice((0, 0, 0, 1, 3)))
    ]


def _of_power(dice: Random) -> list[Event]:
    """Users stop, start, reboot, pause and suspend servers, once or several times in a row."""
    if dice.random() < 0.4:
        return []
    return [
        Event(
            at=dice.uniform(2.0, REQUESTS),
            what="guest-power",
            args={
                "pick": dice.randrange(100),
                "rows": [dice.randrange(8) for _ in range(dice.choice((1, 2, 4)))],
                "between": dice.choice((0.0, 0.3, 2.0)),
            },
        )
        for _ in range(dice.choice((1, 2, 4)))
    ]


def _of_passwords(dice: Random) -> list[Event]:
    """Guests post passwords, and users clear them, some of them just then."""
    if dice.random() < 0.7:
        return []
    events = []
    for number in range(dice.choice((2, 4, 8, 12))):
        at, pick = dice.uniform(3.0, FAULTS), dice.randrange(3)
        events.append(Event(at=at, what="post", args={"pick": pick, "password": f"password {number}"}))
        if dice.random() < 0.5:
            after = at + dice.choice((0.001, 0.02, 0.5, 3.0))
            events.append(Event(at=after, what="password-clear", args={"pick": dice.randrange(3)}))
    return events


def _of_waits(dice: Random, plan: Plan) -> list[Event]:
    """A host stops for a while, and users ask for the power of guests meanwhile."""
    if plan.together or dice.random() < 0.85:
        return []
    host, at = dice.choice(plan.host_names), dice.uniform(4.0, REQUESTS)
    stop = Event(at=at, what="stop", args={"role": f"agent-{host}", "down": dice.choice((4.0, 8.0))})
    asked = [
        Event(
            at=at + dice.uniform(0.3, 3.0),
            what="guest-power",
            args={"pick": dice.randrange(100), "rows": [dice.randrange(9)], "between": 0.0},
        )
        for _ in range(4)
    ]
    return [stop, *asked]


def _of_ledgers(dice: Random, plan: Plan, events: Sequence[Event]) -> list[Event]:
    """A host loses its ledger, and users have its guests stop and start; not one that loses its power too.

    For which disks the power may have damaged stands in the ledger alone.
    """
    sound = sorted(_lit(plan, events))
    if not sound or dice.random() < 0.8:
        return []
    lost = dice.uniform(2.0, FAULTS)
    args = {"host": dice.choice(sound), "seconds": dice.choice((0.2, 1.0, 5.0))}
    asked = [
        Event(
            at=min(lost + dice.choice((0.5, 3.0, 8.0)), HEALED - 1.0),
            what="guest-power",
            args={"pick": dice.randrange(100), "rows": [dice.randrange(9), dice.randrange(9)], "between": 0.3},
        )
        for _ in range(dice.choice((1, 3)))
    ]
    return [Event(at=lost, what="forget", args=args), *asked]


def _lit(plan: Plan, events: Sequence[Event]) -> set[str]:
    """Return the hosts that do not lose their power."""
    dark = {event.args["host"] for event in events if event.what == "power"}
    return set() if plan.together and dark else set(plan.host_names) - dark  # what is one process is one machine


def _with_ledgers(plan: Plan, events: Sequence[Event]) -> list[Event]:
    """Have no host lose both its ledger and its power, whoever planned them: see `_of_ledgers`."""
    lit = _lit(plan, events)
    return [event for event in events if event.what != "forget" or event.args["host"] in lit]


def _of_older_copies(dice: Random, events: Sequence[Event]) -> list[Event]:
    """An older copy of the database is put back, and users ask for what they asked for meanwhile, and for more.

    By then no clock has been set back: what was asked for before could not be told from what is asked for after.
    """
    if any(event.what == "clock" for event in events) or dice.random() < 0.85:
        return []
    copied, age, pick = dice.uniform(3.0, REQUESTS), dice.choice((0.5, 1.0, 3.0)), dice.randrange(100)
    asked = [
        Event(
            at=copied + offset,
            what="guest-power",
            args={"pick": pick, "rows": [dice.randrange(9) for _ in range(count)], "between": 0.3},
        )
        for offset, count in ((0.05, dice.choice((1, 3, 6))), (age + dice.choice((0.01, 0.5)), 4), (age + 2.0, 4))
    ]
    return [Event(at=copied, what="older-copy", args={"seconds": age}), *asked]


def _of_operators(dice: Random, requests: Sequence[Event]) -> list[Event]:
    """Servers are locked for a while; hosts come into a zone, or leave it, and servers are to be made there."""
    locks = [
        Event(at=dice.uniform(2.0, REQUESTS), what="lock", args={"pick": dice.randrange(100)})
        for _ in range(dice.choice((0, 0, 0, 1, 2)))
    ]
    if dice.random() < 0.8:
        return locks
    for create in requests:
        if create.what in {"create", "create-delete"} and dice.random() < 0.5:
            create.args["zone"] = True
    moves = [
        Event(at=dice.uniform(1.0, REQUESTS), what="zone", args={"pick": dice.randrange(100), "add": number % 3 < 2})
        for number in range(dice.choice((2, 4, 6)))
    ]
    return [*locks, Event(at=0.9, what="zone", args={"pick": 0, "add": True}), *moves]


def _of_drives(dice: Random, requests: Sequence[Event]) -> list[Event]:
    """Servers are to be where drives are fast, and which hosts that is changes, mostly while they are placed."""
    asking = [each for each in requests if each.what in {"create", "create-delete"} and dice.random() < 0.7]
    if not asking or dice.random() < 0.8:
        return []
    for create in asking:
        create.args["fast"] = True
    changes = [
        Event(
            at=max(1.0, create.at + dice.uniform(0.0, 0.4)),
            what="drives",
            args={"pick": dice.randrange(100), "drives": dice.random() < 0.5},
        )
        for create in asking
        for _ in range(dice.choice((1, 2, 3)))
    ]
    return [Event(at=0.9, what="drives", args={"pick": 0, "drives": True}), *changes]


def _outage(dice: Random, plan: Plan) -> list[Event]:
    """The power fails once the guests run, on all hosts at once, or on one of them; now and then it fails again."""
    if dice.random() < 0.8:
        return []
    at, seconds = dice.uniform(HEALED / 2, FAULTS + 2.0), dice.choice((0.3, 1.0, 3.0))
    hosts = dice.choice((plan.host_names, plan.host_names[:1]))
    times = (at, at + dice.uniform(0.2, 4.0)) if dice.random() < 0.3 else (at,)
    return [Event(at=when, what="power", args={"host": host, "seconds": seconds}) for when in times for host in hosts]


def _of_images(dice: Random, plan: Plan) -> list[Event]:
    """Uploads that are tried again, and an image store that fails, or is at work when somebody dies."""
    if dice.random() < 0.6:
        return []
    events = [
        Event(at=dice.uniform(1.0, REQUESTS), what=what, args=_args(dice, what))
        for what in ("upload", *dice.choices(("upload", "upload-again", "image-delete"), k=dice.choice((1, 2, 4))))
    ]
    for _ in range(dice.choice((0, 1, 1, 2))):
        at, down = dice.uniform(1.0, FAULTS), dice.choice((0.5, 3.0, 12.0))
        if dice.random() < 0.3:
            events.append(Event(at=at, what="blobs", args={"seconds": down}))
        else:
            role = dice.choice([name for name in plan.roles if not name.startswith("agent")])
            point = dice.choice(("blob.before", "blob.after", "blob.find", "upload", "db.after"))
            args = {"role": role, "point": point, "count": dice.choice((1, 1, 2, 4)), "down": down}
            events.append(Event(at=min(event.at for event in events), what="crash", args=args))
    return events


def _last_requests(dice: Random) -> list[Event]:
    """What is under way when the one process is killed for the last time."""
    events = []
    for _ in range(dice.randint(1, 4)):
        what = dice.choice(("create", "create", "delete", "create-delete", "upload"))
        events.append(Event(at=HEALED - dice.choice((0.001, 0.02, 0.3, 1.0)), what=what, args=_args(dice, what)))
    return events


def _late(dice: Random) -> list[Event]:
    """What is asked for in a long run, while it lasts."""
    asked = dice.choices(("create", "delete", "create-delete", "guest-power", "rule", "metadata"), k=dice.randint(3, 8))
    return [Event(at=dice.uniform(FAULTS, LONG - 5.0), what=what, args=_late_args(dice, what)) for what in asked]


def _late_args(dice: Random, what: str) -> dict[str, Any]:
    if what != "guest-power":
        return _args(dice, what)
    return {"pick": dice.randrange(100), "rows": [dice.randrange(9) for _ in range(2)], "between": 0.3}


def _again(dice: Random, create: Event) -> list[Event]:
    """The same request once more, or several times; now and then with another body."""
    return [
        Event(
            at=create.at + dice.choice((0.0, 0.001, 0.3, 3.0, 8.0)),
            what="again",
            args={"key": create.args["key"], "other": dice.random() < 0.15},
        )
        for _ in range(dice.choice((1, 1, 2)))
    ]


def _args(dice: Random, what: str) -> dict[str, Any]:
    if what in ("create", "create-delete"):
        most = dice.choice((1, 1, 1, 2, 3))
        args: dict[str, Any] = {
            "project": dice.choice((0, 0, 1)),
            "least": dice.choice((1, most)),
            "most": most,
            "flavor": dice.choice("0112"),
            "image": dice.choice((0, 0, 0, 1, 2)),
            "group": dice.random() < 0.35,
            "network": dice.choice(("auto", "auto", "auto", "none", "port")),
        }
        if what == "create-delete":
            args["after"] = dice.choice((0.0, 0.01, 0.1, 0.5, 2.0))
        return args
    if what in ("upload", "upload-again"):
        return {"parts": dice.choice((1, 3)), "cut": dice.random() < 0.3, "twice": dice.random() < 0.3}
    if what == "quota":
        return {"project": dice.choice((0, 1)), "instances": dice.choice((1, 2, 3, 4, 6))}
    return {"pick": dice.randrange(100)}


def _faults(dice: Random, plan: Plan, busy: Sequence[float]) -> list[Event]:
    """Most faults come just when there is something to disturb."""
    events = []
    for _ in range(dice.choice((1, 1, 2, 2, 3, 4, 5, 7))):
        at = (
            dice.choice(busy) + plan.slow * dice.uniform(-0.05, 0.8)
            if dice.random() < 0.7
            else dice.uniform(0.8, FAULTS)
        )
        at = min(max(at, 0.1), FAULTS)
        kinds = ("crash", "kill", "stop", "power", "stall", "lossy", "partition", "hypervisor", "ports", "disk-full")
        weights = [12, 4, 2, 2, 2, 2, 2, 4, 2, 2]
        what = dice.choices((*kinds, "busy", "clock", "guest-dies", "reorder"), (*weights, 2, 1.5, 1, 1))[0]
        events.append(Event(at=at, what=what, args=_fault(dice, plan, what)))
    return events


def _points(role: str) -> Sequence[str]:
    if role == "floe":
        return (*_CONDUCTING, *_HOSTING, *_ANSWERING[2:])
    if role == "api":
        return _ANSWERING
    return _HOSTING if role.startswith("agent") else _CONDUCTING


def _fault(dice: Random, plan: Plan, what: str) -> dict[str, Any]:
    host, role = dice.choice(plan.host_names), dice.choice(plan.roles)
    seconds = round(dice.choice((0.2, 1.0, 3.0, 8.0, 14.0)) * dice.uniform(0.5, 1.5), 3)
    if what == "crash":
        return {
            "role": role,
            "point": dice.choice(_points(role)),
            "count": dice.choice((1, 1, 2, 3, 5)),
            "down": seconds,
        }
    if what in ("kill", "stop"):
        return {"role": role, "down": seconds}
    if what == "stall":
        return {"role": role, "seconds": dice.choice((seconds, 12.0, 15.0))}
    if what in ("power", "partition"):
        return {"host": host, "seconds": dice.choice((seconds, 14.0))}
    if what == "hypervisor":
        operation = dice.choice(("start", "start", "create_overlay", "adopt_image", "destroy", "guests"))
        after, times = dice.choice((0, 0, 1, 2)), dice.choice((1, 1, 2, 4))
        return {"host": host, "operation": operation, "after": after, "times": times}
    if what == "guest-dies":
        return {"host": host}
    if what in ("ports", "disk-full"):
        return {"host": host, "seconds": seconds}
    if what == "clock":
        return {"role": role, "jump": dice.choice((-40.0, -5.0, 5.0, 12.0, 40.0))}
    return {"seconds": seconds}
