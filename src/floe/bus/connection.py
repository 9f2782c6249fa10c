"""The one door to NATS: a connection that is made anew as often as it breaks, and buffers nothing meanwhile.

The client's own reconnection stays unused. It would keep what is said while the server is away and say it when
whoever said it has given up; it gives up for good when a key is refused, and waits for ever at the first attempt; and a
server that stands still it notices only when the system's buffers let it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.command import pub_cmd

from floe.bus.address import NatsAddress
from floe.core.errors import Invalid, Unavailable

log = logging.getLogger(__name__)


PING_SECONDS, PONG_SECONDS = 1.5, 2.0
"""Between two questions whether the server lives, and what it has to answer; a server that stops is noticed in both."""
_CONNECT_SECONDS = 5.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 4.0
_SEND_SECONDS = 2.0
_END_SECONDS = 2.0
_MOST_SAID = 100
_MOST_UNSENT = 64 * 1024
"""Bytes that wait for the server, beyond which whoever sends waits too."""
_NO_RESPONDERS = "503"
_LEAST_PAYLOAD = 64 * 1024
"""With less, large messages have too many parts."""
_FAILURES = (nats.errors.Error, OSError, TimeoutError, ssl.SSLError)


class Delivered(msgspec.Struct, frozen=True):
    """A message that came. With `nobody`, it is the server's word that there is nobody to take a request."""

    subject: str
    data: bytes
    reply: str
    nobody: bool


@dataclass(slots=True, eq=False)
class Interest:
    """What is to be received, over whatever connection there is."""

    subject: str
    received: Callable[[Delivered], None]
    queue: str = ""
    subscription: Subscription | None = None
    client: _Client | None = None
    """Whose subscription it is."""


class Link(Protocol):
    """What carries bytes under subjects. Shipped: `Connection`, and `simulation.network.SimulatedLink`."""

    trouble: str
    """Why there is no connection now; empty while there is one."""

    @property
    def most_bytes(self) -> int:
        """How large a message the server takes; 0 while there is none."""
        ...

    async def open(self, patience: float) -> None:
        """Connect, and stay connected until closed. Raises Unavailable when that takes longer; it goes on trying."""
        ...

    async def close(self) -> None:
        """Send what was said, and end."""
        ...

    async def receive(self, interest: Interest) -> None:
        """Receive from now on what an interest is about; while there is no connection, from when there is one."""
        ...

    async def ignore(self, interest: Interest) -> None:
        """Receive no more of it."""
        ...

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """Send a message. Raises Unavailable, at once while there is no connection."""
        ...


class Connect(Protocol):
    """Makes a link, which is to be opened. `lost` is told when it breaks, and why; `back` when there is one again."""

    def __call__(
        self, address: NatsAddress, name: str, *, lost: Callable[[str], None], back: Callable[[], Awaitable[None]]
    ) -> Link:
        """Make it."""
        ...


class _Client(Client):
    """A client that refuses to speak in clear where that is not wanted, and that can be dropped as it stands.

    What comes and what goes it hands on at once: to queue it for a task, as the library does, costs more than all else
    of a message.
    """

    secure = False

    def __init__(self) -> None:
        super().__init__()
        self.interests: dict[int, Interest] = {}
        """By the number of their subscription."""

    def put(self, subject: str, data: bytes, reply: str) -> bool:
        """Send a message; False if it has to wait, behind others or for the server to take what was sent."""
        writer = getattr(self._transport, "_io_writer", None)
        if self._pending or writer is None or len(data) > self._max_payload:
            return False
        if writer.transport.is_closing() or writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            return False
        writer.transport.write(pub_cmd(subject, reply, data))
        return True

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        """Give a message to whom it interests, unless others wait for him: those come first."""
        interest, subscription = self.interests.get(sid), self._subs.get(sid)
        queued = subscription is None or headers or not subscription._pending_queue.empty()
        if interest is None or queued:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        try:
            interest.received(Delivered(subject.decode(), data, reply.decode(), nobody=False))
        except Exception as error:
            await self._error_cb(error)

    def _connect_command(self) -> bytes:
        """Name ourselves, with the signature: whoever asks for that in clear may be in between."""
        if self.secure and not self._server_info.get("tls_required"):
            raise nats.errors.Error("the server does not offer TLS, which is wanted")
        return super()._connect_command()

    async def drop(self) -> None:
        """End it without sending what waits to be sent."""
        self._pending, self._pending_data_size = [], 0
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            with contextlib.suppress(AttributeError):  # of a TLS connection that is closed already, in Python 3.11
                writer.transport.abort()
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(_END_SECONDS):
                await self.close()


