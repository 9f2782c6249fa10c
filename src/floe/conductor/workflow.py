"""What a workflow is, and the handle through which it does everything that must survive a crash.

A workflow is an async function of a `Flow`. What it does to the database goes through `flow.transaction`, what it
does to a host through `flow.effect`; both are written to the action's journal, and a workflow that starts again
(after a crash, on any conductor) gets the recorded results instead of doing it twice. An effect's journal entry is
written before the effect begins, so that its undo is known before there is anything to undo. All else that a
workflow depends on must come from the journal, the database or the action's id, so that a replay takes the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from floe.conductor.failures import Failure, error_of, failure_of
from floe.core import entries
from floe.core.actions import FAILED, OPEN_STATES, RUNNING, SUCCEEDED, UNDOING, Action, Step
from floe.core.clock import Clock
from floe.core.entries import BEGUN, DONE, UNDONE
from floe.core.errors import FloeError, Unavailable
from floe.core.messages import Progress, StepTime
from floe.store import actions as rows
from floe.store.engine import Connection, Transactions

R = TypeVar("R")

Pause = Callable[[float], Awaitable[None]]
Undo = Callable[["Flow", Step], Awaitable[None]]


class Fenced(Exception):
    """The action is no longer ours: it was cancelled, or another conductor took it. Change nothing more."""


class Interrupted(Exception):
    """The database did not take a write; nothing is decided, and the action goes on from its journal later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The external effect that comes next: its entry is written with the transaction before it."""

    name: str
    host: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a transaction's function returns when there is more to record than its output (JSON)."""

    output: Any = None
    remark: str = ""
    host: str | None = None
    begins: Begin | None = None
    steps: Sequence[StepTime] = ()
    """What it consisted of, for the trace."""
    last: bool = False
    """The action ends with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """One kind of action. `undos` maps names of effects to what takes them back; each may run more than once.

    `failed` runs in the transaction that ends the action after the undos: it gives back what the rows hold.
    """

    kind: str
    run: Callable[[Flow], Awaitable[None]]
    undos: Mapping[str, Undo] = field(default_factory=dict)
    failed: Callable[[Connection, Flow, Failure], None]


class Flow:
    """One run of an action's workflow. Not to be shared between tasks."""

    def __init__(
        self,
        action: Action,
        journal: Sequence[Step],
        workflow: Workflow,
        *,
        db: Transactions,
        clock: Clock,
        owner: str,
        lease: timedelta,
        pause: Pause,
    ) -> None:
        self.action = action
        self._workflow = workflow
        self._lock = asyncio.Lock()
        self.pause = pause
        self.steps = [step for step in journal if step.parent is None]
        self.held = False
        self.closed = self._ending = False
        self.renewed_at = clock.monotonic()
        self._db, self._clock, self._owner, self._lease = db, clock, owner, lease
        self._attempts = action.attempts
        self._state = UNDOING if action.state == UNDOING else RUNNING
        self._seq = max((step.seq for step in journal), default=0)
        self._cursor: dict[str, int] = {}
        self._changed: dict[int, Step] = {}
        self._children: dict[tuple[str, str, str], Step] = {
            (step.parent, step.name, step.host or ""): step for step in journal if step.parent
        }
        self._stored_children = {step.seq for step in self._children.values()}
        self._recoveries: list[Step] = []

    @property
    def undoing(self) -> bool:
        """Whether it was decided that the action fails, and what it did is being taken back."""
        return self._state == UNDOING

    async def transaction(
        self, name: str, fn: Callable[[Connection], R | Outcome], *, last: bool = False, started: datetime | None = None
    ) -> Any:
        """Do `fn` in one transaction that proves the action to be ours, and record its output in the same one.

        With `last`, the action ends with it. `fn` may return an `Outcome`, whose `begins` announces the effect that
        comes next. Returns the output, read from the journal when the step was done before. What `fn` raises
        undoes all of it. Raises Fenced when the action is not ours any more.
        """
        recorded = self._recorded(name)
        if recorded is not None:
            return recorded.output
        started = started or self._clock.now()

        def work(conn: Connection) -> list[Step]:
            returned = fn(conn)
            outcome = returned if isinstance(returned, Outcome) else Outcome(output=returned)
            self._ending = last or outcome.last
            now = self._clock.now()
            made = [self._entry(1, name, DONE, started, outcome=outcome, finished=now)]
            for part in outcome.steps:
                made.append(entries.part_of(self.action.id, self._seq + len(made) + 1, made[0], part, now.tzinfo))
            if outcome.begins is not None:
                begins = Outcome(host=outcome.begins.host)
                made.append(self._entry(len(made) + 1, outcome.begins.name, BEGUN, now, outcome=begins))
            return made

        made = await self._write(work, last=last)
        return made[0].output

    async def effect(
        self,
        name: str,
        call: Callable[[], Awaitable[R]],
        *,
        returns: type[R],
        host: str | None = None,
        steps: Callable[[R], Sequence[StepTime]] = lambda _result: (),
    ) -> R:
        """Do something outside the database; a repeat of `call` must be harmless, for a crash means one.

        Its result (or its FloeError, which is raised again on replay) is recorded with the next transaction.
        """
        step = self._recorded(name)
        if step is not None and step.state == DONE:
            return msgspec.convert(step.output, returns)
        if step is not None and step.state in {FAILED, UNDONE}:
            raise error_of(msgspec.convert(step.output, Failure))
        if step is None:
            begun = self._clock.now()
            (step,) = await self._write(lambda _conn: [self._entry(1, name, BEGUN, begun, outcome=Outcome(host=host))])
        elif not self.held:
            again = f"its conductor stopped while {entries.place(step)} was under way; it was asked for again"
            self.recovered(again, step)
            await self.renew()
        try:
            result = await call()
        except FloeError as error:
            failure = failure_of(error)
            self._finish(step, FAILED, failure, remark=failure.message)
            for part in getattr(error, "steps", ()):
                self._live(step, part, state=FAILED if part.name == getattr(error, "stage", "") else DONE)
            raise
        self._finish(step, DONE, result)
        for part in steps(result):
            self._live(step, part)
        return result

    def recovered(self, remark: str, step: Step | None = None) -> None:
        """Tell of a recovery; written with whatever is written next, so that it costs no commit."""
        self._seq += 1
        under = step or next((item for item in reversed(self.steps) if item.state == BEGUN), None)
        self._recoveries.append(entries.recovery(self.action.id, self._seq, remark, self._clock.now(), parent=under))

    def recorded(self, name: str) -> Any:
        """Return the output of the next transaction of that name if it was done before, else None."""
        step = self._recorded(name)
        return None if step is None else step.output

    async def renew(self) -> None:
        """Prove that the action is ours, and keep it so. Raises Fenced."""
        await self._write(lambda _conn: [])

    async def alongside(self, fn: Callable[[Connection], None]) -> None:
        """Write something, fenced, that no replay depends on, while an effect runs."""

        def work(conn: Connection) -> list[Step]:
            fn(conn)
            return []

        await self._write(work)

    async def roll_back(self, name: str) -> None:
        """Take back the effect of that name that was last awaited; recorded with the next transaction."""
        same = [step for step in self.steps if step.name == name]
        await self._undo(same[self._cursor[name] - 1])

    async def resume_failure(self) -> None:
        """Go on taking back what an action did that was found to fail before the crash."""
        await self.fail(Failure(kind="internal", message="The action failed."))

    async def fail(self, failure: Failure) -> None:
        """Take back all effects, the latest first, and end the action with the failure."""
        recorded = next((step for step in self.steps if step.name == "failure"), None)
        if recorded is not None:
            failure = msgspec.convert(recorded.output, Failure)
        to_undo = [step for step in reversed(self.steps) if step.name in self._workflow.undos and step.state != UNDONE]
        if recorded is None and to_undo:
            now = self._clock.now()
            self._state = UNDOING
            outcome = Outcome(output=msgspec.to_builtins(failure), remark=failure.message)
            await self._write(lambda _conn: [self._entry(1, "failure", FAILED, now, outcome=outcome, finished=now)])
        for step in to_undo:
            await self._undo(step)
        await self._close_failed(failure, recorded is None and not to_undo)

    async def note(self, progress: Sequence[Progress]) -> None:
        """Write what a host says it is doing while it does it, so that a long build can be watched."""
        current = next((step for step in reversed(self.steps) if step.state == BEGUN), None)
        if current is None or self.closed or not self.held or self._lock.locked():
            return
        for item in progress:
            if current.host not in {None, item.host}:
                continue  # it comes late, from a host that was given up
            part = StepTime(name=item.step, started=item.started, seconds=item.seconds or 0.0, remark=item.remark)
            self._live(current, part, state=BEGUN if item.seconds is None else DONE)
        await self.renew()

    def mine(self) -> bool:
        """Look whether the action is still ours; a read that costs little, before something that costs much."""
        now = self._db.read_now(lambda conn: rows.get(conn, self.action.id))
        return (
            now is not None
            and now.state in OPEN_STATES
            and now.attempts == self._attempts
            and (not self.held or now.lease_owner == self._owner)
        )

    # -- inside ---------------------------------------------------------------------------------------

    async def _undo(self, step: Step) -> None:
        if step.state == UNDONE:
            return
        if not self.held:
            self.recovered(f"its conductor stopped while {entries.place(step)} was being undone; that goes on", step)
            await self.renew()
        elif not self.mine():
            raise Fenced
        await self._workflow.undos[step.name](self, step)
        remark = step.remark or "undone"
        self._replace(replace(step, state=UNDONE, remark=remark, finished_at=self._clock.now()))

    async def _close_failed(self, failure: Failure, tell: bool) -> None:
        now = self._clock.now()
        outcome = Outcome(output=msgspec.to_builtins(failure), remark=failure.message)

        def work(conn: Connection) -> list[Step]:
            self._workflow.failed(conn, self, failure)
            return [self._entry(1, "failure", FAILED, now, outcome=outcome, finished=now)] if tell else []

        await self._write(work, last=True, message=failure.message)

    async def _write(
        self, work: Callable[[Connection], list[Step]], *, last: bool = False, message: str | None = None
    ) -> list[Step]:
        async with self._lock:
            changed, told = dict(self._changed), list(self._recoveries)
            children = {key: step for key, step in self._children.items() if step.seq not in self._stored_children}
            undoing = self.undoing or message is not None
            self._ending = last

            def write(conn: Connection) -> list[Step]:
                now = self._clock.now()
                self._fence(conn, now)
                made = work(conn)
                rows.write_steps(conn, [*children.values(), *told, *made], list(changed.values()))
                if self._ending:
                    rows.close(conn, self.action.id, FAILED if undoing else SUCCEEDED, message, now)
                return made

            try:
                made = await self._db.write(write)
            except Unavailable as error:
                raise Interrupted(error.message) from error
            self._wrote(made, changed, children)
            del self._recoveries[: len(told)]
            return made

    def _wrote(self, made: list[Step], changed: dict[int, Step], children: Mapping[tuple[str, str, str], Step]) -> None:
        """Take note of what is in the database now."""
        if not self.held:
            self.held = True
            self._attempts += 1
        self.closed = self._ending
        self.renewed_at = self._clock.monotonic()
        for seq, step in changed.items():
            if self._changed.get(seq) is step:
                del self._changed[seq]
        for key, step in children.items():
            self._stored_children.add(step.seq)
            if self._children[key] is not step:  # it ended while its beginning was written
                self._changed[step.seq] = self._children[key]
        self._seq = max([self._seq, *(step.seq for step in made)])
        for step in made:
            if step.parent is None:
                self.steps.append(step)
                self._cursor[step.name] = self._cursor.get(step.name, 0) + (step.state != BEGUN)

    def _fence(self, conn: Connection, now: datetime) -> None:
        until = now + self._lease
        if self.held:
            proved = rows.hold(conn, self.action.id, self._owner, self._attempts, self._state, now, until)
        else:
            proved = rows.take(conn, self.action, self._attempts, self._owner, self._state, now, until)
        if not proved:
            raise Fenced

    def _recorded(self, name: str) -> Step | None:
        """Return the entry that the next call of that name finds, counting the calls of each name."""
        same = [step for step in self.steps if step.name == name]
        at = self._cursor.get(name, 0)
        if at >= len(same):
            return None
        if same[at].state != BEGUN:
            self._cursor[name] = at + 1
        return same[at]

    def _finish(self, step: Step, state: str, output: Any, *, remark: str = "") -> None:
        self._cursor[step.name] = self._cursor.get(step.name, 0) + 1
        plain = msgspec.to_builtins(output)
        self._replace(replace(step, state=state, output=plain, remark=remark, finished_at=self._clock.now()))

    def _replace(self, step: Step) -> None:
        for index, old in enumerate(self.steps):
            if old.seq == step.seq:
                self.steps[index] = step
        self._changed[step.seq] = step

    def _entry(
        self,
        offset: int,
        name: str,
        state: str,
        started: datetime,
        *,
        outcome: Outcome,
        finished: datetime | None = None,
    ) -> Step:
        return Step(
            action_id=self.action.id,
            seq=self._seq + offset,
            name=name,
            state=state,
            host=outcome.host,
            remark=outcome.remark,
            output=msgspec.to_builtins(outcome.output),
            started_at=started,
            finished_at=finished,
        )

    def _live(self, parent: Step, part: StepTime, *, state: str = DONE) -> None:
        """Keep one entry per part of an effect; it may be told of while it runs, and again at the end."""
        key = (parent.name, part.name, parent.host or "")
        known = self._children.get(key)
        step = entries.part_of(self.action.id, self._seq + 1, parent, part, self._clock.now().tzinfo, state=state)
        if known is None:
            self._seq += 1
            self._children[key] = step
            return
        if state == BEGUN:
            return
        step = replace(step, seq=known.seq)
        self._children[key] = step
        if known.seq in self._stored_children:
            self._changed[known.seq] = step
