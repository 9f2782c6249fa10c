"""The bus between machines: core NATS, which remembers nothing either."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import get_args

from floe.bus import subjects
from floe.bus.address import NatsAddress
from floe.bus.asking import Asking
from floe.bus.codec import encode
from floe.bus.connection import Connect, Connection
from floe.bus.hearing import Hearing
from floe.bus.lateness import HostClocks
from floe.bus.protocol import Back, CommandHandler, Listener, Taker
from floe.bus.serving import Serving
from floe.bus.wire import LOST, UNSENT, Wire, too_large
from floe.core.counters import Counters
from floe.core.messages import Command, Event, ForOne, Result

log = logging.getLogger(__name__)

_OPEN_SECONDS = 10.0
_FOR_ONE = get_args(ForOne)


def since_boot() -> float:
    """Return seconds that go on while the machine sleeps, so that what was sent before is late after."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class NatsBus:
    """See `Bus`. `name` says in the server's lists and in logs whose it is; it need not be the only one of that name.

    To be opened before it is used. While its server is away requests are refused, events are lost, and whoever serves
    or listens goes on when it is back. An event for one of many that is sent in parts, being large, may be overtaken by
    a later one of its host.
    """

    def __init__(
        self,
        address: NatsAddress,
        name: str,
        *,
        counters: Counters | None = None,
        clock: Callable[[], float] = since_boot,
        connect: Connect = Connection,
    ) -> None:
        counters, clocks = counters or Counters(), HostClocks(clock)
        self._wire = Wire(
            address, name, counters=counters, clock=clock, lost=self._lost, back=self._back, connect=connect
        )
        self._asking, self._hearing = Asking(self._wire, clocks), Hearing(self._wire, clocks)
        self._serving = Serving(self._wire)

    @property
    def trouble(self) -> str:
        """Why nothing is carried now; empty while the bus is there."""
        return self._wire.connection.trouble

    async def open(self, patience: float = _OPEN_SECONDS) -> None:
        """Connect. Raises Unavailable when that is refused, or not done in `patience` seconds; it goes on trying."""
        await self._wire.connection.open(patience)

    async def request(self, host: str, command: Command, *, timeout: float) -> Result:
        """See `Bus.request`."""
        return await self._asking.request(host, command, timeout)

    async def serve(self, host: str, handler: CommandHandler, *, back: Back | None = None) -> None:
        """See `Bus.serve`."""
        await self._serving.serve(host, handler, back)

    async def withdraw(self, host: str) -> None:
        """See `Bus.withdraw`: what runs there is cancelled, as if the agent had died."""
        await self._serving.withdraw(host)

    async def publish(self, event: Event) -> None:
        """See `Bus.publish`."""
        body, subject = encode(event), subjects.event(event)
        if why := too_large(body):
            log.error("%s cannot be told. %s", type(event).__name__, why)
            self._wire.counters.add(UNSENT)
            return
        early = subjects.part(event) if isinstance(event, _FOR_ONE) else ""
        said = self._serving.signed(getattr(event, "host", ""), body)
        await self._wire.try_to_send(subject, said, early=early)

    async def listen(self, handler: Listener) -> None:
        """See `Bus.listen`."""
        await self._hearing.listen(handler)

    async def share(self, handler: Taker) -> None:
        """See `Bus.share`."""
        await self._hearing.share(handler)

    async def leave(self, handler: Listener | Taker) -> None:
        """See `Bus.leave`: what waits for it is dropped, as if who listened had died."""
        await self._hearing.leave(handler)

    async def idle(self) -> None:
        """Wait until all that was received has been handled; for trials and tests."""
        await self._hearing.idle()

    async def close(self) -> None:
        """See `Bus.close`."""
        await self._serving.stop()
        await self._wire.connection.close()
        self._asking.fail("the bus was closed")
        await self._hearing.stop()

    def _lost(self, why: str) -> None:
        self._wire.counters.add(LOST)
        self._asking.fail(f"the bus went away ({why})")

    async def _back(self) -> None:
        await self._serving.back()
