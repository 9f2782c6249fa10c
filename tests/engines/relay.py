"""A way to an engine that can be cut: connections stay open, and nothing comes through."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


class Relay:
    """Forwards what comes to `port` to another port of this machine, both ways, while it is not cut."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._whole = asyncio.Event()
        self._whole.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay")
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = int(self._server.sockets[0].getsockname()[1])

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Have nothing come through. What was sent meanwhile comes after the block."""
        self._loop.call_soon_threadsafe(self._whole.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._whole.set)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.closing(back), contextlib.suppress(OSError, asyncio.CancelledError):
            await self._whole.wait()
            far, on = await asyncio.open_connection("127.0.0.1", self._to)
            with contextlib.closing(on):
                await asyncio.gather(self._forward(near, on), self._forward(far, back))

    async def _forward(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            await self._whole.wait()
            to.write(data)
            await to.drain()
        await self._whole.wait()
        to.close()


@contextlib.contextmanager
def relay(to: int) -> Iterator[Relay]:
    """Give a relay to a port; it ends with the block."""
    made = Relay(to)
    try:
        yield made
    finally:
        made.close()
