"""A bus that is as bad as a network may be: it loses, repeats, delays and reorders; whole hosts fall off it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, get_args

from floe.bus.answering import result_of
from floe.bus.codec import decode, encode
from floe.bus.protocol import Back, CommandHandler, Listener, Taker
from floe.core.errors import FloeError, Unavailable
from floe.core.messages import Command, Event, Failed, ForOne, Result
from floe.simulation.loop import Process, VirtualLoop, current

log = logging.getLogger(__name__)

_FOR_ONE = get_args(ForOne)
_KINDS = {"do": "commands", "_R": "answers", "one": "events", "all": "events", "part": "events"}
"""What is carried under subjects, by the token that says so."""
_OFTEN = 0.4
"""How often a message is very late, while any is."""


@dataclass(slots=True)
class Weather:
    """How bad it is now: chances of a message to be lost, repeated and much delayed; hosts that nothing reaches."""

    lost: float = 0.0
    unheard: float = 0.0
    """Chance of what one program tells another, which no host said, to be lost."""
    repeated: float = 0.0
    late: float = 0.0
    very_late: dict[str, float] = field(default_factory=dict)
    """By kind (see `_KINDS`): by how many seconds messages are late now and then, so that their sender has given up."""
    slow: dict[str, float] = field(default_factory=dict)
    """By machine or program: for how many more seconds a message is on its way there, or from there."""
    cut: set[str] = field(default_factory=set)

    def lateness(self, subject: Sequence[str], dice: Random) -> float:
        """Return for how long a message stays on its way that is very late, given how its subject begins; mostly 0."""
        kind = _KINDS.get(subject[0] if subject[0] == "_R" else subject[1])
        if kind in self.very_late and dice.random() < _OFTEN:
            return self.very_late[kind]
        return 0.0


@dataclass(slots=True)
class _Listener:
    handler: Callable[[Any], Awaitable[None]]
    process: Process
    shares: bool
    """Whether it takes what is for one, instead of hearing what is for all."""
    waiting: deque[tuple[int, bytes]] = field(default_factory=deque)
    busy: bool = False


@dataclass(slots=True)
class _Serving:
    handler: CommandHandler
    process: Process
    running: dict[asyncio.Task[None], None] = field(default_factory=dict)


class SimulatedBus:
    """See `Bus`. Who serves, listens or asks is the process it is done in; what is dead neither hears nor speaks.

    `latency` gives the seconds that the next message takes; `said` is told of each event for one, by a number, that
    somebody is there for, and `took` of who takes it; `takers` chooses those of all who could.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        dice: Random,
        weather: Weather,
        *,
        latency: Callable[[], float],
        pause: Callable[[str], Awaitable[None]],
        note: Callable[..., None],
        asked: Callable[[str, Command, float], None],
        told: Callable[[str, Command], None],
        answered: Callable[[str, Command, Result], None],
        said: Callable[[int, str], None],
        took: Callable[[int, Process], None],
        takers: Callable[[Sequence[Any], Random], Sequence[Any]],
    ) -> None:
        self._loop, self._dice, self._weather = loop, dice, weather
        self._latency, self._pause, self._note = latency, pause, note
        self._asked, self._told, self._answered = asked, told, answered
        self._said, self._took, self._takers, self._numbers = said, took, takers, 0
        self._hosts: dict[str, _Serving] = {}
        self._listeners: list[_Listener] = []
        self._latest: dict[str, float] = {}

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        data = encode(command)
        answer: asyncio.Future[bytes | None] = self._loop.create_future()
        self._note("ask", host, type(command).__name__)
        asker = current()
        assert asker is not None
        self._asked(host, command, timeout)
        self._carry(host, lambda: self._arrive(host, data, answer, asker.name), who=asker.name)
        await self._pause("bus.send")
        await asyncio.wait((answer,), timeout=timeout)
        if not answer.done():
            raise Unavailable(f"Host {host!r} gave no answer to {type(command).__name__} in {timeout:g} s.")
        reply = answer.result()
        if reply is None:
            raise Unavailable(f"Host {host!r} does not answer: no agent serves it.")
        return result_of(host, reply)

    async def serve(self, host: str, handler: CommandHandler, *, back: Back | None = None) -> None:
        """See `Bus.serve`."""
        process = current()
        assert process is not None
        self._hosts[host] = _Serving(handler, process)

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`."""
        serving = self._hosts.get(host)
        if serving is not None and serving.process is current():
            del self._hosts[host]
            for task in list(serving.running):
                task.cancel()
            await asyncio.gather(*serving.running, return_exceptions=True)

    async def publish(self, event: Event) -> None:
        """See `Bus.publish`."""
        data = encode(event)
        host: str = getattr(event, "host", "")
        takes, sender = isinstance(event, _FOR_ONE), current()
        number = self._numbers = self._numbers + 1
        there = [listener for listener in self._listeners if listener.process.alive and listener.shares is takes]
        if takes and there:
            self._said(number, type(event).__name__)
        for listener in self._takers(there, self._dice) if takes else there:
            if host or listener.process is sender or self._dice.random() >= self._weather.unheard:
                self._carry(
                    host,
                    lambda to=listener: self._hear(to, number, data),  # type: ignore[misc]
                    ordered=True,
                    who=listener.process.name,
                )
        await self._pause("publish")

    async def listen(self, handler: Listener) -> None:
        """See `Bus.listen`."""
        self._join(handler, shares=False)

    async def share(self, handler: Taker) -> None:
        """See `Bus.share`."""
        self._join(handler, shares=True)

    async def leave(self, handler: Listener | Taker) -> None:
        """See `Bus.leave`."""
        self._listeners = [listener for listener in self._listeners if listener.handler != handler]

    def _join(self, handler: Callable[[Any], Awaitable[None]], *, shares: bool) -> None:
        process = current()
        assert process is not None
        self._listeners = [listener for listener in self._listeners if listener.process.alive]
        self._listeners.append(_Listener(handler, process, shares))

    @property
    def trouble(self) -> str:
        """See `Bus.trouble`: whom it does not reach nobody is told."""
        return ""

    async def close(self) -> None:
        """See `Bus.close`: who was in this process is no longer there."""
        process = current()
        self._listeners = [listener for listener in self._listeners if listener.process is not process]
        for host in [host for host, serving in self._hosts.items() if serving.process is process]:
            await self.withdraw(host)

    # -- the wire -------------------------------------------------------------------------------------

    def _carry(self, host: str, deliver: Callable[[], None], *, ordered: bool = False, who: str = "") -> None:
        """Have a message delivered, between a host and a program: not at all, once, or twice."""
        weather, dice, sender = self._weather, self._dice, current()
        if sender is not None and sender.name in weather.cut:
            return
        if weather.lost and dice.random() < weather.lost:
            self._note("lost", host)
            return
        copies = 2 if weather.repeated and dice.random() < weather.repeated else 1
        for _ in range(copies):
            late = bool(weather.late) and dice.random() < weather.late
            slow = max(weather.slow.get(host, 0.0), weather.slow.get(who, 0.0))
            when = self._loop.time() + self._latency() + slow + (dice.random() * 4.0 if late else 0.0)
            if ordered and not late:
                when = self._latest[host] = max(when, self._latest.get(host, 0.0) + 1e-6)
            self._loop.call_at(when, self._unless_cut, host, who, deliver, context=contextvars.Context())

    def _unless_cut(self, host: str, who: str, deliver: Callable[[], None]) -> None:
        if self._weather.cut.isdisjoint((host, who)):
            deliver()

    def _arrive(self, host: str, data: bytes, answer: asyncio.Future[bytes | None], asker: str) -> None:
        serving = self._hosts.get(host)
        if serving is None or not serving.process.alive:
            self._carry(host, lambda: _settle(answer, None), who=asker)
            return
        task = serving.process.start(self._handle(host, serving.handler, data, answer, asker))
        serving.running[task] = None
        task.add_done_callback(lambda done: serving.running.pop(done, None))

    async def _handle(
        self, host: str, handler: CommandHandler, data: bytes, answer: asyncio.Future[bytes | None], asker: str
    ) -> None:
        await self._pause("bus.arrive")
        command = decode(data)
        try:
            self._told(host, command)  # type: ignore[arg-type]  # only commands are sent to hosts
            result = await handler(command)  # type: ignore[arg-type]  # only commands are sent to hosts
            self._answered(host, command, result)  # type: ignore[arg-type]
            reply = encode(result)
        except Exception as error:
            log.exception("command %s failed", type(command).__name__)
            reply = encode(Failed(kind="internal", message=f"The host failed unexpectedly: {type(error).__name__}."))
        self._note("answer", host, type(command).__name__, reply[1:9])
        await self._pause("bus.answer")
        self._carry(host, lambda: _settle(answer, reply), who=asker)

    def _hear(self, listener: _Listener, number: int, data: bytes) -> None:
        if listener.process.alive:
            listener.waiting.append((number, data))
            if not listener.busy:
                listener.busy = True
                listener.process.start(self._drain(listener))

    async def _drain(self, listener: _Listener) -> None:
        while listener.waiting:
            number, data = listener.waiting.popleft()
            event = decode(data)
            if listener.shares:
                self._took(number, listener.process)
            try:
                await listener.handler(event)
            except FloeError as error:
                self._note("unheard", type(event).__name__, error.message)
            except Exception:
                log.exception("listener failed on %s", type(event).__name__)
        listener.busy = False


def _settle(answer: asyncio.Future[bytes | None], reply: bytes | None) -> None:
    if not answer.done():
        answer.set_result(reply)
