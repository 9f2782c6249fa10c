"""A control plane for tests of fetches: it answers each request for an image as a test says, rightly or not."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from floe.agent.image_http import HttpImages, Patience
from floe.core.clock import FixedClock
from floe.core.image_tickets import ImageTicket, issue
from floe.pools import Pool

BLOB = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9"
DATA = os.urandom(3 << 20)
TAG = '"one"'
HASTY = Patience(connect=5.0, quiet=0.2, window=0.4, rate=1 << 20, tries=3, longest=60.0)


@dataclass
class Asked:
    """A request as the server has it, and how to answer it."""

    headers: dict[str, str]
    path: str
    writer: asyncio.StreamWriter

    @property
    def start(self) -> int:
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    async def say(self, status: str, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        if "content_length" not in headers:
            lines.append(f"content-length: {len(body)}")
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()

    async def part(self, most: int | None = None, *, tag: str = TAG, data: bytes = DATA) -> None:
        """Answer rightly, but end after `most` bytes."""
        rest = data[self.start :]
        headers = {"etag": tag, "content_length": str(len(rest))}
        if self.start:
            headers["content_range"] = f"bytes {self.start}-{len(data) - 1}/{len(data)}"
        await self.say("206 Partial Content" if self.start else "200 OK", rest[:most], **headers)


Answer = Callable[[Asked], Awaitable[None]]


@dataclass
class Server:
    """Answers each request as the next of a list of answers says, the last one for ever."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            found = {name.lower(): value.strip() for name, _, value in pairs}
            self.asked.append(Asked(found, head[0].split()[1], writer))
            await self.answers[min(len(self.asked), len(self.answers)) - 1](self.asked[-1])
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


class LoopClock(FixedClock):
    """The loop's time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def ticket(expires: int = 1 << 38, host: str = "h1") -> ImageTicket:
    return issue(b"k" * 44, host, [BLOB], expires)[0]


@dataclass
class Sources:
    """Makes sources that have a ticket, and wait for nothing between two tries; `waits` is how long they would have."""

    threads: Pool = field(default_factory=lambda: Pool("fetches", 2))
    waits: list[float] = field(default_factory=list)

    def __call__(self, *urls: str, patience: Patience = HASTY) -> HttpImages:
        made = HttpImages(urls, threads=self.threads, clock=LoopClock(), sleep=self._sleep, patience=patience)
        made.take([ticket()])
        return made

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


async def right(asked: Asked) -> None:
    await asked.part()


async def broken(asked: Asked) -> None:
    await asked.part(1_000_000)
