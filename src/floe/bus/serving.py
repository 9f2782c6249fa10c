"""Commands to this process's hosts over NATS: those that come in time are carried out, and answered."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from functools import partial

from floe.bus import subjects
from floe.bus.answering import Answering
from floe.bus.codec import encode
from floe.bus.connection import Delivered, Interest
from floe.bus.envelope import Envelope, Word
from floe.bus.lateness import Punctual
from floe.bus.parts import Parts
from floe.bus.protocol import Back, CommandHandler
from floe.bus.wire import LATE, UNREAD, Wire, too_large
from floe.core.messages import Failed

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Served:
    host: str
    answering: Answering
    punctual: Punctual
    parts: Parts
    interest: Interest
    back: Back | None


class Serving:
    """The hosts that this process serves."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._served: dict[str, _Served] = {}

    def signed(self, host: str, body: bytes) -> Envelope:
        """Return what is said in a host's name, with what its clock says if it is served here."""
        served = self._served.get(host)
        return self._wire.envelope(body=body) if served is None else self._envelope(served, body=body)

    async def serve(self, host: str, handler: CommandHandler, back: Back | None) -> None:
        """See `Bus.serve`."""
        await self.withdraw(host)
        served = _Served(
            host,
            Answering(host, handler),
            Punctual(secrets.token_hex(6), self._wire.clock),
            self._wire.parts(),
            Interest(subjects.commands(host), lambda came: self._commanded(served, came)),
            back,
        )
        self._served[host] = served
        await self._say(served, Word.HERE)  # first: what is asked from here on need not be asked again
        await self._wire.hear(served.interest)

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`: what runs there is cancelled, as if the agent had died."""
        if host in self._served:
            served = self._served.pop(host)
            await self._wire.connection.ignore(served.interest)
            await served.answering.stop()
            await self._say(served, Word.LEAVES)

    async def stop(self) -> None:
        """Withdraw all."""
        for host in list(self._served):
            await self.withdraw(host)

    async def back(self) -> None:
        """Say of each host that it is there again: answers may have been lost, and what it said itself."""
        for served in list(self._served.values()):
            await self._say(served, Word.HERE)
            if served.back is not None:
                served.answering.run(self._come_back(served.host, served.back))

    async def _come_back(self, host: str, back: Back) -> None:
        try:
            await back()
        except Exception as error:
            log.warning("host %s did not say anew what it has: %s", host, error)

    # -- inside ---------------------------------------------------------------------------------------

    def _envelope(self, served: _Served, *, word: str = "", body: bytes = b"") -> Envelope:
        return self._wire.envelope(run=served.punctual.run, clock=self._wire.clock(), word=word, body=body)

    async def _say(self, served: _Served, word: Word) -> None:
        await self._wire.try_to_send(subjects.here(served.host), self._envelope(served, word=word))

    def _commanded(self, served: _Served, came: Delivered) -> None:
        asked = self._wire.put(served.parts, "", came)
        if asked is None:
            return
        refusal = served.punctual.refusal(asked)
        if refusal is None:
            served.answering.start(asked.body, partial(self._reply, served, came.reply))
        elif refusal:
            if refusal == Word.LATE:
                self._wire.counters.add(UNREAD, LATE)
                log.info("host %s was told something too late, and does not do it", served.host)
            served.answering.run(self._refuse(served, came.reply, refusal))

    async def _reply(self, served: _Served, subject: str, body: bytes) -> None:
        if why := too_large(body):
            body = encode(Failed(kind="too_large", message=f"The answer cannot be sent. {why}"))
        await self._wire.try_to_send(subject, self._envelope(served, body=body))

    async def _refuse(self, served: _Served, subject: str, word: Word) -> None:
        await self._wire.try_to_send(subject, self._envelope(served, word=word))
