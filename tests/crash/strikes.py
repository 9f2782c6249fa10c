"""What strikes single steps of workflows: for the tests that strike every one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from floe.conductor.performing import AFTER, BEFORE, IN
from floe.conductor.saga import Choice, Saga, Write
from floe.core.errors import Unavailable

FAILS, TWICE = "fails", "runs twice"
KILLED = {f"killed {point}": point for point in (BEFORE, IN, AFTER)}
UNDO_FAILS = {"undo fails once": 1, "undo fails for a while": 14}
"""How often; a build gives up after ten, and leaves it to a sweep."""


def cases(saga: Saga) -> list[tuple[str, str, str]]:
    """Return a case for each step, and each undo, of a workflow, and for everything that may happen to it."""
    found = []
    for node in saga.leaves():
        found += [(saga.kind, node.name, what) for what in (FAILS, TWICE, *KILLED)]
        if saga.undo_of(node.name) is not None:
            found += [(saga.kind, f"undo {node.name}", what) for what in (TWICE, *KILLED, *UNDO_FAILS)]
    return found


def writes(saga: Saga, step: str) -> bool:
    """Say whether a step is one of the database."""
    return any(node.name == step and isinstance(node, Write | Choice) for node in saga.leaves())


class Killed(BaseException):
    """The process died here."""


@dataclass
class Strike:
    """What happens to one step, the first time that it is done. A process that is `dead` does nothing any more."""

    step: str
    what: str
    in_database: bool
    times: int = 1
    armed: bool = False
    dead: bool = False
    under_way: str = ""
    struck: list[str] = field(default_factory=list)

    def here(self, what: str) -> bool:
        """Say whether it is to strike now, and take note that it did."""
        if not self.armed or self.under_way != self.step or self.what != what or not self.times:
            return False
        self.times -= 1
        self.struck.append(self.under_way)
        return True

    async def observe(self, point: str, name: str) -> None:
        """See which step is under way; kill the process, if it is to die at this point."""
        self.under_way = name
        if any(at == point and self.here(what) for what, at in KILLED.items()):
            self.die()
        if point == AFTER:
            self.under_way = ""

    def die(self) -> None:
        """Do nothing from now on."""
        self.dead = True
        raise Killed


@dataclass
class StruckDatabase:
    """A database of which a write can be refused, be done twice, or be the last thing that a process does."""

    db: Any
    strike: Strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    async def write(self, fn: Callable[[Any], Any], *isolation: Any) -> Any:
        if not self.strike.in_database:
            return await self.db.write(fn, *isolation)
        if self.strike.here(FAILS):
            raise Unavailable("The database could not write: the disk is full.")
        if self.strike.here("killed in"):

            def cut_short(conn: Any) -> None:
                fn(conn)
                raise _CutShortError

            with pytest.raises(_CutShortError):
                await self.db.write(cut_short, *isolation)
            self.strike.die()
        return await self.db.write(_twice(fn) if self.strike.here(TWICE) else fn, *isolation)


class _CutShortError(Exception):
    """A transaction was rolled back."""


def _twice(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Do a write, take it back, and do it again: what a database does that found two in each other's way."""

    def again(conn: Any) -> Any:
        conn.exec_driver_sql("SAVEPOINT first")
        fn(conn)
        conn.exec_driver_sql("ROLLBACK TO first")
        return fn(conn)

    return again
