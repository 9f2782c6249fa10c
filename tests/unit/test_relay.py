"""Connections that are led on: each way ends by itself, who is slow holds up nobody, and their number is bounded."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from floe.cli.relay import MOST, Way, relay

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECONDS = 30


def tcp(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM)


@asynccontextmanager
async def guest(talk: Talk) -> AsyncIterator[int]:
    """Give the port at which a guest answers."""
    async with AsyncExitStack() as open_ones:

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_ones.callback(writer.close)
            await talk(reader, writer)

        server = await asyncio.start_server(met, "127.0.0.1", 0, backlog=1024)
        yield server.sockets[0].getsockname()[1]
        server.close()


class Led:
    """What leads to some ports, and what it told."""

    def __init__(self, *ports: int, make: Callable[[int], socket.socket] = tcp) -> None:
        self.told: list[str] = []
        listeners = [socket.create_server(("127.0.0.1", 0), backlog=1024) for _ in ports]
        self.ways = [Way(here, "127.0.0.1", port) for here, port in zip(listeners, ports, strict=True)]
        self.make, self.stopping, self.tells = make, asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Led:
        self.task = asyncio.create_task(relay(self.ways, self.make, self.tell, self.stopping))
        return self

    def tell(self, address: str, port: int, why: str) -> None:
        self.told.append(f"{address}:{port} {why}")
        self.tells.set()

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        async with asyncio.timeout(SECONDS):
            await self.task
        for way in self.ways:
            way.listener.close()

    async def connect(self, way: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.ways[way].listener.getsockname())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def answered(led: Led, way: int, text: bytes) -> None:
    reader, writer = await led.connect(way)
    writer.write(text)
    writer.write_eof()
    async with asyncio.timeout(SECONDS):
        assert await reader.read() == text
    writer.close()


async def test_each_way_ends_by_itself() -> None:
    """A client that has said all hears on, until the guest too has said all."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    more = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())
        await more.wait()
        writer.write(b"late")
        writer.write_eof()

    async with guest(talk) as port, Led(port) as led, asyncio.timeout(SECONDS):
        reader, writer = await led.connect()
        writer.write(b"asked")
        writer.write_eof()
        assert await heard == b"asked"
        more.set()
        assert await reader.read() == b"late"
        writer.close()
    assert led.told == []


async def test_a_guest_that_has_said_all_hears_on() -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        heard.set_result(await reader.read())

    async with guest(talk) as port, Led(port) as led, asyncio.timeout(SECONDS):
        reader, writer = await led.connect()
        assert await reader.read() == b""
        writer.write(b"after that")
        writer.write_eof()
        assert await heard == b"after that"
        writer.close()


async def test_a_guest_that_refuses_is_told_and_the_next_connection_is_led() -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    async with Led(port) as led, asyncio.timeout(SECONDS):
        for _ in range(2):
            reader, writer = await led.connect()
            assert await reader.read() == b""
            writer.close()
    assert led.told == [f"127.0.0.1:{port} Connection refused"] * 2


async def test_a_guest_that_breaks_off_ends_the_connection_here() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with guest(talk) as port, Led(port) as led, asyncio.timeout(SECONDS):
        reader, writer = await led.connect()
        writer.write(b"x")
        assert await reader.read() == b""
        writer.close()


async def test_who_reads_slowly_holds_up_the_guest_and_nobody_else() -> None:
    """What is under way is bounded, and nothing of it is lost."""
    sent, total = 0, 1 << 26

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(b"x" * (1 << 16))
            await writer.drain()
            sent += 1 << 16
        writer.write_eof()

    async with guest(talk) as slow, guest(echo) as quick, Led(slow, quick) as led, asyncio.timeout(SECONDS):
        reader, writer = await led.connect()
        assert await reader.read(1) == b"x"
        for _ in range(20):
            await answered(led, 1, b"at once")
        assert sent < total, "it waits for who reads"
        assert 1 + len(await reader.read()) == total
        writer.close()


async def test_as_many_as_may_be_are_led_and_the_rest_in_their_turn() -> None:
    meeting = asyncio.Semaphore(0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        meeting.release()
        await echo(reader, writer)

    async with guest(talk) as port, Led(port) as led, asyncio.timeout(SECONDS):
        there = [await led.connect() for _ in range(MOST)]
        for _ in there:
            await meeting.acquire()
        more = asyncio.create_task(answered(led, 0, b"more"))
        await answered_by_all(there[1:])
        assert meeting.locked()
        assert not more.done()
        there[0][1].close()
        await more
        for _, writer in there[1:]:
            writer.close()


async def answered_by_all(there: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    """Say something on each, and hear it."""
    for reader, writer in there:
        writer.write(b"y")
        assert await reader.read(1) == b"y"


async def test_more_ports_than_connections_at_a_time_are_all_led() -> None:
    async with guest(echo) as port, Led(*[port] * (MOST + 4)) as led:
        for way in (0, MOST - 1, MOST, MOST + 3):
            await answered(led, way, b"here")


async def test_a_process_with_too_many_files_open_leads_on_when_it_has_fewer() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with guest(echo) as port, Led(port) as led, asyncio.timeout(SECONDS):
        with socket.socket() as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
            try:
                await asyncio.get_running_loop().sock_connect(client, led.ways[0].listener.getsockname())
                await led.tells.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"waited")
            assert await reader.readexactly(6) == b"waited"
            writer.close()
        await answered(led, 0, b"after")
    assert set(led.told) == {f"127.0.0.1:{port} Too many open files"}


async def test_a_network_that_is_gone_is_told_and_nothing_is_left_open() -> None:
    def gone(_: int) -> socket.socket:
        raise OSError(errno.EINVAL, "the namespace is gone")

    async with Led(1, make=gone) as led, asyncio.timeout(SECONDS):
        reader, writer = await led.connect()
        assert await reader.read() == b""
        writer.close()
    assert led.told == ["127.0.0.1:1 Invalid argument"]


async def test_what_is_under_way_ends_when_it_is_time_to_stop() -> None:
    async with guest(echo) as port:
        async with Led(port) as led:
            reader, writer = await led.connect()
            writer.write(b"x")
            assert await reader.read(1) == b"x"
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("waiting", [1, 3])
async def test_who_waits_for_room_is_let_go_when_it_is_time_to_stop(waiting: int) -> None:
    async with guest(echo) as port:
        async with Led(port) as led:
            there = [await led.connect() for _ in range(MOST + waiting)]
            await answered_by_all(there[:MOST])
        for reader, writer in there:
            async with asyncio.timeout(SECONDS):
                assert await ended(reader)
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True