class Connection:
    """A connection to one of the servers. `lost` is told when it breaks, and why; `back` when there is one again."""

    def __init__(
        self, address: NatsAddress, name: str, *, lost: Callable[[str], None], back: Callable[[], Awaitable[None]]
    ) -> None:
        self._address, self._name = address, name
        self._lost, self._back = lost, back
        self._interests: list[Interest] = []
        self._client: _Client | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._up, self._refused = asyncio.Event(), asyncio.Event()
        self._said: set[str] = set()
        self._tls: ssl.SSLContext | None = None
        self.trouble = "not connected yet"
        """Why there is no connection now; empty while there is one."""

    @property
    def most_bytes(self) -> int:
        """How large a message the server takes; 0 while there is none."""
        return 0 if self._client is None else self._client.max_payload

    async def open(self, patience: float) -> None:
        """Connect, and stay connected until closed.

        Raises Unavailable when that was refused, or took more than `patience` seconds; it goes on being tried.
        """
        self._tls = self._context()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="bus-connection")
        either = [asyncio.ensure_future(event.wait()) for event in (self._up, self._refused)]
        await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for waiting in either:
            waiting.cancel()
        if not self._up.is_set():
            raise self.unavailable()

    async def close(self) -> None:
        """Send what was said, and end."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        client, self._client, self.trouble = self._client, None, "closed"
        if client is not None:
            with contextlib.suppress(*_FAILURES):
                await client.rtt(timeout=1)
            await client.drop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def unavailable(self) -> Unavailable:
        """Return what is raised for whatever needs the connection while there is none."""
        return Unavailable(f"The bus cannot be reached ({', '.join(self._address.servers)}): {self.trouble}.")

    async def receive(self, interest: Interest) -> None:
        """Receive from now on what an interest is about; while there is no connection, from when there is one."""
        self._interests.append(interest)
        client = self._client
        if client is not None:
            with contextlib.suppress(*_FAILURES):  # then it breaks, and the next one asks for it again
                await self._subscribe(client, interest)
                await client.rtt(timeout=2)  # the server has it

    async def ignore(self, interest: Interest) -> None:
        """Receive no more of it."""
        self._interests.remove(interest)
        if interest.client is self._client:  # else that goes with its client, or is seen to when there is one
            await self._unsubscribe(interest)

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """Send a message. Raises Unavailable, at once while there is no connection."""
        client = self._client
        if client is None or not client.is_connected:
            raise self.unavailable()
        if client.put(subject, data, reply):
            return
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await client.publish(subject, data, reply=reply)
        except _FAILURES as error:
            raise Unavailable(f"The bus took no message: {_words(error)}.") from error

    # -- inside ---------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        wait, since = _FIRST_WAIT, monotonic()
        while True:
            broken = asyncio.Event()
            client = _Client()
            try:
                asked = await self._connect(client, broken)
            except Exception as error:
                await client.drop()
                self._note(_words(error))
                self._refused.set()
                if not isinstance(error, _FAILURES):
                    log.exception("bus: connecting failed unexpectedly; it is tried again")
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # not all hosts at once
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            except BaseException:
                await client.drop()
                raise
            if self._up.is_set() or self.trouble:
                log.info(
                    "bus: %s is connected to %s after %.1f s", self._name, self._place(client), monotonic() - since
                )
            self._client, self.trouble, wait = client, "", _FIRST_WAIT
            self._up.set()
            self._beside(self._begin(client, asked))
            why = await self._watch(client, broken)
            since, self._client = monotonic(), None
            self._note(why)
            self._lost(why)
            self._beside(client.drop())

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="bus-beside")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _begin(self, client: _Client, asked: list[Interest]) -> None:
        """See to what was wanted, and what was no longer, while the connection was made; then say that it is there."""
        with contextlib.suppress(*_FAILURES):  # then it breaks, and the next one asks for all of it
            for interest in [interest for interest in self._interests if interest.client is not client]:
                await self._subscribe(client, interest)
            for interest in [interest for interest in asked if interest not in self._interests]:
                await self._unsubscribe(interest)
            await self._back()

    async def _connect(self, client: _Client, broken: asyncio.Event) -> list[Interest]:
        async def failed(error: Exception) -> None:
            self._complain(error)

        async def gone() -> None:
            broken.set()

        address = self._address
        client.secure = address.secure
        async with asyncio.timeout(_CONNECT_SECONDS):
            await client.connect(
                list(address.servers),
                name=self._name,
                error_cb=failed,
                disconnected_cb=gone,
                closed_cb=gone,
                allow_reconnect=False,
                connect_timeout=2,
                reconnect_time_wait=0,
                max_reconnect_attempts=1,
                ping_interval=3600,  # `_watch` asks
                flush_timeout=_SEND_SECONDS,
                tls=self._tls,
                nkeys_seed_str=address.seed or None,
            )
            if client.max_payload < _LEAST_PAYLOAD:
                raise nats.errors.Error(f"its max_payload is {client.max_payload}, and {_LEAST_PAYLOAD} is the least")
            asked = list(self._interests)
            for interest in asked:
                await self._subscribe(client, interest)
            await client.rtt(timeout=2)
        return asked

    async def _subscribe(self, client: _Client, interest: Interest) -> None:
        interest.client = client

        async def deliver(msg: Msg) -> None:
            nobody = not msg.data and msg.headers is not None and msg.headers.get("Status") == _NO_RESPONDERS
            interest.received(Delivered(msg.subject, msg.data, msg.reply, nobody))

        subscription = await client.subscribe(interest.subject, queue=interest.queue, cb=deliver)
        if interest.client is client:  # else there is a newer connection by now
            interest.subscription = subscription
            client.interests[subscription._id] = interest
            if interest not in self._interests:
                await self._unsubscribe(interest)  # it was given up meanwhile

    async def _unsubscribe(self, interest: Interest) -> None:
        subscription, interest.subscription = interest.subscription, None
        client, interest.client = interest.client, None
        if subscription is not None:
            if client is not None:
                client.interests.pop(subscription._id, None)
            with contextlib.suppress(*_FAILURES):
                await subscription.unsubscribe()

    def _context(self) -> ssl.SSLContext | None:
        address = self._address
        try:
            return ssl.create_default_context(cafile=address.ca_file) if address.secure else None
        except (OSError, ssl.SSLError) as error:
            raise Invalid(f"{address.ca_file} holds no certificates for the bus: {error}") from error

    async def _watch(self, client: _Client, broken: asyncio.Event) -> str:
        """Return why the connection is none any more."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_SECONDS):
                    await broken.wait()
            if not client.is_connected:
                return _words(client.last_error) if client.last_error else "the server ended the connection"
            try:
                async with asyncio.timeout(PONG_SECONDS):
                    await client.rtt(timeout=60)
            except TimeoutError:
                return f"the server answers nothing for {PONG_SECONDS:g} s"
            except _FAILURES as error:
                return _words(error)

    def _note(self, why: str) -> None:
        """Keep why there is no connection; it is said once."""
        if why != self.trouble:
            log.warning("bus: %s has no connection to %s: %s", self._name, ", ".join(self._address.servers), why)
        self.trouble = why

    def _complain(self, error: Exception) -> None:
        """Say once what a server refuses to a connection that goes on."""
        words = _words(error)
        if "permissions violation" in words.lower() and words not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(words)
            log.warning("bus: the server refuses %s something: %s", self._name, words)

    def _place(self, client: _Client) -> str:
        url = client.connected_url
        return "its server" if url is None else f"{url.hostname}:{url.port}"


def _words(error: Exception) -> str:
    text = str(error).removeprefix("nats: ").strip("'. ") or type(error).__name__
    if "authorization violation" in text.lower():
        return "the server refuses our key (Authorization Violation)"
    return text
