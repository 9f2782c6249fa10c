"""Commands to hosts over NATS, and what comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from floe.bus import subjects
from floe.bus.answering import result_of
from floe.bus.codec import encode
from floe.bus.connection import Delivered, Interest
from floe.bus.envelope import Envelope, Word
from floe.bus.lateness import HostClocks
from floe.bus.parts import Parts
from floe.bus.wire import Wire, too_large
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Command, Result

_MOST_TRIES = 5
"""A host that says more often that it was started anew is none to wait for."""


@dataclass(slots=True, eq=False)
class _Asked:
    host: str
    speaker: str
    """The host's token."""
    run: str
    """Of the host, that it was sent to; none where it was not known."""
    answer: asyncio.Future[Envelope | None]
    """None where nobody was there for it."""
    parts: Parts
    other: Envelope | None = None
    """What a run answered that is thought to be over: that it is another one."""

    def fail(self, why: str) -> None:
        """Say that there will be no answer."""
        self.answer.set_exception(Unavailable(f"Host {self.host!r} gave no answer: {why}."))


class Asking:
    """Asks hosts; `clocks` is what is known of theirs."""

    def __init__(self, wire: Wire, clocks: HostClocks) -> None:
        self._wire, self._clocks = wire, clocks
        self._asked: dict[str, _Asked] = {}
        """By the subject of its answer, what was asked and is not answered yet."""
        self._hears = False

    async def request(self, host: str, command: Command, timeout: float) -> Result:
        """See `Bus.request`."""
        what, body = type(command).__name__, encode(command)
        if why := too_large(body):
            raise HostFailure(f"{what} cannot be sent to a host. {why}", host=host, cause="too_large")
        try:
            async with asyncio.timeout(timeout) as limit:
                await self._hear()
                for _ in range(_MOST_TRIES):
                    answer = await self._ask(host, body, limit)
                    if answer is None:
                        raise Unavailable(f"Host {host!r} does not answer: no agent serves it.")
                    if not answer.word:
                        return result_of(host, answer.body)
                raise Unavailable(f"Host {host!r} did not take {what}: it came too late {_MOST_TRIES} times.")
        except TimeoutError:
            raise Unavailable(f"Host {host!r} gave no answer to {what} in {timeout:g} s.") from None

    def fail(self, why: str) -> None:
        """Have all that waits for an answer wait no more."""
        for asked in self._asked.values():
            if not asked.answer.done():
                asked.fail(why)

    # -- inside ---------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        """Hear answers, and what hosts say of themselves: from the first question on, for hosts may do neither."""
        if not self._hears:
            self._hears = True
            await self._wire.hear(Interest(subjects.answers(self._wire.name), self._answered))
            await self._wire.hear(Interest(subjects.HERE, self._is_here))

    async def _ask(self, host: str, body: bytes, limit: asyncio.Timeout) -> Envelope | None:
        """Send a command once and return what comes back, None where nobody is there."""
        loop, speaker = asyncio.get_running_loop(), subjects.token(host)
        run, until = self._clocks.until(speaker, (limit.when() or 0.0) - loop.time())
        sent = self._wire.envelope(run=run, until=until, body=body)
        subject = subjects.answer(host, self._wire.name, sent.number)
        asked = self._asked[subject] = _Asked(host, speaker, run, loop.create_future(), self._wire.parts())
        try:
            await self._wire.send(subjects.commands(host), sent, reply=subject)
            return await asked.answer
        finally:
            del self._asked[subject]
            if asked.other is not None and limit.expired():
                # It got what was asked of another, which said nothing: so it is this one that is there.
                self._clocks.began(speaker, asked.other.run, asked.other.clock)

    def _answered(self, came: Delivered) -> None:
        asked = self._asked.get(came.subject)
        if asked is None or asked.answer.done():
            return
        if came.nobody:
            asked.answer.set_result(None)
            return
        answer = self._wire.put(asked.parts, asked.speaker, came)
        if answer is None:
            return
        if self._clocks.heard(asked.speaker, answer.run, answer.clock) or not answer.word:
            asked.answer.set_result(answer)
        elif answer.run != asked.run:
            asked.other = answer

    def _is_here(self, came: Delivered) -> None:
        """Take in that a host is there, or no more: what it was asked is asked again, unless it died or stops."""
        said = self._wire.read(came)
        if said is None:
            return
        speaker, leaves = subjects.speaker(came.subject), said.word == Word.LEAVES
        if leaves:
            self._clocks.ended(speaker, said.run)
        else:
            self._clocks.began(speaker, said.run, said.clock)
        for asked in [asked for asked in self._asked.values() if asked.speaker == speaker and not asked.answer.done()]:
            if asked.run not in {"", said.run}:
                if not leaves:
                    asked.fail("its agent was started anew")
            elif leaves:
                asked.fail("it stopped")
            else:
                asked.answer.set_result(Envelope(word=Word.AGAIN))
