"""One run of a workflow: the handle through which it does everything that must survive a crash.

What it does to the database goes through `flow.transaction`, what it does to a host through `flow.effect`; both are
written to the action's journal, and a workflow that starts again (after a crash, on any conductor) gets the recorded
results instead of doing it twice. An effect's journal entry is written before the effect begins, so that its undo is
known before there is anything to undo. All else that a workflow depends on must come from the journal, the database or
the action's id, so that a replay takes the same way.

A function that writes (`Work`) touches its connection and what it was made with, for it may run twice; what it means
for memory is done `after` the commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import msgspec
from msgspec.structs import replace

from floe.conductor.failures import Failure, error_of, failure_of
from floe.conductor.journal import Journal
from floe.conductor.stops import Fenced, Interrupted, Postponed
from floe.core import entries
from floe.core.actions import FAILED, OPEN_STATES, RUNNING, SERVER, SUCCEEDED, UNDOING, Action, Step
from floe.core.clock import Clock
from floe.core.entries import BEGUN, DONE, UNDONE
from floe.core.errors import FloeError, StoreUnavailable, Unavailable
from floe.core.given import Given
from floe.core.messages import Progress
from floe.core.step_times import StepTime
from floe.store import actions as rows
from floe.store import holdings
from floe.store.engine import Connection, Transactions

R = TypeVar("R")
G = TypeVar("G", bound=Given)
W = TypeVar("W")

log = logging.getLogger(__name__)

Pause = Callable[[float], Awaitable[None]]
Work: TypeAlias = Callable[[Connection], Any]
"""Writes in one transaction, and returns an `Outcome`, or an output alone."""


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """The effect on a host that comes next: its entry is written with the transaction before it."""

    name: str
    host: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a transaction's function returns when there is more to record than its output (JSON)."""

    output: Any = None
    remark: str = ""
    host: str | None = None
    begins: Begin | None = None
    steps: Sequence[StepTime] = ()
    """What it consisted of, for the trace."""
    last: bool = False
    """The action ends with it."""


