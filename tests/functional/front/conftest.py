"""A cloud behind small limits, and clients that write what they like to its socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from floe.api.front.limits import Limits
from floe.api.front.refusals import REFUSED
from floe.testing import EmbeddedCloud

PATIENCE = 20.0
"""Seconds after which a test gives up: far more than any limit that it waits for."""


@dataclass(slots=True)
class Wire:
    """One raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write, whether or not anybody listens still."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def reply(self) -> bytes:
        """Return one whole reply: head and body."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            return head + await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Return everything until the other side closes."""
        parts = []
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while part := await self.reader.read(65536):
                    parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Hang up."""
        self.writer.transport.abort()


@dataclass(slots=True)
class Door:
    """A running cloud, and its front door."""

    cloud: EmbeddedCloud
    wires: list[Wire] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.cloud.url.rpartition(":")[2])

    async def connect(self) -> Wire:
        """Open a connection."""
        self.wires.append(Wire(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.wires[-1]

    async def ask(self, path: str = "/healthz") -> bytes:
        """Ask for something on a connection of its own; return the reply."""
        wire = await self.connect()
        await wire.send(b"GET %s HTTP/1.1\r\nhost: cloud\r\nconnection: close\r\n\r\n" % path.encode())
        return await wire.rest()

    def refused(self, why: str) -> int:
        """Return how many were refused for a reason."""
        return self.cloud.node.cloud.counters.total(REFUSED, why)


@pytest.fixture
def door(first_start: Path, tmp_path: Path) -> Callable[[Limits], AbstractAsyncContextManager[Door]]:
    """Start a cloud behind some limits."""

    @asynccontextmanager
    async def start(limits: Limits) -> AsyncIterator[Door]:
        async with EmbeddedCloud(tmp_path / "state", hosts=2, template=first_start, limits=limits) as cloud:
            door = Door(cloud)
            yield door
            for wire in door.wires:
                wire.close()
            await asyncio.sleep(0)

    return start
