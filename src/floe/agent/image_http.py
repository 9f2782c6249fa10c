"""Bytes of images over HTTP, from the control plane, for a host that does not see the image store."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from socket import SHUT_RDWR
from threading import Lock
from time import monotonic
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

import msgspec

from floe.core.clock import Clock
from floe.core.errors import Conflict, FloeError, Forbidden, Invalid, NotFound, Unavailable
from floe.core.image_tickets import ImageTicket, authorization
from floe.pools import Pool

log = logging.getLogger(__name__)

_PIECE = 1 << 20
"""Bytes that are read by a thread at a time, at most; fewer when they come slowly."""
_GATHER = 0.5
"""Seconds for which a thread gathers them."""
_MOST_TICKETS = 4096
_MOST_SAID = 4096
"""Bytes that are read of a refusal."""
_LONGEST_WAIT = 30.0
_SHORT = 300
"""Characters of what a server says that are told on."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch is given, in seconds, bytes and tries."""

    connect: float = 10.0
    quiet: float = 30.0
    """Without a byte."""
    rate: int = 4096
    """Bytes a second, on average over `window` seconds: fewer is too slow."""
    window: float = 60.0
    tries: int = 8
    """Without a byte more than before; between two of them it waits for 0.5 s, then 1, 2 ... 30 s."""
    longest: float = 1800.0
    """From the first try on: no command waits longer."""


class Broken(Exception):
    """A try came to nothing; another one may do better, `after` some seconds at best."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class HttpImages:
    """An image source (see `agent.images`): blobs from one of several APIs, at most `at_once` at a time.

    What it asks with are the tickets that it was given (`take`). It follows no redirect, which would carry them on.
    `threads` are its own: a server that says nothing holds them up.
    """

    resumable = True

    def __init__(
        self,
        urls: Sequence[str],
        *,
        threads: Pool,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: Patience | None = None,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._threads, self._clock, self._sleep = threads, clock, sleep
        self._patience = patience or Patience()
        self._turns = asyncio.Semaphore(threads.threads)
        self._tickets: dict[str, ImageTicket] = {}
        self._first = 0
        """The API that answered last."""

    def take(self, tickets: Sequence[ImageTicket]) -> None:
        """Keep tickets, of each blob the one that lasts longest; those that have expired are forgotten."""
        for ticket in tickets:
            kept = self._tickets.pop(ticket.blob, ticket)
            self._tickets[ticket.blob] = max(kept, ticket, key=lambda each: each.expires)
        if len(self._tickets) > _MOST_TICKETS:
            now = self._clock.now().timestamp()
            left = [(blob, each) for blob, each in self._tickets.items() if each.expires > now]
            self._tickets = dict(left[-_MOST_TICKETS:])

    async def read(self, blob_id: str, start: int = 0) -> AsyncIterator[bytes]:
        """Give the bytes from `start` on, in order; a connection that breaks or stalls is made anew where it ended.

        Raises NotFound where there are none, Forbidden without a ticket that is taken, Conflict when there are not as
        many or they are others than before, Unavailable when too many tries, or too much time, came to nothing.
        """
        async with self._turns:
            begun, at, tag, tries = self._clock.monotonic(), start, "", 0
            while True:
                before = at
                try:
                    reply = _Reply(self._url(), blob_id, self._patience)
                    try:
                        tag = await self._opened(reply, blob_id, at, tag)
                        async for piece in self._pieces(reply):
                            at += len(piece)
                            yield piece
                    finally:
                        await self._end(reply)
                    return
                except Broken as error:
                    tries = 1 if at > before else tries + 1
                    self._first += 1
                    wait = max(error.after, min(0.5 * 2 ** (tries - 1), _LONGEST_WAIT))
                    spent = self._clock.monotonic() - begun + wait
                    if tries >= self._patience.tries or spent > self._patience.longest:
                        text = f"{error}, at byte {at}, at try {tries} within {spent - wait:.0f} s"
                        raise Unavailable(f"The image could not be fetched from the control plane: {text}.") from error
                    log.info("fetching blob %s goes on at byte %d in %.1f s: %s", blob_id, at, wait, error)
                    await self._sleep(wait)

    def _url(self) -> str:
        return self._urls[self._first % len(self._urls)]

    async def _opened(self, reply: _Reply, blob_id: str, at: int, tag: str) -> str:
        """Ask for the bytes from a position on, and return the mark of what they are of."""
        ticket = self._tickets.get(blob_id)
        if ticket is None:
            raise Forbidden(
                "No ticket for the image came with the command: conductors of earlier releases give none, and images "
                "are fetched from the control plane here (images_from)."
            )
        part = f"bytes={at}-" if at else ""
        headers = {"Authorization": authorization(ticket, "GET", part), "Accept-Encoding": "identity"}
        if at:
            headers["Range"] = part
        if at and tag:
            headers["If-Range"] = tag
        try:
            async with asyncio.timeout(self._patience.connect + self._patience.quiet):
                await self._threads.run(reply.open, headers, let_in=True)
        except TimeoutError:
            raise Broken("its head did not come in time") from None
        if reply.status != (206 if at else 200):
            _refuse(reply, blob_id, at)
        found = reply.headers.get("etag", "")
        if (tag and found != tag) or (at and not reply.headers.get("content-range", "").startswith(f"bytes {at}-")):
            raise Conflict("The image store gives other bytes now than before.")
        return found

    async def _pieces(self, reply: _Reply) -> AsyncIterator[bytes]:
        """Give what comes, as long as it comes fast enough."""
        patience, since, got = self._patience, self._clock.monotonic(), 0
        while reply.left:
            piece = await self._threads.run(reply.piece, let_in=True)
            yield piece
            got += len(piece)
            passed = self._clock.monotonic() - since
            if passed >= patience.window:
                if got < patience.rate * passed:
                    raise Broken(f"only {got} bytes came in {passed:.0f} s")
                since, got = since + passed, 0

    async def _end(self, reply: _Reply) -> None:
        """Close a connection; a thread that reads from it is woken first."""
        reply.wake()
        try:
            await asyncio.shield(self._threads.run(reply.close, let_in=True))
        except Unavailable:  # the pool is closed
            reply.close()


class Line:
    """A connection that one thread waits on and any other may end. Whoever uses it holds the lock."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.connection: http.client.HTTPConnection | None = None

    def wake(self) -> None:
        """Have the thread that waits see the end; without the lock, from any thread."""
        connection = self.connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        if self.connection is not None:
            self.connection.close()
        self.connection = None


