"""Runs actions: leases one, replays its journal, goes on, undoes it when it fails, and stops when it is fenced off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from floe.cloud.own_actions import Begun
from floe.conductor.failures import Failure, failure_of
from floe.conductor.fleet import ConductorSettings
from floe.conductor.flow import Flow
from floe.conductor.gathering import Gathering
from floe.conductor.performing import Performer
from floe.conductor.renewing import Renewal
from floe.conductor.saga import Saga
from floe.conductor.slots import Slots
from floe.conductor.stops import Fenced, Interrupted, Postponed
from floe.core.actions import OPEN_STATES, Action, Step
from floe.core.callers import work_for_the_cloud
from floe.core.clock import Clock
from floe.core.errors import FloeError
from floe.core.given import Given
from floe.core.messages import Progress
from floe.store import actions as rows
from floe.store import leases
from floe.store.engine import Connection, Isolation, Transactions

log = logging.getLogger(__name__)

_UNEXPECTED_TRIES = 3
"""How often an action may end in an error nobody raised on purpose, before it is failed for it."""

_SOONEST = 0.1
"""Seconds between two sweeps that wait for leases to run out, at least: a dead conductor's do one after the other."""
_WRITE_AGAIN = 0.5
"""Seconds between attempts to write to a database that refused."""


class _Strange(msgspec.Struct, frozen=True):
    """An action that another release began, and this one does not know how to go on with."""

    action: Action
    why: str


def _broken_off(error: BaseException) -> Failure:
    if isinstance(error, FloeError):
        return failure_of(error)
    return Failure(kind="internal", message=f"It broke off: {type(error).__name__}.")


