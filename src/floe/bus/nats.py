"""The bus between machines: core NATS, which remembers nothing either."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from floe.bus import subjects
from floe.bus.answering import Answering, result_of
from floe.bus.codec import encode
from floe.bus.connection import Connection, Delivered, Interest, NatsAddress
from floe.bus.protocol import CommandHandler, Listener, Taker
from floe.bus.queue import EventQueue
from floe.core.errors import FloeError, Unavailable
from floe.core.messages import Command, Event, Result

log = logging.getLogger(__name__)

_OPEN_SECONDS = 10.0


class NatsBus:
    """See `Bus`. `name` says in the server's lists and in logs whose it is; it need not be the only one of that name.

    To be opened before it is used. While its server is away requests are refused, events are lost, and whoever serves
    or listens goes on when it is back.
    """

    def __init__(self, address: NatsAddress, name: str) -> None:
        self._asker = f"{subjects.token(name)[:64]}-{secrets.token_hex(6)}"
        self._connection = Connection(address, name, lost=self._lost, back=self._back)
        self._numbers = itertools.count(1)
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        """By the subject of its answer, what was asked and is not answered yet."""
        self._served: dict[str, tuple[Answering, Interest]] = {}
        self._heard: list[tuple[EventQueue, list[Interest]]] = []

    @property
    def trouble(self) -> str:
        """Why nothing is carried now; empty while the bus is there."""
        return self._connection.trouble

    async def open(self, patience: float = _OPEN_SECONDS) -> None:
        """Connect. Raises Unavailable when that is refused, or not done in `patience` seconds; it goes on trying."""
        await self._connection.receive(Interest(subjects.answers(self._asker), self._answered))
        await self._connection.open(patience)

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        what = type(command).__name__
        subject = subjects.answer(host, self._asker, next(self._numbers))
        answer = self._asked[subject] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._connection.send(subjects.commands(host), encode(command), reply=subject)
                data = await answer
        except TimeoutError:
            raise Unavailable(f"Host {host!r} gave no answer to {what} in {timeout:g} s.") from None
        finally:
            del self._asked[subject]
        if not data:
            raise Unavailable(f"Host {host!r} does not answer: no agent serves it.")
        return result_of(host, data)

    async def serve(self, host: str, handler: CommandHandler) -> None:
        """See `Bus.serve`."""
        await self.withdraw(host)
        answering = Answering(host, handler)
        interest = Interest(subjects.commands(host), partial(self._commanded, answering))
        self._served[host] = (answering, interest)
        await self._connection.receive(interest)

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`: what runs there is cancelled, as if the agent had died."""
        if host in self._served:
            answering, interest = self._served.pop(host)
            await self._connection.ignore(interest)
            await answering.stop()

    async def publish(self, event: Event) -> None:
        """See `Bus.publish`."""
        try:
            await self._connection.send(subjects.event(event), encode(event))
        except Unavailable as error:
            log.debug("event %s is lost: %s", type(event).__name__, error.message)

    async def listen(self, handler: Listener) -> None:
        """See `Bus.listen`."""
        await self._hear(handler, subjects.FOR_ALL, "")

    async def share(self, handler: Taker) -> None:
        """See `Bus.share`."""
        await self._hear(handler, subjects.FOR_ONE, subjects.TAKERS)

    async def leave(self, handler: Listener | Taker) -> None:
        """See `Bus.leave`: what waits for it is dropped, as if who listened had died."""
        for queue, interests in [heard for heard in self._heard if heard[0].handler == handler]:
            self._heard.remove((queue, interests))
            for interest in interests:
                await self._connection.ignore(interest)
            await queue.close()

    async def idle(self) -> None:
        """Wait until all that was received has been handled; for trials and tests."""
        for queue, _ in self._heard:
            await queue.idle()

    async def close(self) -> None:
        """See `Bus.close`."""
        for host in list(self._served):
            await self.withdraw(host)
        await self._connection.close()
        self._fail("the bus was closed")
        for queue, _ in self._heard:
            await queue.close()
        self._heard.clear()

    # -- inside ---------------------------------------------------------------------------------------

    async def _hear(self, handler: Callable[[Any], Awaitable[None]], patterns: Sequence[str], group: str) -> None:
        queue = EventQueue(handler)
        interests = [Interest(pattern, lambda came: queue.put(came.data), group) for pattern in patterns]
        self._heard.append((queue, interests))
        for interest in interests:
            await self._connection.receive(interest)

    def _commanded(self, answering: Answering, came: Delivered) -> None:
        answering.start(came.data, partial(self._reply, came.reply))

    async def _reply(self, subject: str, data: bytes) -> None:
        try:
            await self._connection.send(subject, data)
        except FloeError as error:
            log.info("an answer is lost: %s", error.message)  # it is asked for again

    def _answered(self, came: Delivered) -> None:
        answer = self._asked.get(came.subject)
        if answer is not None and not answer.done():
            answer.set_result(b"" if came.nobody else came.data)

    def _lost(self, why: str) -> None:
        self._fail(f"the bus went away ({why})")

    async def _back(self) -> None:
        """Nothing is kept that would have to be said."""

    def _fail(self, why: str) -> None:
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Unavailable(f"There is no answer, because {why}."))
