"""Bytes of images over HTTP, from a host to the control plane: of what the host makes itself, for a ticket."""

from __future__ import annotations

import asyncio
import http.client
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from floe.agent.image_http import Broken, Line, Patience, connection_to, message_of, words_of
from floe.core.errors import FloeError, Forbidden, Gone, Invalid, TooLarge, Unavailable
from floe.core.image_tickets import ImageTicket, authorization
from floe.pools import Pool

_PIECE = 1 << 20
"""Bytes that a thread sends at a time."""
_AT_ONCE = 2
_MOST_SAID = 4096
_REFUSALS: dict[int, type[FloeError]] = {401: Forbidden, 403: Forbidden, 410: Gone, 413: TooLarge}


class HttpStore:
    """See `SnapshotStore`: one of several APIs, at most two images at a time. It follows no redirect."""

    def __init__(self, urls: Sequence[str], *, threads: Pool, patience: Patience | None = None) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._threads, self._patience = threads, patience or Patience()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._first = 0
        """The API that answered last."""

    async def send(self, ticket: ImageTicket, file: Path, size: int, told: Callable[[int], None]) -> None:
        """See `SnapshotStore.send`."""
        async with self._turns:
            sending = _Sending(self._urls[self._first % len(self._urls)], ticket, file, size, self._patience)
            try:
                await self._threads.run(sending.open, let_in=True)
                while sending.left and not sending.status:
                    await self._threads.run(sending.piece, let_in=True)
                    told(size - sending.left)
                await self._threads.run(sending.answer, let_in=True)
            except Broken as error:
                self._first += 1
                raise Unavailable(str(error)) from error
            finally:
                sending.wake()
                await asyncio.shield(self._threads.run(sending.close, let_in=True))
        if sending.status not in {200, 201, 204}:
            _refuse(sending)


class _Sending:
    """A request with a file as its body. Its methods block, but `wake`."""

    def __init__(self, url: str, ticket: ImageTicket, file: Path, size: int, patience: Patience) -> None:
        self._url, self._file, self._patience = url, file, patience
        self._headers = {
            "Authorization": authorization(ticket, "PUT"),
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
        }
        self._path = f"/floe/v1/snapshots/{ticket.blob}"
        self._line = Line()
        self._reader: BinaryIO | None = None
        self.left, self.status, self.said = size, 0, ""

    def open(self) -> None:
        """Connect and send the head. Raises Broken."""
        with self._line.lock:
            try:
                self._reader = self._file.open("rb")
                self._line.connection, before = connection_to(self._url, self._patience)
                self._line.connection.putrequest("PUT", before + self._path)
                for name, value in self._headers.items():
                    self._line.connection.putheader(name, value)
                self._line.connection.endheaders()
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Broken(f"{self._url} cannot be reached: {words_of(error)}") from error

    def piece(self) -> None:
        """Send on. Where the other side has said no already, that is the answer. Raises Broken."""
        with self._line.lock:
            if self._line.connection is None or self._reader is None:
                raise Broken("it was called off")
            part = self._reader.read(min(_PIECE, self.left))
            if not part:
                raise Broken("the copy is shorter than it was")
            try:
                self._line.connection.send(part)
                self.left -= len(part)
            except OSError:
                self._read_answer()

    def answer(self) -> None:
        """Wait for what is said of all that was sent. Raises Broken."""
        with self._line.lock:
            if not self.status:
                self._read_answer()

    def wake(self) -> None:
        """Have a thread that waits see the end; from any thread."""
        self._line.wake()

    def close(self) -> None:
        """Let go of connection and file."""
        with self._line.lock:
            self._line.close()
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def _read_answer(self) -> None:
        if self._line.connection is None:
            raise Broken("it was called off")
        try:
            response = self._line.connection.getresponse()
            self.status, self.said = response.status, message_of(response.read(_MOST_SAID))
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Broken(f"the connection broke, and nothing was said of why: {words_of(error)}") from error


def _refuse(sending: _Sending) -> NoReturn:
    said = sending.said or http.client.responses.get(sending.status, "")
    if sending.status >= 500 or sending.status in {408, 429}:
        raise Unavailable(f"{said} (HTTP {sending.status})")
    raise _REFUSALS.get(sending.status, Invalid)(said)