class Runner:
    """The actions that this conductor has in hand. `owner` names it in leases: see `Conductor`."""

    def __init__(
        self,
        db: Transactions,
        clock: Clock,
        sagas: Mapping[str, Saga],
        performer: Performer,
        settings: ConductorSettings,
        *,
        owner: str,
        sleep: Callable[[float], Awaitable[None]],
        waited_for: Callable[[str], None] = lambda _host: None,
        look_at: Callable[[str], None] = lambda _host: None,
    ) -> None:
        self._waited_for, self._look_at = waited_for, look_at
        self._db, self._clock, self._sagas, self._settings = db, clock, sagas, settings
        self._performer = performer
        self._owner, self._sleep = owner, sleep
        self._renewal = Renewal(db, clock, owner=owner, lease=settings.lease)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._flows: dict[str, Flow] = {}
        self._slots = {kind: Slots(settings.limit) for kind in sagas}
        self._loads = Gathering("loads", self._load_together)
        self._again: set[str] = set()
        self._progress: dict[str, list[Progress]] = {}
        self._writers: set[asyncio.Task[None]] = set()
        self._unknown: set[str] = set()
        self._silent: set[str] = set()
        self._ends_soon = False
        """A sweep is due for when a lease runs out."""
        self._stopping = False

    @property
    def running(self) -> int:
        """How many actions are in hand."""
        return len(self._tasks)

    def at_work_on(self, subject_id: str) -> bool:
        """Say whether an action on this is in hand here."""
        return any(flow.action.subject_id == subject_id for flow in self._flows.values())

    def wake(self, action_id: str, fresh: Action | None = None) -> None:
        """Take an action up, unless it is in hand already; `fresh` is its row as it was inserted, if that is known."""
        if self._stopping:
            return
        if action_id in self._tasks:
            self._again.add(action_id)
            return
        flow = None if fresh is None else self._known(self._begun(fresh, ()))
        if fresh is None or flow is not None:
            self._start(action_id, flow)

    def go_on(self, begun: Begun) -> None:
        """Go on with an action that was begun here in our name, and nobody waits for; see `Leases`."""
        action = begun.action
        if not self._stopping:  # else its lease ends with those of the others, or runs out
            given = msgspec.convert(action.input, self._sagas[action.kind].given)
            flow = self._flow(self._sagas[action.kind], action, given, begun.steps, held=True)
            self._start(action.id, flow)

    def at_work(self) -> bool:
        """Say whether what is begun in our name would be gone on with."""
        return not self._stopping

    def overtake(self, action_id: str) -> None:
        """Take an action up whose owner was seen to be silent for the time of a lease, whatever the time of day is."""
        self._silent.add(action_id)
        self.wake(action_id)

    def has_in_hand(self, action_id: str) -> bool:
        """Say whether an action is being done here."""
        return action_id in self._tasks or action_id in self._flows

    async def perform(self, begun: Begun) -> None:
        """Do an action that was begun here, with our lease; raise what failed it, once it is taken back.

        One that leaves nothing to be taken back is gone on with by whoever finds it, whatever broke it off. Raises
        Fenced when it is not ours any more, Interrupted when it is left to be gone on with.
        """
        action = begun.action
        saga = self._sagas[action.kind]
        given = msgspec.convert(action.input, saga.given)
        flow = self._flows[action.id] = self._flow(saga, action, given, begun.steps, held=True)
        flow.known.update(begun.known)
        try:
            await self._performer.perform(saga, flow)
        except (Fenced, GeneratorExit):  # of the latter nothing can be awaited: the loop is no more
            raise
        except BaseException as error:
            await asyncio.shield(self._end(saga, flow, error))
            raise
        finally:
            self._flows.pop(action.id, None)

    async def sweep(self, most: int = 256) -> int:
        """Take up all open actions that nobody holds; return how many there are.

        Where a lease runs out before the next sweep, there is one just then: its owner may be dead.
        """
        now = self._clock.now()
        waiting, end = await self._db.read(lambda conn: (rows.waiting(conn, now, most), leases.first_end(conn, now)))
        if end is not None and not self._ends_soon and end - now < timedelta(seconds=self._settings.sweep):
            self._ends_soon = True
            self._beside(self._sweep_after(max((end - now).total_seconds(), _SOONEST)))
        for action_id in waiting:
            if action_id not in self._tasks:
                self.wake(action_id)
        return len(waiting)

    async def renew(self) -> None:
        """Keep what is in hand ours."""
        await self._renewal.renew(self._flows.values())

    def progress(self, event: Progress) -> None:
        """Keep what a host says of an action of ours; it is written if the action is still open a little later."""
        if event.action_id not in self._flows:
            return
        waiting = self._progress.get(event.action_id)
        if waiting is not None:
            waiting.append(event)
            return
        self._progress[event.action_id] = [event]
        self._beside(self._write_progress(event.action_id))

    async def idle(self) -> None:
        """Wait until no action is in hand."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Let go of all actions where they stand; their journals say how to go on."""
        self._stopping = True
        tasks = [*self._tasks.values(), *self._writers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._let_go(None)

    # -- inside ---------------------------------------------------------------------------------------

    async def _sweep_after(self, seconds: float) -> None:
        await self._sleep(seconds)
        self._ends_soon = False
        try:
            await self.sweep()
        except FloeError as error:
            log.debug("the next sweep looks for what fell free: %s", error)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._writers.add(task)
        task.add_done_callback(self._writers.discard)

    async def _end(self, saga: Saga, flow: Flow, error: BaseException) -> None:
        """Take back what broke off, or let go of it."""
        try:
            if saga.leaving() and not isinstance(error, Interrupted):
                await self._performer.fail(saga, flow, _broken_off(error))
                return
        except Fenced:
            return
        except Exception as later:
            log.warning("action %s is taken back later: %r", flow.action.id, later)
        if not await self._let_go(flow.action.id):
            self._beside(self._give_back(flow.action.id))

    def _done(self, action_id: str) -> None:
        self._tasks.pop(action_id, None)
        self._flows.pop(action_id, None)
        self._silent.discard(action_id)
        if action_id in self._again:
            self._again.discard(action_id)
            self.wake(action_id)  # if it is closed, or held, that is seen then

    def _start(self, action_id: str, flow: Flow | None) -> None:
        task = asyncio.get_running_loop().create_task(self._run(action_id, flow), name=f"action-{action_id}")
        self._tasks[action_id] = task
        task.add_done_callback(lambda _task: self._done(action_id))

    async def _run(self, action_id: str, flow: Flow | None) -> None:
        work_for_the_cloud()  # whoever's request began it
        try:
            flow = flow or await self._load(action_id)
            if flow is None:
                return
            work_for_the_cloud(flow.action.project_id)
            slots = self._slots[flow.action.kind]
            waits = slots.full
            await slots.acquire(flow.action.project_id)
            try:
                if waits and flow.held:
                    await flow.renew()
                elif waits:
                    flow = await self._load(action_id)  # it may be another's by now
                if flow is not None:
                    await self._drive(flow)
            finally:
                slots.release()
        except Fenced:
            log.info("action %s was taken over or cancelled", action_id)
            told = [step.host for step in flow.journal.steps if step.host] if flow is not None else []
            if told:
                self._look_at(told[-1])  # what it did there for us nobody was told of
        except Postponed as wait:
            log.info("action %s: %s", action_id, wait)
            self._waited_for(wait.host)
        except Interrupted as error:
            log.warning("action %s waits: %s", action_id, error)
            await self._give_back(action_id)
        except Exception:
            log.exception("action %s broke off; it will be tried again", action_id)
            await self._give_back(action_id)

    async def _give_back(self, action_id: str) -> None:
        """Give up the lease of an action that cannot go on, as soon as the database takes a write again.

        A lease that we kept would have to run out before the sweep took the action up, though nobody is at it.
        """
        while not self._stopping and not await self._let_go(action_id):
            await self._sleep(_WRITE_AGAIN)

    async def _drive(self, flow: Flow) -> None:
        self._flows[flow.action.id] = flow
        saga, performer = self._sagas[flow.action.kind], self._performer
        if flow.undoing:
            await performer.fail(saga, flow, Failure(kind="internal", message="The action failed."))
            return
        try:
            await performer.perform(saga, flow)
        except FloeError as error:
            log.info("action %s (%s) failed: %s", flow.action.id, saga.kind, error.message)
            await performer.fail(saga, flow, failure_of(error))
        except Postponed as wait:
            await flow.postpone(wait)
            raise
        except (Fenced, Interrupted):
            raise
        except Exception as error:
            if not flow.held:
                await flow.renew()  # counts as an attempt
            if flow.action.attempts + 1 < _UNEXPECTED_TRIES:
                raise
            log.exception("action %s (%s) fails for good", flow.action.id, saga.kind)
            await performer.fail(saga, flow, failure_of(error))

    async def _let_go(self, action_id: str | None) -> bool:
        try:
            await self._db.write(lambda conn: rows.let_go(conn, self._owner, action_id), Isolation.READ_COMMITTED)
        except FloeError as error:
            log.warning("leases were not given up: %s", error.message)
            return False
        return True

    def _pause(self, kind: str, project_id: str) -> Callable[[float], Awaitable[None]]:
        slots = self._slots[kind]

        async def pause(seconds: float) -> None:
            slots.release()  # who only waits takes nobody's place
            try:
                await self._sleep(seconds)
            finally:
                await slots.acquire(project_id)

        return pause

    async def _load(self, action_id: str) -> Flow | None:
        """Return the action's flow, unless it is closed, or held by somebody who is alive, or a later release's."""
        return self._known(await self._loads.do(action_id))

    def _known(self, found: Flow | _Strange | None) -> Flow | None:
        if isinstance(found, _Strange):
            self._say_unknown(found)
            return None
        return found

    async def _load_together(self, action_ids: Sequence[str]) -> list[Flow | _Strange | None]:
        now = self._clock.now()
        return await self._db.read(lambda conn: [self._read(conn, action_id, now) for action_id in action_ids])

    def _read(self, conn: Connection, action_id: str, now: datetime) -> Flow | _Strange | None:
        action = rows.get(conn, action_id)
        if action is None or action.state not in OPEN_STATES:
            return None
        held = action.lease_owner is not None and action.lease_until and action.lease_until >= now
        if held and action_id not in self._silent:
            return None
        return self._begun(action, rows.journal(conn, action_id) if action.attempts else ())

    def _begun(self, action: Action, found: Sequence[Step]) -> Flow | _Strange:
        """Return the flow of an action that nobody holds."""
        saga = self._sagas.get(action.kind)
        if saga is None or not saga.finishes(action.version):
            return _Strange(action, f"this release does {saga.begins.version}" if saga else "none is known")
        try:
            given = msgspec.convert(action.input, saga.given)
        except msgspec.ValidationError as error:
            return _Strange(action, f"given what is no {saga.given.__name__}: {error}")
        return self._flow(saga, action, given, found)

    def _flow(self, saga: Saga, action: Action, given: Given, found: Sequence[Step], *, held: bool = False) -> Flow:
        return Flow(
            action,
            given,
            found,
            leaving=saga.leaving(),
            renamed=saga.renamed.get(action.version),
            db=self._db,
            clock=self._clock,
            owner=self._owner,
            lease=timedelta(seconds=self._settings.lease),
            pause=self._pause(action.kind, action.project_id),
            held=held,
            silent=action.id in self._silent,
        )

    def _say_unknown(self, strange: _Strange) -> None:
        """Leave an action to the release that knows it, and say so once."""
        action = strange.action
        if action.id not in self._unknown:
            self._unknown.add(action.id)
            which = f"version {action.version}; {strange.why}"
            log.error("action %s is left alone: of workflow %r, %s", action.id, action.kind, which)

    async def _write_progress(self, action_id: str) -> None:
        await self._sleep(self._settings.trace_after)
        told = self._progress.pop(action_id, [])
        flow = self._flows.get(action_id)
        if flow is not None:
            try:
                await flow.note(told)
            except (Fenced, Interrupted) as error:
                log.debug("progress of action %s was not written: %r", action_id, error)