class Flow:
    """One run of an action's workflow. Not to be shared between tasks.

    `leaving` names the steps that leave something, `renamed` those that the journal has by earlier names. The action
    may be `held` already, or its owner may have been seen to be `silent` for too long.
    """

    def __init__(
        self,
        action: Action,
        given: Given,
        found: Sequence[Step],
        *,
        leaving: Set[str],
        renamed: Mapping[str, str] | None,
        db: Transactions,
        clock: Clock,
        owner: str,
        lease: timedelta,
        pause: Pause,
        held: bool = False,
        silent: bool = False,
    ) -> None:
        self.action, self.pause = action, pause
        self.journal = Journal(action.id, found, clock, renamed)
        self.known: dict[Any, Any] = {}
        """What the steps so far returned, and what they read on the way, by type."""
        self.held, self.closed, self._silent = held, False, silent
        self._lock, self._given, self._leaving = asyncio.Lock(), given, leaving
        self._db, self._clock, self._owner, self._lease = db, clock, owner, lease
        self.renewed_at, self.leased_at = self._clock.monotonic(), self._clock.now()
        self._attempts, self._state = action.attempts, UNDOING if action.state == UNDOING else RUNNING
        self._known_of_hosts: list[Work] = []

    @property
    def undoing(self) -> bool:
        """Whether it was decided that the action fails, and what it did is being taken back."""
        return self._state == UNDOING

    @property
    def time(self) -> datetime:
        """What time it is."""
        return self._clock.now()

    @property
    def attempt(self) -> int:
        """Which attempt at the action this is, once it is held: what fences those before it off."""
        return self._attempts

    def given(self, of: type[G]) -> G:
        """Return what the action was given, which is of the type that its saga says."""
        if not isinstance(self._given, of):
            raise TypeError(f"a {self.action.kind!r} is given a {type(self._given).__name__}, no {of.__name__}")
        return self._given

    def result(self, of: type[R]) -> R:
        """Return what the last step that returned such a thing returned."""
        found: R = self.known[of]
        return found

    async def transaction(self, name: str, fn: Work, *, last: bool = False, started: datetime | None = None) -> Any:
        """Do `fn` in one transaction that proves the action to be ours, and record its output in the same one.

        With `last`, the action ends with it. `fn` may return an `Outcome`, whose `begins` announces the effect that
        comes next. Returns the output, read from the journal when the step was done before. What `fn` raises
        undoes all of it. Raises Fenced when the action is not ours any more.
        """
        if (recorded := self.journal.find(name)) is not None:
            return recorded.output
        started = started or self._clock.now()

        def work(conn: Connection) -> tuple[list[Step], bool]:
            returned = fn(conn)
            outcome = returned if isinstance(returned, Outcome) else Outcome(output=returned)
            now, entry = self._clock.now(), self.journal.entry
            said = {"host": outcome.host, "remark": outcome.remark, "output": outcome.output}
            made = [entry(1, name, DONE, started, **said, finished=now)]
            for part in outcome.steps:
                made.append(self.journal.part(len(made) + 1, made[0], part, now.tzinfo))
            if outcome.begins is not None:
                made.append(self._begin(conn, len(made) + 1, outcome.begins.name, outcome.begins.host, now))
            return made, outcome.last

        made = await self._write(work, last=last)
        return made[0].output

    async def effect(
        self,
        name: str,
        call: Callable[[], Awaitable[R]],
        *,
        returns: type[R],
        host: str | None,
        steps: Callable[[R], Sequence[StepTime]],
    ) -> R:
        """Do something outside the database; a repeat of `call` must be harmless, for a crash means one.

        Its result (or its FloeError, which is raised again on replay) is recorded with the next transaction.
        """
        step = self.journal.find(name)
        if step is not None and step.state == DONE:
            return msgspec.convert(step.output, returns)
        if step is not None and step.state in {FAILED, UNDONE}:
            raise error_of(msgspec.convert(step.output, Failure))
        if step is None:
            begun = self._clock.now()
            (step,) = await self._write(lambda conn: ([self._begin(conn, 1, name, host, begun)], False))
        elif not self.held:
            if step.remark:  # it waited for its host, and nobody was at it
                step = replace(step, remark="")
                self.journal.replace(step)
            elif step.host is not None:
                again = f"its conductor stopped while {entries.place(step)} was under way; it was asked for again"
                self.journal.recovered(again, step)
            await self.renew()
        try:
            result = await call()
        except StoreUnavailable:
            raise  # it goes on from here when the database is back
        except FloeError as error:
            failure = failure_of(error)
            self.journal.finish(step, FAILED, failure, remark=failure.message)
            for part in getattr(error, "steps", ()):
                self.journal.live(step, part, state=FAILED if part.name == getattr(error, "stage", "") else DONE)
            raise
        self.journal.finish(step, DONE, result)
        for part in steps(result):
            self.journal.live(step, part)
        return result

    def learn(self, of_host: Work) -> None:
        """Keep what was learnt of a host; written with whatever is written next."""
        self._known_of_hosts.append(of_host)

    def await_host(self, host: str, seconds: float, down: Unavailable) -> None:
        """Have the action wait for a host that is down, so long from when it was asked for.

        Raises Postponed; and what it is `down` by when it has waited that long, or is not to wait.
        """
        until = self.action.created_at + timedelta(seconds=seconds)
        if seconds and self._clock.now() < until:
            raise Postponed(host, until) from down
        if seconds:
            raise Unavailable(f"Host {host!r} is down, and was for {seconds:g} s since this was asked for.") from down

    async def postpone(self, wait: Postponed) -> None:
        """Let go of the action until a host is back: `actions.back` has it taken up then. Raises Fenced."""
        step = self.journal.begun()
        assert step is not None
        self.journal.replace(replace(step, remark=str(wait)))

        def work(conn: Connection) -> tuple[list[Step], bool]:
            rows.wait_for(conn, self.action.id, wait.host, wait.until)
            return [], False

        await self._write(work)
        self.closed = True

    async def renew(self) -> None:
        """Prove that the action is ours, and keep it so. Raises Fenced."""
        await self._write(lambda _conn: ([], False))

    async def prove(self) -> None:
        """Keep the action ours, if the lease may have run out while this process stood still. Raises Fenced.

        What is asked of a host is founded on the lease, which others take over by their clocks: half of it is trusted.
        A machine that slept has a monotonic clock that slept too.
        """
        trusted = self._lease / 2
        awake = self._clock.monotonic() - self.renewed_at < trusted.total_seconds()
        if not awake or abs(self._clock.now() - self.leased_at) >= trusted:
            await self.renew()

    async def alongside(self, fn: Callable[[Connection], W]) -> W:
        """Write something, fenced, that no replay depends on, while an effect runs; return what `fn` returned."""
        _, returned = await self._write_and_return(lambda conn: ([], False, fn(conn)))
        return returned

    async def go_ahead(self, heard: int) -> int:
        """Count this attempt after one that a host heard of, if the action is ours, and return it. Raises Fenced."""
        if heard >= self._attempts:
            seen, number = self._attempts, heard + 1
            await self.alongside(lambda conn: rows.recount(conn, self.action.id, seen, number))
            self._attempts = number
        return self._attempts

    async def while_leased(self, work: Awaitable[W]) -> W:
        """Do something that may take for ever, and keep the action ours all the while. Raises Fenced once it is not."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=self._lease.total_seconds() / 4))[0]:
                try:
                    await self.renew()
                except Interrupted as error:
                    log.warning("action %s is under way, which could not be written: %s", self.action.id, error)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        return task.result()

    async def prepare_undo(self, step: Step) -> None:
        """Prove that the action is ours before something of it is taken back. Raises Fenced."""
        if not self.held:
            if step.host is not None:  # the bytes of an image are asked for as often as it takes
                again = f"its conductor stopped while {entries.place(step)} was being undone; that goes on"
                self.journal.recovered(again, step)
            await self.renew()
        elif not await self.mine():
            raise Fenced

    def undone(self, step: Step) -> None:
        """Note that a step was taken back; written with whatever is written next."""
        self.journal.replace(replace(step, state=UNDONE, remark=step.remark or "undone", finished_at=self._clock.now()))

    def failure(self) -> Failure | None:
        """Return why the action fails, if that was decided before."""
        recorded = next((step for step in self.journal.steps if step.name == "failure"), None)
        return None if recorded is None else msgspec.convert(recorded.output, Failure)

    async def fail(self, failure: Failure, undo: Callable[[Step], Awaitable[None]], give_back: Work) -> None:
        """Take back all effects, the latest first, and end the action with the failure."""
        recorded = self.failure()
        due = [step for step in reversed(self.journal.steps) if step.name in self._leaving and step.state != UNDONE]
        now = self._clock.now()
        said: dict[str, Any] = {"output": failure, "remark": failure.message, "finished": now}
        if recorded is None and due:
            self._state = UNDOING
            await self._write(lambda _conn: ([self.journal.entry(1, "failure", FAILED, now, **said)], False))
        for step in due:
            await undo(step)

        def work(conn: Connection) -> tuple[list[Step], bool]:
            give_back(conn)
            tell = recorded is None and not due
            return [self.journal.entry(1, "failure", FAILED, now, **said)] if tell else [], True

        await self._write(work, last=True, failed=failure.message)

    async def note(self, progress: Sequence[Progress]) -> None:
        """Write what a host says it is doing while it does it, so that a long build can be watched."""
        current = self.journal.begun()
        if current is None or self.closed or not self.held or self._lock.locked():
            return
        for item in progress:
            if current.host not in {None, item.host}:
                continue  # it comes late, from a host that was given up
            part = StepTime(name=item.step, started=item.started, seconds=item.seconds or 0.0, remark=item.remark)
            self.journal.live(current, part, state=BEGUN if item.seconds is None else DONE)
        await self.renew()

    async def mine(self) -> bool:
        """Look whether the action is still ours; a read that costs little, before something that costs much."""
        now = await self._db.read(lambda conn: rows.get(conn, self.action.id))
        return (
            now is not None
            and now.state in OPEN_STATES
            and now.attempts == self._attempts
            and (not self.held or now.lease_owner == self._owner)
        )

    # -- inside ---------------------------------------------------------------------------------------

    def _begin(self, conn: Connection, offset: int, name: str, host: str | None, now: datetime) -> Step:
        """Say that an effect comes next; what it may leave on its host is known from now on."""
        if name in self._leaving and host is not None and self.action.subject_kind == SERVER:
            holdings.insert(conn, self.action.subject_id, host, self.action.id)
        return self.journal.entry(offset, name, BEGUN, now, host=host)

    async def _write(
        self,
        work: Callable[[Connection], tuple[list[Step], bool]],
        *,
        last: bool = False,
        failed: str | None = None,
    ) -> list[Step]:
        """Write entries that `work` makes, and all that waits to be written.

        The action ends with it if that is known beforehand (`last`), or if `work` says so.
        """
        made, _ = await self._write_and_return(lambda conn: (*work(conn), None), last=last, failed=failed)
        return made

    async def _write_and_return(
        self,
        work: Callable[[Connection], tuple[list[Step], bool, W]],
        *,
        last: bool = False,
        failed: str | None = None,
    ) -> tuple[list[Step], W]:
        async with self._lock:
            unwritten, learnt = self.journal.unwritten(), list(self._known_of_hosts)
            ends_as, now = FAILED if self.undoing or failed is not None else SUCCEEDED, self._clock.now()
            ends, begun = last and self.held, self._clock.monotonic()

            def write(conn: Connection) -> tuple[list[Step], bool, W]:
                if not (self._end(conn, ends_as, failed, now) if ends else self._hold(conn, now)):
                    raise Fenced
                made, over, returned = work(conn)
                for of_host in learnt:
                    of_host(conn)
                rows.write_steps(conn, unwritten.with_own(made, last=last or over))
                if (last or over) and not ends:
                    rows.close(conn, self.action.id, ends_as, failed, now)
                return made, last or over, returned

            try:
                made, self.closed, returned = await self._db.write(write)
            except Unavailable as error:
                raise Interrupted(error.message) from error
            if not self.held:
                self.held = True
                self._attempts += 1
            self.renewed_at, self.leased_at = begun, now
            self.journal.wrote(made, unwritten)
            del self._known_of_hosts[: len(learnt)]
            return made, returned

    def _hold(self, conn: Connection, now: datetime) -> bool:
        """Prove that the action is ours, and keep it so."""
        until = now + self._lease
        if self.held:
            return rows.hold(conn, self.action.id, self._owner, self._attempts, self._state, now, until)
        taken = (self.action, self._attempts, self._owner, self._state, now, until)
        return rows.take(conn, *taken, silent=self._silent)

    def _end(self, conn: Connection, state: str, message: str | None, now: datetime) -> bool:
        """Prove that the action is ours, and end it: nobody sees that before the rest of the transaction."""
        return rows.end(conn, self.action.id, self._owner, self._attempts, state, message, now)
