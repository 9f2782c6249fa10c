"""Connections that are taken here and led to an address elsewhere; bytes go each way until that way ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST = 256
"""Connections at a time; more wait."""
_CONNECT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
"""Before a listener is asked again that could not take a connection: this process has too many files open, say."""
_PIECE = 1 << 16

Make = Callable[[int], socket.socket]
"""Makes a TCP socket of a family, in the network that is led to."""
Tell = Callable[[str, int, str], None]
"""Is told why there is no connection to an address and port."""


@dataclass(frozen=True, slots=True)
class Way:
    """What listens here, and what it leads to."""

    listener: socket.socket
    address: str
    port: int


async def relay(ways: Sequence[Way], make: Make, tell: Tell, stopping: asyncio.Event) -> None:
    """Lead connections until it is time to stop; those that are under way end then."""
    room = asyncio.Semaphore(MOST)
    under_way: set[asyncio.Task[None]] = set()

    async def accept(way: Way) -> None:
        way.listener.setblocking(False)
        while True:
            taken = await _take(way, tell)
            # Room is asked for by who has a connection: however many listeners there are, none keeps it from others.
            try:
                await room.acquire()
            except BaseException:
                taken.close()
                raise
            task = asyncio.create_task(_carry(taken, way, make, tell))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(lambda _: room.release())

    accepting = [asyncio.create_task(accept(way)) for way in ways]
    await stopping.wait()
    for task in (*accepting, *under_way):
        task.cancel()
    await asyncio.gather(*accepting, *under_way, return_exceptions=True)


async def _take(way: Way, tell: Tell) -> socket.socket:
    while True:
        try:
            return (await asyncio.get_running_loop().sock_accept(way.listener))[0]
        except OSError as error:
            tell(way.address, way.port, _why(error))
            await asyncio.sleep(_PAUSE_SECONDS)


async def _carry(taken: socket.socket, way: Way, make: Make, tell: Tell) -> None:
    """Carry one connection, each way until its end."""
    with taken, contextlib.ExitStack() as held:
        try:
            taken.setblocking(False)
            beyond = held.enter_context(make(socket.AF_INET6 if ":" in way.address else socket.AF_INET))
            beyond.setblocking(False)
            async with asyncio.timeout(_CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(beyond, (way.address, way.port))
        except (OSError, TimeoutError) as error:
            tell(way.address, way.port, _why(error))
            return
        await asyncio.gather(_pass(taken, beyond), _pass(beyond, taken))


def _why(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else f"no answer within {_CONNECT_SECONDS:.0f} s"


async def _pass(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and that it ended; a connection that breaks ends both ways."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(source, _PIECE):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
