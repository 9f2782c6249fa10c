"""Envelopes over a connection: what is common to asking, serving and telling over NATS."""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from floe.bus import subjects
from floe.bus.address import NatsAddress
from floe.bus.connection import Connect, Delivered, Interest
from floe.bus.envelope import VERSION, Envelope, frames, read
from floe.bus.parts import MOST_BYTES, Parts
from floe.core.counters import Count, Counters
from floe.core.errors import Unavailable

log = logging.getLogger(__name__)

UNREAD = Count("floe_bus_unread", "Messages that came over the bus and were not taken, by why", ("why",))
LATE, UNKNOWN, FORGED, BROKEN, INCOMPLETE = "late", "unknown", "forged", "broken", "incomplete"
UNSENT = Count("floe_bus_unsent", "Events and answers that the bus was not there for, or that were too large for it")
LOST = Count("floe_bus_lost_connections", "Connections to the server of the bus that broke")

_MOST_TOLD = 1000


class Wire:
    """One process's connection, under a name that nobody else has."""

    def __init__(
        self,
        address: NatsAddress,
        name: str,
        *,
        counters: Counters,
        clock: Callable[[], float],
        lost: Callable[[str], None],
        back: Callable[[], Awaitable[None]],
        connect: Connect,
    ) -> None:
        self.name = f"{subjects.token(name)[:64]}-{secrets.token_hex(6)}"
        self.clock, self.counters = clock, counters
        self.connection = connect(address, name, lost=lost, back=back)
        self._numbers = itertools.count(1)
        self._told: set[tuple[str, str]] = set()

    def envelope(self, **said: Any) -> Envelope:
        """Return an envelope of ours, with a number of its own."""
        return Envelope(version=VERSION, by=self.name, number=next(self._numbers), **said)

    def parts(self) -> Parts:
        """Return where parts of messages are put together."""
        return Parts(self.clock, lambda: self.counters.add(UNREAD, INCOMPLETE))

    async def hear(self, interest: Interest) -> None:
        """Receive what an interest is about."""
        await self.connection.receive(interest)

    async def send(self, subject: str, envelope: Envelope, *, reply: str = "", early: str = "") -> None:
        """Send an envelope, all but its last part under another subject if one is given. Raises Unavailable."""
        before: bytes | None = None
        for frame in frames(envelope, self.connection.most_bytes):
            if before is not None:
                await self.connection.send(early or subject, before, reply)
            before = frame
        if before is not None:
            await self.connection.send(subject, before, reply)

    async def try_to_send(self, subject: str, envelope: Envelope, *, early: str = "") -> None:
        """Send what is lost where it cannot be sent."""
        try:
            await self.send(subject, envelope, early=early)
        except Unavailable as error:
            self.counters.add(UNSENT)
            log.debug("a message is lost: %s", error.message)

    def read(self, came: Delivered) -> Envelope | None:
        """Return an envelope, or a part of one; None for what is none."""
        try:
            return read(came.data)
        except ValueError as error:
            self.unread(BROKEN, came.subject, error)
            return None

    def unread(self, why: str, subject: str, detail: object) -> None:
        """Count what came and is not taken; of each sender the first is told."""
        self.counters.add(UNREAD, why)
        sender = (why, subjects.speaker(subject))
        if sender not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(sender)
            log.warning("what came under %s is not taken, as all that is %s: %s", subject, why, detail)

    def put(self, parts: Parts, source: str, came: Delivered) -> Envelope | None:
        """Read what came; return the message if that is whole."""
        part = self.read(came)
        return None if part is None else parts.put(source, part)


def too_large(body: bytes) -> str:
    """Return why a message cannot be sent; nothing if it can."""
    if len(body) <= MOST_BYTES:
        return ""
    return f"It is {len(body)} bytes long, and the bus carries at most {MOST_BYTES}."
