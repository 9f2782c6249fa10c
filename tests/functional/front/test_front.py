"""What stands on the wire, and for how long, is bounded: by bytes, by numbers and by time, before any token is read."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from floe.api.front.limits import Limits

if TYPE_CHECKING:
    from tests.functional.front.conftest import Door, Wire

    Doors = Callable[[Limits], AbstractAsyncContextManager[Door]]

GET = b"GET /healthz HTTP/1.1\r\nhost: cloud\r\n"
HEAD = 2048
SMALL = Limits(head_bytes=HEAD, headers=20, linger_seconds=0.2)


def _head(size: int) -> bytes:
    """Return a request whose head has exactly so many bytes."""
    begun = GET + b"x: "
    return begun + b"y" * (size - len(begun) - 4) + b"\r\n\r\n"


async def _closes(wire: Wire) -> bytes:
    return await wire.rest()


# -- heads ----------------------------------------------------------------------------------------------


async def test_a_head_of_exactly_the_limit_is_answered_and_one_byte_more_is_not(door: Doors) -> None:
    async with door(SMALL) as here:
        wire = await here.connect()
        await wire.send(_head(HEAD))
        assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")
        await wire.send(_head(HEAD + 1))
        assert (await wire.rest()).startswith(b"HTTP/1.1 431 ")
        assert here.refused("head_bytes") == 1


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"", b"A" * 64, id="a method without end"),
        pytest.param(b"GET /", b"a" * 64, id="a request line without end"),
        pytest.param(b"GET /?", b"a=b&" * 16, id="a query without end"),
        pytest.param(GET + b"x: ", b"y" * 64, id="a header without end"),
        pytest.param(GET, b"x: y\r\n", id="headers without end"),
        pytest.param(b"", b"\r\n" * 32, id="empty lines without end"),
        pytest.param(
            b"POST /identity/v3/auth/tokens HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            b"x: y\r\n",
            id="trailers without end",
        ),
        pytest.param(
            b"POST /identity/v3/auth/tokens HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\n1;",
            b"x" * 64,
            id="a chunk's extension without end",
        ),
    ],
)
async def test_what_has_no_end_is_cut_off_after_so_many_bytes(door: Doors, begin: bytes, more: bytes) -> None:
    async with door(SMALL) as here:
        wire = await here.connect()
        reading = asyncio.ensure_future(wire.rest())
        await wire.send(begin)
        sent = 0
        while not reading.done() and sent < (64 << 20):
            await wire.send(more)
            sent += len(more)
        answer = await reading
        assert not answer or answer.split(b" ")[1] in {b"400", b"431", b"404"}
        assert sent < (64 << 20)
        assert here.refused("head_bytes") + here.refused("headers") + here.refused("malformed") == 1
        assert b" 200 " in await here.ask()


async def test_a_request_has_so_many_headers_at_most(door: Doors) -> None:
    async with door(SMALL) as here:
        wire = await here.connect()
        await wire.send(GET + b"x: y\r\n" * 19 + b"\r\n")
        assert (await wire.reply()).startswith(b"HTTP/1.1 200 ")
        await wire.send(GET + b"x: y\r\n" * 20 + b"\r\n")
        assert (await wire.rest()).startswith(b"HTTP/1.1 431 ")
        assert here.refused("headers") == 1


@pytest.mark.parametrize("begun", [b"", b"G", GET, b"\r\n"], ids=["nothing", "a byte", "some headers", "an empty line"])
async def test_a_head_that_is_not_there_in_time_ends_the_connection(door: Doors, begun: bytes) -> None:
    async with door(Limits(head_seconds=0.2, linger_seconds=0.2)) as here:
        wire = await here.connect()
        await wire.send(begun)
        assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")
        assert here.refused("head_slow") == 1


async def test_a_trickled_head_gains_no_time(door: Doors) -> None:
    async with door(Limits(head_seconds=0.3, linger_seconds=0.1)) as here:
        wire = await here.connect()
        reading = asyncio.ensure_future(wire.rest())
        await wire.send(GET + b"x: ")
        while not reading.done():
            await wire.send(b"y")
            await asyncio.wait({reading}, timeout=0.01)
        assert here.refused("head_slow") == 1


async def test_a_further_request_has_its_own_time(door: Doors) -> None:
    async with door(Limits(head_seconds=0.2, idle_seconds=30, linger_seconds=0.1)) as here:
        wire = await here.connect()
        for _ in range(3):
            await wire.send(GET + b"\r\n")
            assert b" 200 " in await wire.reply()
        await wire.send(GET)
        assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_ends_in_time(door: Doors) -> None:
    async with door(Limits(idle_seconds=0.2)) as here:
        wire = await here.connect()
        await wire.send(GET + b"\r\n")
        assert b" 200 " in await wire.reply()
        assert await wire.rest() == b""


async def test_requests_ahead_of_their_answers_are_few(door: Doors) -> None:
    async with door(Limits(pipelined=4, linger_seconds=0.1)) as here:
        wire = await here.connect()
        await wire.send((GET + b"\r\n") * 1000)
        answers = await wire.rest()
        assert answers.count(b"HTTP/1.1 200 ") == answers.count(b"HTTP/1.1 ") == 5
        assert here.refused("pipelined") == 1


async def test_what_is_no_http_is_told_so_and_said_once(door: Doors, caplog: pytest.LogCaptureFixture) -> None:
    async with door(SMALL) as here:
        for _ in range(5):
            wire = await here.connect()
            await wire.send(b"\x16\x03\x01\x00\xff\x01 hello\r\n\r\n")
            assert (await wire.rest()).startswith(b"HTTP/1.1 400 ")
        assert here.refused("malformed") == 5
        assert b'floe_refused_connections_total{why="malformed"} 5.0' in await here.ask("/metrics")
    said = [record for record in caplog.records if "no HTTP request" in record.getMessage()]
    assert len(said) == 1
    assert [r for r in caplog.records if r.levelno >= logging.WARNING and r not in said] == []


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
async def test_an_upgrade_is_answered_as_if_it_had_not_been_asked_for(
    door: Doors, upgrade: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with door(SMALL) as here:
        wire = await here.connect()
        await wire.send(GET + b"connection: upgrade\r\nupgrade: " + upgrade + b"\r\n\r\nPRI * HTTP/2.0\r\n")
        assert (await wire.rest()).startswith(b"HTTP/1.1 200 ")
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


# -- bodies and replies ---------------------------------------------------------------------------------

POST = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nhost: c\r\ncontent-type: application/json\r\n"


async def test_a_body_without_a_byte_for_too_long_ends_the_connection(door: Doors) -> None:
    async with door(Limits(quiet_seconds=0.2, linger_seconds=0.1)) as here:
        wire = await here.connect()
        await wire.send(POST + b"content-length: 100\r\n\r\n{")
        assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")
        assert here.refused("body_slow") == 1


async def test_a_body_below_the_least_pace_ends_the_connection(door: Doors) -> None:
    async with door(Limits(quiet_seconds=10, rate=10_000, rate_seconds=0.3, linger_seconds=0.1)) as here:
        wire = await here.connect()
        reading = asyncio.ensure_future(wire.rest())
        await wire.send(POST + b"content-length: 100000\r\n\r\n")
        while not reading.done():
            await wire.send(b" ")
            await asyncio.wait({reading}, timeout=0.01)
        assert (await reading).startswith(b"HTTP/1.1 408 ")
        assert here.refused("body_slow") == 1


async def test_a_body_that_was_answered_before_it_was_there_is_not_waited_for_long(door: Doors) -> None:
    async with door(Limits(rest_seconds=0.2, linger_seconds=0.1)) as here:
        wire = await here.connect()
        await wire.send(b"GET /healthz HTTP/1.1\r\nhost: c\r\ncontent-length: 1000000\r\n\r\n")
        assert b" 200 " in await wire.reply()
        reading = asyncio.ensure_future(wire.rest())
        while not reading.done():
            await wire.send(b" ")
            await asyncio.wait({reading}, timeout=0.01)
        assert here.refused("body_slow") == 1


class _Slow:
    """An application that takes its time with the body, and then tells how much there was."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.paused = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.go_on.wait()
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size, more = size + len(message["body"]), message["more_body"]
        body = str(size).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


