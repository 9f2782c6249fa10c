"""Sees that an action is in one hand at a time: at each commit, who wrote to it, and whether its lease was theirs.

Entries of journals may be written twice, and two that do one action mostly come to the same end; so what went wrong
does not show in what there is at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from floe.cloud.audit import Violation
from floe.core.actions import CANCELLED, FAILED
from floe.simulation.loop import Process, current
from floe.simulation.site import SimulatedClock
from floe.store import actions, leases
from floe.store.engine import Connection
from floe.store.memory import MemoryStore

BROKEN = "the lease of a conductor that lives was broken"
NOT_HELD = "an action was written to by one who does not hold it"
NOT_FREE = "an action was taken whose lease had not run out"


class Leases:
    """The open actions as of the last commit. `lease` is for how long one holds, in seconds."""

    def __init__(
        self, store: MemoryStore, accuse: Callable[[Violation], None], *, time: Callable[[], float], lease: float
    ) -> None:
        self._store, self._accuse, self._time, self._lease = store, accuse, time, lease
        self._owners: dict[str, tuple[Process, SimulatedClock]] = {}
        """By the name in their leases."""
        self._open: dict[str, Any] = {}
        self._written: dict[str, float] = {}
        """When each was written to last."""
        self._proved: dict[tuple[str, Process | None], float] = {}
        """When each was last written to by each process that held it."""

    def conducts(self, owner: str, process: Process, clock: SimulatedClock) -> None:
        """A process is about to take actions up by that name."""
        self._owners[owner] = process, clock

    def committed(self) -> None:
        """Something was committed, by the process that this runs in."""
        before = self._open

        def look(conn: Connection) -> tuple[dict[str, Any], list[Any]]:
            found = leases.held(conn)
            return found, [actions.get(conn, ident) for ident in before.keys() - found.keys()]

        self._open, ended = self._store.read(look)
        for ident, was in before.items():
            found = self._open.get(ident)
            if found is not None and found != was:
                self._judge(was, found, self._written_to(was, found))
        for action in ended:
            if action is not None:  # else it is over for so long that it was forgotten
                self._judge(before[action.id], action, self._ended(before[action.id], action))
        for ident, found in self._open.items():
            if ident not in before or before[ident].writes != found.writes:
                self._written[ident] = self._time()
                if self._is_ours(found):
                    self._proved[ident, current()] = self._time()

    def unproven(self, action_id: str) -> float | None:
        """Return for how many seconds this process has not proved an action to be its own; None if it never did."""
        proved = self._proved.get((action_id, current()))
        return None if proved is None else self._time() - proved

    def attempt_of_ours(self, action_id: str) -> int | None:
        """Return which attempt at an action it is that this process holds; None if it does not."""
        found = self._open.get(action_id)
        return found.attempts if found is not None and self._is_ours(found) else None

    # -- inside ---------------------------------------------------------------------------------------

    def _judge(self, was: Any, found: Any, rule: str | None) -> None:
        """Accuse whoever wrote, if there is a rule that was broken."""
        if rule is not None:
            process = current()
            writer = process.name if process else "nobody"
            self._accuse(Violation(rule, was.id, f"{writer}: of {was.lease_owner}, then of {found.lease_owner}"))

    def _written_to(self, was: Any, found: Any) -> str | None:
        """Return the rule that was broken by a write to an action that is still open."""
        if found.attempts != was.attempts:
            return self._taken(was, found)
        owner = found.lease_owner
        if self._is_ours(was):
            return None if owner in (None, was.lease_owner) or actions.is_waiting(owner) else NOT_HELD
        only_let_go = (None, None, was.writes, was.entries)
        if (owner, found.lease_until, found.writes, found.entries) == only_let_go:
            return BROKEN if self._lives(was) else None
        return NOT_HELD

    def _ended(self, was: Any, found: Any) -> str | None:
        """Return the rule that was broken by ending an action; users may cancel any, by what they ask for next.

        One that nobody has in hand fails with others of its request.
        """
        if found.state == CANCELLED:
            return None
        if found.attempts != was.attempts:
            return self._taken(was, found)
        with_others = found.state == FAILED and was.lease_owner is None
        return None if with_others or self._is_ours(was) else NOT_HELD

    def _taken(self, was: Any, found: Any) -> str | None:
        """Return the rule that was broken by taking an action: a lease runs out by the taker's clock, or the true one.

        Nobody's has none to run out.
        """
        if found.attempts != was.attempts + 1:
            return NOT_HELD
        if was.lease_owner is None or self._time() >= self._written[was.id] + self._lease:
            return None
        process = current()
        clocks = [clock for owner, clock in self._owners.values() if owner is process]
        return None if any(was.lease_until < clock.latest for clock in clocks) else NOT_FREE

    def _is_ours(self, was: Any) -> bool:
        """Whether the process that writes held it."""
        return was.lease_owner in self._owners and self._owners[was.lease_owner][0] is current()

    def _lives(self, was: Any) -> bool:
        """Whether whoever held it is alive: a host that is waited for is nobody."""
        if was.lease_owner is None or actions.is_waiting(was.lease_owner):
            return False
        return self._owners[was.lease_owner][0].alive
