"""`scripts/simulate`: thousands of seeds, or the planted bugs; violations with their shrunk scripts."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from floe.simulation.plan import make
from floe.simulation.planted import PLANTED
from floe.simulation.planting import BY_ITSELF, Planted
from floe.simulation.running import Outcome, Simulator

ENOUGH = 2000
"""Runs within which each planted bug has to be found unless told otherwise, of those in which what it needs happens."""
_CHUNK = 20
_LINE_EVERY = 1000
_ROW = f"{{:<{max(len(bug.name) for bug in PLANTED)}}}  {{:>5}}  {{:>9}}  {{:>7}}  {{}}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, 1 for any violation (or any planted bug not found)."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings must have one order, or no seed would replay
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "floe.simulation.command", *(arguments or sys.argv[1:])])  # noqa: S606
    parser = argparse.ArgumentParser(prog="simulate", description="Run the whole cloud in simulation, seed by seed.")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many seeds (default: 1000)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="S", help="the first seed (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes to use (default: 1)")
    parser.add_argument(
        "--planted", nargs="*", metavar="BUG", help="plant bugs (all, or these), and see that each is found"
    )
    parser.add_argument(
        "--most", type=int, default=ENOUGH, metavar="N", help=f"runs to look for each planted bug (default: {ENOUGH})"
    )
    parser.add_argument(
        "--story", action="store_true", help="tell all that happens in the seed --from, and run no other"
    )
    given = parser.parse_args(arguments)
    console = Console(stderr=False, highlight=False, soft_wrap=True)
    if given.story:
        return _tell(console, given.first)
    if given.planted is not None:
        return _plant(console, given.planted, given.first, given.most, given.jobs)
    return _search(console, given.first, given.seeds, given.jobs)


def _search(console: Console, first: int, seeds: int, jobs: int) -> int:
    begun, failed, slowest = time.monotonic(), [], 0.0
    with _progress("simulating", seeds) as advance, _workers(jobs) as run:
        for outcomes in run(_seeds, [(None, chunk) for chunk in _chunks(first, seeds)]):
            for outcome in outcomes:
                slowest = max(slowest, outcome.settled_after)
                if outcome.violations:
                    failed.append(outcome)
                    console.print(f"seed {outcome.plan.seed}: {outcome.violations[0]}")
                advance()
    seconds = time.monotonic() - begun
    for outcome in failed[:3]:
        _explain(console, outcome)
    console.print(
        f"{seeds} seeds from {first}, {len(failed)} with violations; {seconds / seeds * 1000:.0f} seconds per thousand"
        f" with {jobs} job(s); all was in order {slowest:.0f} simulated seconds after the last fault at the latest"
    )
    return 1 if failed else 0


def _plant(console: Console, names: Sequence[str], first: int, most: int, jobs: int) -> int:
    unknown = set(names) - {bug.name for bug in PLANTED}
    if unknown:
        console.print(
            f"there is no planted bug {sorted(unknown)[0]!r}; there are: {', '.join(b.name for b in PLANTED)}"
        )
        return 2
    bugs = [bug for bug in PLANTED if not names or bug.name in names]
    every: list[Found] = []
    console.print(_ROW.format("planted bug", "runs", "by seed", "CPU s", "what was seen"))
    with _progress("planting", len(bugs)) as advance, _workers(jobs) as run:
        for found in run(_find, [(bug.name, first, most) for bug in bugs]):
            every.append(found)
            seed = "NOT FOUND" if found.seed is None else found.seed
            console.print(_ROW.format(found.bug, found.runs, seed, f"{found.seconds:.1f}", found.what).rstrip())
            advance()
    missed = sorted(found.bug for found in every if found.seed is None)
    runs, seconds = sum(found.runs for found in every), sum(found.seconds for found in every)
    cost, which = f"in {runs} runs and {seconds:.0f} s of CPU", f"; not: {', '.join(missed)}" if missed else ""
    console.print(f"{len(bugs) - len(missed)} of {len(bugs)} planted bugs were found, {cost}{which}")
    return 1 if missed else 0


def _explain(console: Console, outcome: Outcome) -> None:
    """Print a failing run, shrunk."""
    simulator = Simulator()
    try:
        small = simulator.shrink(outcome)
        told = simulator.run(small.plan, story=True)
        console.rule(f"seed {outcome.plan.seed}")
        for violation in small.violations:
            console.print(str(violation))
        again = "the same way again" if told.digest == small.digest else "ANOTHER WAY the second time"
        console.print(f"shrunk from {len(outcome.plan.events)} events to {len(small.plan.events)}; it went {again}")
        console.print(str(small.plan), markup=False)
    finally:
        simulator.close()


def _tell(console: Console, seed: int) -> int:
    simulator = Simulator()
    try:
        outcome = simulator.run(make(seed), story=True)
    finally:
        simulator.close()
    console.print(str(outcome.plan), markup=False)
    for line in outcome.story:
        console.print(line, markup=False)
    for violation in outcome.violations:
        console.print(f"VIOLATION {violation}", markup=False)
    return 1 if outcome.violations else 0


# -- in worker processes ------------------------------------------------------------------------------

_SIMULATORS: dict[str | None, Simulator] = {}
"""The simulator of a worker process, by the bug planted in it."""


def _seeds(task: tuple[str | None, Sequence[int]]) -> list[Outcome]:
    planted, seeds = task
    simulator = _SIMULATORS.get(planted)
    if simulator is None:
        simulator = _SIMULATORS[planted] = Simulator()
    return [simulator.seed(seed) for seed in seeds]


@dataclass(frozen=True, slots=True)
class Found:
    """Which seed found a bug, if any did, after how many runs and seconds of CPU, and what it saw."""

    bug: str
    runs: int
    seconds: float
    seed: int | None = None
    what: str = ""


def _find(task: tuple[str, int, int]) -> Found:
    """Run seeds with a bug planted until it is found."""
    name, first, most = task
    return find(next(bug for bug in PLANTED if bug.name == name), first, most)


def find(bug: Planted, first: int, most: int) -> Found:
    """Look for a bug in so many runs at most, from a seed on."""
    plans = itertools.islice(filter(bug.matters, map(make, itertools.count(first))), most)
    begun, runs, seed, what = time.process_time(), 0, None, ""
    simulator = Simulator(plant=bug.plant)
    try:
        for plan in plans:
            runs += 1
            violations = simulator.run(plan).violations
            if violations:
                by_itself = violations[0].rule == BY_ITSELF
                seed = None if by_itself else plan.seed
                what = f"(seed {plan.seed}: {violations[0]})" if by_itself else str(violations[0])
                break
    finally:
        simulator.close()
    return Found(bug.name, runs, time.process_time() - begun, seed, what)


def _leave() -> None:
    for simulator in _SIMULATORS.values():
        simulator.close()


@contextmanager
def _workers(jobs: int) -> Iterator[Any]:
    """Give a `map` that hands results over as they come; with one job, in this process."""
    if jobs == 1:
        try:
            yield map
        finally:
            _leave()
            _SIMULATORS.clear()
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs, initializer=_at_exit) as pool:
        yield pool.imap_unordered
        pool.close()
        pool.join()


def _at_exit() -> None:
    from multiprocessing.util import Finalize

    Finalize(None, _leave, exitpriority=1)


def _chunks(first: int, count: int) -> list[range]:
    return [range(at, min(at + _CHUNK, first + count)) for at in range(first, first + count, _CHUNK)]


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far it is: a bar on a terminal, a line now and then in a log."""
    if not sys.stderr.isatty():
        done = itertools.count(1)
        yield lambda: _tell_now_and_then(what, next(done), total)
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def _tell_now_and_then(what: str, done: int, total: int) -> None:
    if done % _LINE_EVERY == 0 and done < total:
        Console(stderr=True, highlight=False).print(f"{what}: {done} of {total}")


if __name__ == "__main__":
    sys.exit(main())
