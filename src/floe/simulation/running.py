"""Runs plans: one, a shrunk one, thousands."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from floe.cloud.audit import Violation
from floe.simulation.plan import make
from floe.simulation.planting import Plant
from floe.simulation.shape import Event, Plan
from floe.simulation.site import Site, make_site
from floe.simulation.world import World

_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of our own is made in it
_PREFIX = "floe-simulation-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run went. `digest` is the same for runs that went the same way; `story` is kept where it was wanted."""

    plan: Plan
    violations: Sequence[Violation]
    digest: str
    settled_after: float
    story: Sequence[str] = ()


class Simulator:
    """Runs plans one after the other in this process, in a folder of its own that `close` removes."""

    def __init__(self, *, plant: Plant | None = None) -> None:
        self._plant = plant or Plant()
        with _silence():
            self._folder = _own_folder()
            self._site: Site = make_site(self._folder / "site")
            gc.collect()
        gc.freeze()  # what is here now stays: there is no use in looking through it after every run

    def run(self, plan: Plan, *, story: bool = False) -> Outcome:
        """Run a plan."""
        with _silence(), self._plant.there() as parts:
            world = World(plan, self._site, self._folder, parts, keep=story)
            violations = world.run()
            outcome = Outcome(
                plan=plan,
                violations=tuple(violations),
                digest=world.digest,
                settled_after=world.settled_after,
                story=tuple(world.story),
            )
            del world
            gc.collect()
        return outcome

    def seed(self, seed: int) -> Outcome:
        """Run the plan of a seed."""
        return self.run(make(seed))

    def shrink(self, outcome: Outcome, *, most: int = 400) -> Outcome:
        """Leave out of a failing run what it fails without, in at most so many tries; return what is left."""
        rule = outcome.violations[0].rule
        best = [outcome]
        for tried, candidate in enumerate(self._smaller(lambda: best[-1])):
            if tried >= most:
                break
            found = self.run(candidate)
            if any(violation.rule == rule for violation in found.violations):
                best.append(found)
        return best[-1]

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._site.store.close()

    def _smaller(self, best: Callable[[], Outcome]) -> Iterator[Plan]:
        """Give ever smaller plans; what `best` returns changes while they are tried."""
        yield replace(best().plan, noise=False)
        yield replace(best().plan, slow=1.0)
        yield with_one_conductor(best().plan)
        size = max(1, len(best().plan.events) // 2)
        while size:
            before = len(best().plan.events)
            start = 0
            while start < len(best().plan.events):
                events = list(best().plan.events)
                known = len(events)
                yield replace(best().plan, events=(*events[:start], *events[start + size :]))
                if len(best().plan.events) == known:
                    start += size
            if size == 1 and len(best().plan.events) == before:
                break
            size = max(1, size // 2)
        for index, event in enumerate(best().plan.events):
            for simpler_event in _simpler(event):
                events = list(best().plan.events)
                events[index] = simpler_event
                yield replace(best().plan, events=tuple(events))


def with_one_conductor(plan: Plan) -> Plan:
    """Return the plan with no second conductor, and nothing that happens to it."""
    fewer = replace(plan, conductors=1)
    gone = set(plan.roles) - set(fewer.roles)
    return replace(fewer, events=tuple(event for event in plan.events if event.args.get("role") not in gone))


def _simpler(event: Event) -> Iterator[Event]:
    """Give a request for one server for a request for several."""
    if event.args.get("most", 1) > 1:
        yield replace(event, args={**event.args, "least": 1, "most": 1})
    if event.args.get("group"):
        yield replace(event, args={**event.args, "group": False})
    if event.args.get("network", "none") != "none":
        yield replace(event, args={**event.args, "network": "none"})


def memory() -> Path:
    """Return a directory whose files are in memory, if there is one."""
    return _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())


def _own_folder() -> Path:
    """Make a folder named after this process, and remove those of processes that are no more."""
    where = memory()
    for left in where.glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=where))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what runs from speaking: its logs, and the warnings of what is torn apart at the end."""
    logger = logging.getLogger("floe")
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        logger.propagate = propagate