class _Reply:
    """A request and what is answered. Its methods block, but `wake`."""

    def __init__(self, url: str, blob_id: str, patience: Patience) -> None:
        self._where = urlsplit(url)
        self._path = f"{self._where.path}/floe/v1/blobs/{blob_id}"
        self._patience = patience
        self._line = Line()
        self._response: http.client.HTTPResponse | None = None
        self._over = False
        self.status, self.left, self.said = 0, 0, ""
        self.headers: Mapping[str, str] = {}

    def open(self, headers: Mapping[str, str]) -> None:
        """Send the request and read the head; of a refusal the beginning of the body too. Raises Broken."""
        with self._line.lock:
            try:
                self._ask(headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Broken(f"{self._where.netloc} did not answer: {words_of(error)}") from error

    def piece(self) -> bytes:
        """Read on. Raises Broken when the connection ends before its time, or nothing comes."""
        with self._line.lock:
            response = self._response
            if response is None or self._over:
                raise Broken("it was called off")
            parts, size = list[bytes](), 0
            until = monotonic() + _GATHER
            try:
                while size < min(_PIECE, self.left) and (not parts or monotonic() < until):
                    part = response.read1(min(_PIECE, self.left) - size)
                    if not part:
                        raise Broken("the connection ended too soon")
                    parts.append(part)
                    size += len(part)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not parts:
                    quiet = f"nothing came for {self._patience.quiet:g} s"
                    raise Broken(quiet if isinstance(error, TimeoutError) else words_of(error)) from error
            except Broken:
                if not parts:
                    raise
            self.left -= size
            return b"".join(parts)

    def wake(self) -> None:
        """Have a thread that reads see the end; from any thread."""
        self._over = True
        self._line.wake()

    def close(self) -> None:
        """Let go of the connection."""
        with self._line.lock:
            self._over = True
            if self._response is not None:
                self._response.close()
            self._line.close()

    def _ask(self, headers: Mapping[str, str]) -> None:
        if self._over:
            raise ValueError("it was called off")
        made = self._line.connection = _connection(self._where, self._patience.connect)
        made.connect()
        made.sock.settimeout(self._patience.quiet)
        made.request("GET", self._path, headers=dict(headers))
        response = self._response = made.getresponse()
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        if self.status in {200, 206}:
            length = self.headers.get("content-length", "")
            if not (length.isascii() and length.isdigit()):
                raise ValueError("it does not say how many bytes come")
            self.left = int(length)
        else:
            self.said = message_of(response.read(_MOST_SAID))


def connection_to(url: str, patience: Patience) -> tuple[http.client.HTTPConnection, str]:
    """Return an open connection to an API, and what of its URL stands before all paths. It blocks."""
    where = urlsplit(url)
    made = _connection(where, patience.connect)
    made.connect()
    made.sock.settimeout(patience.quiet)
    return made, where.path


def _connection(where: SplitResult, seconds: float) -> http.client.HTTPConnection:
    if where.scheme == "https":
        return http.client.HTTPSConnection(where.netloc, timeout=seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(where.netloc, timeout=seconds)


def _refuse(reply: _Reply, blob_id: str, at: int) -> NoReturn:
    said = f"{reply.said or http.client.responses.get(reply.status, '')} (HTTP {reply.status})"
    if reply.status in {200, 416} and at:
        raise Conflict(f"The image store does not go on at byte {at}: {said}.")
    if reply.status >= 500 or reply.status in {408, 429}:
        after = reply.headers.get("retry-after", "")
        raise Broken(f"it was refused: {said}", float(min(int(after), 60)) if after.isdigit() else 0.0)
    kinds: dict[int, FloeError] = {
        401: Forbidden(f"The control plane refuses the ticket: {said}"),
        403: Forbidden(f"The control plane refuses the ticket: {said}"),
        404: NotFound("image data", blob_id),
    }
    raise kinds.get(reply.status) or Invalid(f"The control plane answers what is no answer: {said}")


def message_of(body: bytes) -> str:
    """Return what a refusal says, in a few words."""
    try:
        found = json.loads(body)["error"]["message"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
    return " ".join(str(found).split())[:_SHORT]


def words_of(error: Exception) -> str:
    """Return what went wrong with a connection, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join((text or type(error).__name__).split())[:_SHORT]