def _began(connection: Any) -> float:
    """Return since when the pace of a body is judged."""
    return connection._body_pace.began if connection._body_pace else 0.0


async def test_a_body_that_we_are_slow_to_read_is_waited_for(door: Doors) -> None:
    limits = Limits(quiet_seconds=0.1, rate=1 << 20, rate_seconds=0.1)
    async with door(limits) as here:
        slow = _Slow()
        here.cloud._server.config.loaded_app = slow
        wire = await here.connect()
        size = 8 << 20
        sending = asyncio.ensure_future(
            wire.send(b"PUT / HTTP/1.1\r\nhost: c\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
        )
        await _until(lambda: any(_began(each) for each in here.cloud._server.server_state.connections))
        (connection,) = here.cloud._server.server_state.connections
        begun = _began(connection)
        await _until(lambda: _began(connection) > begun + 10 * limits.quiet_seconds)
        assert here.refused("body_slow") == 0
        slow.go_on.set()
        assert (await wire.reply()).endswith(b"%d" % size)
        await sending


async def test_a_reply_that_is_not_taken_ends_the_connection(door: Doors) -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while made < (256 << 20) and (await _now(receive)) != "http.disconnect":
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            made += 65536
        ended.set()

    async def _now(receive: Any) -> str:
        return "http.disconnect" if here.refused("reply_slow") else "http.request"

    made, ended = 0, asyncio.Event()
    async with door(Limits(reply_seconds=0.2)) as here:
        here.cloud._server.config.loaded_app = endless
        wire = await here.connect()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(GET + b"\r\n")
        async with asyncio.timeout(20):
            await ended.wait()
        assert here.refused("reply_slow") == 1
        assert made < (64 << 20), "what was made went into memory"
        wire.close()


async def test_a_client_that_takes_its_reply_slowly_is_left_in_peace(door: Doors) -> None:
    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": b"x" * size})

    size = 32 << 20
    async with door(Limits(reply_seconds=0.4, rate=1024, rate_seconds=0.4)) as here:
        here.cloud._server.config.loaded_app = large
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", here.port))
            await loop.sock_sendall(client, GET + b"\r\n")
            begun, taken = loop.time(), 0
            while loop.time() < begun + 5 * 0.4:  # as slow as that: far less than the kernel holds, in all this time
                part = await loop.sock_recv(client, 4096)
                assert part, f"cut off after {taken} bytes"
                taken += len(part)
                await asyncio.sleep(0.02)
            assert here.refused("reply_slow") == 0
            assert taken < size // 10


async def test_an_idle_connection_whose_reply_was_not_taken_ends_too(door: Doors) -> None:
    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": b"x" * size})

    size = 32 << 20
    async with door(Limits(reply_seconds=0.2, idle_seconds=0.1)) as here:
        here.cloud._server.config.loaded_app = large
        wire = await here.connect()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.send(GET + b"connection: close\r\n\r\n")
        await _until(lambda: here.refused("reply_slow") == 1)
        wire.close()


# -- connections ----------------------------------------------------------------------------------------


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("begun", [b"", GET, GET + b"\r\n"], ids=["silent", "half a head", "idle"])
@pytest.mark.parametrize("limits", [Limits(connections=8), Limits(per_peer=8)], ids=["in all", "of a peer"])
async def test_idle_connections_lock_nobody_out(door: Doors, limits: Limits, begun: bytes) -> None:
    async with door(limits) as here:
        wires = []
        for _ in range(50):
            wire = await here.connect()
            await wire.send(begun)
            wires.append(wire)
            if begun.endswith(b"\r\n\r\n"):
                assert b" 200 " in await wire.reply()
        assert b" 200 " in await here.ask()
        assert len(here.cloud._server.server_state.connections) <= 8 + limits.lingering
        assert here.refused("shed") == 50 - 8 + 1
        for wire in wires:
            wire.close()


@pytest.mark.parametrize("limits", [Limits(connections=4), Limits(per_peer=4)], ids=["in all", "of a peer"])
async def test_what_is_over_the_limit_while_all_are_busy_is_told_so_at_once(door: Doors, limits: Limits) -> None:
    async with door(limits) as here:
        slow = _Slow()
        here.cloud._server.config.loaded_app = slow
        busy = [await here.connect() for _ in range(4)]
        for wire in busy:
            await wire.send(GET + b"\r\n")
        await _until(lambda: len(here.cloud._server.server_state.tasks) == 4)
        answer = await here.ask()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 5\r\n" in answer
        assert here.refused("full") + here.refused("peer_full") == 1
        slow.go_on.set()
        for wire in busy:
            assert b" 200 " in await wire.reply()
        assert (await here.ask()).startswith(b"HTTP/1.1 200 ")


async def test_stalled_bodies_give_way_where_no_connection_is_idle(door: Doors) -> None:
    async with door(Limits(per_peer=4)) as here:
        for _ in range(4):
            await (await here.connect()).send(POST + b"content-length: 100\r\n\r\n{")
        await _until(lambda: len(here.cloud._server.server_state.tasks) == 4)

        async def answered() -> bool:
            return b" 200 " in await here.ask()

        async with asyncio.timeout(20):
            while not await answered():
                await asyncio.sleep(0.05)
        assert here.refused("shed") >= 1


async def test_a_trusted_proxy_has_as_many_connections_as_it_needs(door: Doors) -> None:
    async with door(Limits(per_peer=2, trusted=(ip_network("127.0.0.0/8"),))) as here:
        wires = [await here.connect() for _ in range(10)]
        for wire in wires:
            await wire.send(GET + b"\r\n")
        for wire in wires:
            assert b" 200 " in await wire.reply()
        assert here.refused("shed") == here.refused("peer_full") == 0


async def test_connections_that_end_leave_their_places(door: Doors) -> None:
    async with door(Limits(connections=8)) as here:
        ask = partial(here.ask, "/healthz")
        for _ in range(10):
            assert all(b" 200 " in answer for answer in await asyncio.gather(*(ask() for _ in range(8))))
        await _until(lambda: not here.cloud._server.server_state.connections)
        assert here.refused("full") == 0
