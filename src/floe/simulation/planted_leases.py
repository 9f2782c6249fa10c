"""Planted bugs in what lets an action be in one hand at a time, whoever stands still and whatever clocks say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from floe.agent.fences import Fences
from floe.bus.protocol import Bus
from floe.conductor.agreements import Agreements
from floe.conductor.fleet import Fleet
from floe.conductor.flow import Flow
from floe.conductor.host_events import HostEvents
from floe.core.actions import OPEN_STATES, Action
from floe.core.messages import ActionWaits, Event, ForAll, Heartbeat, HostUp
from floe.simulation.planting import Memory, Planted, both, otherwise, patched, remembering, through
from floe.store import actions
from floe.store.host_stamps import Stamp
from floe.store.write_sessions import Mark, Sessions

_a = actions.actions
_get, _take, _waiting = actions.get, actions.take, actions.waiting
_mark = Sessions.mark
_hear, _heard = HostEvents.hear, Fleet.heard


async def _prove_nothing(self: Flow) -> None:
    """Believe that the action is still ours."""


def _obey_everybody(self: Fences, server_id: str, action_id: str, attempt: int) -> bool:
    """Do what an overtaken conductor says."""
    return True


def _always_the_first(self: Flow) -> int:
    """Say of each attempt that it is the first."""
    return 1


def _take_uncounted(
    conn: Any, action: Action, seen: int, owner: str, state: str, now: Any, until: Any, *, silent: bool = False
) -> bool:
    """Take an action, and do not count that."""
    taken = _take(conn, action, seen, owner, state, now, until, silent=silent)
    conn.execute(_a.update().where(_a.c.id == action.id, _a.c.lease_owner == owner).values(attempts=seen))
    return taken


def _take_fresh(
    conn: Any, action: Action, seen: int, owner: str, state: str, now: Any, until: Any, *, silent: bool = False
) -> bool:
    """Believe that nobody has taken up what nobody had when it was handed over."""
    if seen:
        return _take(conn, action, seen, owner, state, now, until, silent=silent)
    held = _a.update().where(_a.c.id == action.id, _a.c.state.in_(sorted(OPEN_STATES)))
    values = {"lease_owner": owner, "lease_until": until, "state": state, "updated_at": now, "attempts": 1}
    return bool(conn.execute(held.values(**values)).rowcount)


def _handed_over_twice(bus: Bus) -> Any:
    """Hand what waits over once more."""

    async def publish(event: Event) -> None:
        await bus.publish(event)
        if isinstance(event, ActionWaits):
            await bus.publish(event)

    return otherwise(bus, publish=publish)


def _let_go_of_anybodys(conn: Any, owner: str, action_id: str | None = None) -> None:
    """Let go of an action, whoever has it by now."""
    held = _a.update().where(_a.c.state.in_(sorted(OPEN_STATES)))
    held = held.where(_a.c.lease_owner == owner if action_id is None else _a.c.id == action_id)
    conn.execute(held.values(lease_owner=None, lease_until=None))


_EARLY = timedelta(seconds=4)


def _waiting_soon(conn: Any, now: datetime, most: int) -> list[str]:
    """Find what will be free in a moment."""
    return _waiting(conn, now + _EARLY, most)


def _free_soon(conn: Any, action_id: str) -> Action | None:
    """Take a lease for over before it is."""
    found = _get(conn, action_id)
    return replace(found, lease_until=found.lease_until - _EARLY) if found and found.lease_until else found


def _take_soon(
    conn: Any, action: Action, seen: int, owner: str, state: str, now: Any, until: Any, *, silent: bool = False
) -> bool:
    """Take an action whose lease is about to run out."""
    return _take(conn, action, seen, owner, state, now + _EARLY, until, silent=silent)


def _break_none(conn: Any, place: str) -> int:
    """Let the leases of the dead run out."""
    return 0


def _first_each_time(memory: Memory) -> Any:
    """Number what a session writes alike each time."""

    @contextmanager
    def mark(self: Sessions) -> Iterator[Mark]:
        with _mark(self) as made:
            yield structs.replace(made, session=memory.setdefault(id(self), (self, made.session))[1], number=1)

    return mark


def _gone_for_ever(self: Fleet, name: str) -> None:
    """Take no notice of a host that was taken for dead."""
    if self.alive(name) or self.awaited(name) or self.table.row(name) is None:
        _heard(self, name)


async def _hear_no_beat(self: HostEvents, event: ForAll) -> None:
    """Take no notice of heartbeats."""
    if not isinstance(event, Heartbeat):
        await _hear(self, event)


def _whatever_it_says(self: Agreements, event: HostUp, stamp: Stamp) -> bool:
    """Take each report for one that was found in order."""
    return True


LEASES = (
    Planted(
        "unproven",
        "a conductor that has not renewed its lease for long goes on asking hosts",
        patched((Flow, "prove", _prove_nothing)),
    ),
    Planted(
        "fences-off",
        "a host obeys a conductor that was overtaken",
        patched((Fences, "heard", _obey_everybody)),
        needs="slow-bus",
    ),
    Planted(
        "attempt-unsaid",
        "a conductor says of each attempt at an action that it is the first",
        patched((Flow, "attempt", property(_always_the_first))),
    ),
    Planted("attempt-uncounted", "who takes an action does not count", patched((actions, "take", _take_uncounted))),
    Planted(
        "hand-over-twice",
        "what is handed over twice is taken up by two, as nobody had it when it was handed over",
        both(through(bus=_handed_over_twice), patched((actions, "take", _take_fresh))),
    ),
    Planted(
        "let-go-of-anothers",
        "a conductor lets go of an action that another one has taken over",
        patched((actions, "let_go", _let_go_of_anybodys)),
    ),
    Planted(
        "lease-over-early",
        "a lease is taken for over some seconds before it is, more than clocks may differ",
        patched((actions, "waiting", _waiting_soon), (actions, "get", _free_soon), (actions, "take", _take_soon)),
    ),
    Planted(
        "leases-of-the-dead",
        "who starts in the place of a process that died waits for the end of its leases",
        patched((actions, "break_leases", _break_none)),
    ),
    Planted(
        "session-unnumbered",
        "all that a session writes bears one number, and what is new is taken for done",
        remembering((Sessions, "mark", _first_each_time)),
    ),
    Planted("gone-for-ever", "a host that was silent is not heard any more", patched((Fleet, "heard", _gone_for_ever))),
    Planted("beats-unheard", "heartbeats are not heard", patched((HostEvents, "hear", _hear_no_beat))),
    Planted(
        "report-uncompared",
        "what a host reports is taken for what it reported before",
        patched((Agreements, "holds", _whatever_it_says)),
    ),
)
