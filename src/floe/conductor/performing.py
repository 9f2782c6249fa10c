"""Does the steps of a saga, and takes them back.

`Observer` is a seam: it is awaited before each step, in it (a host or the store has answered, and nothing is recorded
of it yet) and after it, so that tests can strike exactly there. A step that is taken back is told of as `undo NAME`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import server_passwords
from floe.conductor.failures import Failure
from floe.conductor.fleet import Asking, Down
from floe.conductor.flow import Flow
from floe.conductor.removal import Patience, Removed
from floe.conductor.saga import Again, Choice, Each, Leaf, Node, OnHost, OnStore, Remove, Saga, Write
from floe.conductor.stops import Interrupted
from floe.core.actions import Step
from floe.core.entries import UNDONE
from floe.core.errors import FloeError, HostFailure, NotFound, StoreUnavailable
from floe.core.messages import Command
from floe.store import holdings

log = logging.getLogger(__name__)

BEFORE, IN, AFTER = "before", "in", "after"
Observer = Callable[[str, str], Awaitable[None]]
"""Given the point and the step's name."""

_UNDO = Patience(first=0.2, most=60.0)


async def unobserved(_point: str, _name: str) -> None:
    """Let everything pass."""


class Performer(msgspec.Struct, frozen=True):
    """Performs sagas. `command` and `removal` reach the hosts: those of `Fleet` and `Removal`."""

    command: Callable[..., Awaitable[Any]]
    removal: Callable[..., Awaitable[Removed]]
    observer: Observer = unobserved

    async def perform(self, saga: Saga, flow: Flow) -> None:
        """Do all steps, those that the journal has as it has them. Raises FloeError when the action fails."""
        await self._do_all(flow, saga, saga.steps)
        if not flow.closed:
            await flow.transaction("end", lambda _conn: None, last=True)
        await _follow(saga, flow)

    async def fail(self, saga: Saga, flow: Flow, failure: Failure) -> None:
        """Take back what was done, the latest first, and end the action with why that is, or was found to be before."""
        failure = flow.failure() or failure

        async def undo(step: Step) -> None:
            await self._undo(flow, saga, step)

        await flow.fail(failure, undo, saga.fails(flow, failure))
        await _follow(saga, flow)

    # -- inside ---------------------------------------------------------------------------------------

    async def _do_all(self, flow: Flow, saga: Saga, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if flow.closed:
                return
            if isinstance(node, Again):
                await self._again(flow, saga, node)
            elif isinstance(node, Each):
                for thing in node.over(flow):
                    flow.known[type(thing)] = thing
                    await self._do_all(flow, saga, node.steps)
            else:
                await self.observer(BEFORE, node.name)
                with _going_on_later():
                    result = await self._do(flow, node)
                if result is not None:
                    flow.known[type(result)] = result
                await self.observer(AFTER, node.name)

    async def _do(self, flow: Flow, node: Leaf) -> Any:
        if isinstance(node, Write):
            return await self._write(flow, node)
        if isinstance(node, Choice):
            recorded = flow.journal.find(node.name)
            output = recorded.output if recorded is not None else await node.by(flow)
            return None if flow.closed else msgspec.convert(output, node.returns)
        if isinstance(node, OnHost):
            return await self._command(flow, node)
        if isinstance(node, OnStore):
            return await self._store(flow, node)
        return await self._remove(flow, node)

    async def _write(self, flow: Flow, node: Write) -> Any:
        recorded = flow.journal.find(node.name)
        output = recorded.output if recorded is not None else None
        if recorded is None:
            output = await flow.transaction(node.name, node.do(flow), last=node.last)
        result = None if node.returns is None else msgspec.convert(output, node.returns)
        if recorded is None and (telling := node.after(flow, result)) is not None:
            await telling
        return result

    async def _command(self, flow: Flow, node: OnHost) -> Any:
        host = node.at(flow)

        async def tell(command: Command) -> Any:
            return await self.command(
                host,
                command,
                returns=node.returns,
                seconds=node.seconds,
                asking=_asking(flow),
            )

        async def call() -> Any:
            try:
                try:
                    result = await tell(await node.command(flow))
                except HostFailure as error:
                    if node.behind is not None and error.heard:
                        await node.behind(flow, error)
                    if node.anew is None or error.cause != NotFound.kind:
                        raise
                    result = await tell(await node.anew(flow))
            except Down as error:
                flow.await_host(host, node.waits, error)
                raise
            await self.observer(IN, node.name)
            return result

        result = await flow.effect(node.name, call, returns=node.returns, host=host, steps=_steps)
        node.after(flow, result)
        return result

    async def _store(self, flow: Flow, node: OnStore) -> Any:
        async def call() -> Any:
            result = await node.do(flow)
            await self.observer(IN, node.name)
            return result

        return await flow.effect(node.name, call, returns=node.returns, host=None, steps=_steps)

    async def _remove(self, flow: Flow, node: Remove) -> Removed:
        host, subject = node.at(flow), flow.action.subject_id

        async def trouble(error: FloeError, waited: float) -> None:
            await node.shown(flow, error, waited)
            if not await flow.mine():
                await flow.renew()  # raises Fenced

        async def call() -> Removed:
            result = await self.removal(host, node.command(flow), asking=_asking(flow), trouble=trouble)
            await self.observer(IN, node.name)
            if not result.owed:
                flow.learn(partial(holdings.delete, server_id=subject, host=host))
            if result.posted is not None:
                flow.learn(partial(server_passwords.left_behind, event=result.posted, server_id=subject, now=flow.time))
            return replace(result, posted=None)

        return await flow.effect(node.name, call, returns=Removed, host=host, steps=_steps)

    async def _again(self, flow: Flow, saga: Saga, node: Again) -> None:
        while True:
            failed = ""
            try:
                for inner in node.steps:
                    failed = getattr(inner, "name", "")
                    await self._do_all(flow, saga, (inner,))
                    if flow.closed:
                        return
            except FloeError as error:
                if not node.other(flow, failed, error):
                    raise
                for inner in reversed(node.steps):
                    step = flow.journal.latest(getattr(inner, "name", ""))
                    if step is not None and step.name in saga.leaving():
                        await self._undo(flow, saga, step)
            else:
                return

    async def _undo(self, flow: Flow, saga: Saga, step: Step) -> None:
        node = saga.undo_of(step.name)
        if step.state == UNDONE or node is None or node.undo is None:
            return
        with _going_on_later():
            await flow.prepare_undo(step)
            await self.observer(BEFORE, f"undo {step.name}")
            if isinstance(node, OnStore):
                await node.undo(flow)
                await self.observer(IN, f"undo {step.name}")
            elif step.host is not None:
                asking = Asking(pause=flow.pause, prove=flow.prove, go_ahead=flow.go_ahead)
                result = await self.removal(step.host, await node.undo(flow, step), asking=asking, patience=_UNDO)
                await self.observer(IN, f"undo {step.name}")
                learnt = holdings.owe if result.owed else holdings.delete
                flow.learn(partial(learnt, server_id=flow.action.subject_id, host=step.host, action_id=flow.action.id))
            flow.undone(step)
            await self.observer(AFTER, f"undo {step.name}")


@contextmanager
def _going_on_later() -> Iterator[None]:
    """Have an action wait for a database that is away, which is no reason for it to fail."""
    try:
        yield
    except StoreUnavailable as error:
        raise Interrupted(error.message) from error


async def _follow(saga: Saga, flow: Flow) -> None:
    if (telling := saga.after(flow)) is not None:
        await telling


def _asking(flow: Flow) -> Asking:
    return Asking(pause=flow.pause, prove=flow.prove, recovered=flow.journal.recovered, go_ahead=flow.go_ahead)


def _steps(result: Any) -> Any:
    return getattr(result, "steps", ())
