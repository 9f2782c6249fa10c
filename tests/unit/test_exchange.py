"""A reply on its way out: in how many writes, and framed how."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from floe.api.front.exchange import Exchange


@dataclass
class Transport:
    """Keeps what is written, write by write."""

    writes: list[bytes] = field(default_factory=list)
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.writes.append(b"".join(pieces))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def exchange(transport: Transport, method: str = "GET", *, keep_alive: bool = True) -> Exchange:
    door: Any = transport
    return Exchange(
        scope={"type": "http", "method": method, "http_version": "1.1"},  # type: ignore[typeddict-item]
        transport=door,
        flow=FlowControl(door),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[(b"date", b"now")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=keep_alive,
        on_response=lambda: None,
    )


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_head_and_body_are_one_write() -> None:
    transport = Transport()
    reply = exchange(transport)
    await reply.send(start(200, (b"content-length", b"5"), (b"x-a", b"b")))
    assert transport.writes == []
    await reply.send(body(b"hello"))
    assert transport.writes == [b"HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello"]
    assert reply.response_complete
    assert not transport.closed


async def test_a_stream_is_chunked_where_its_length_is_not_known_and_each_piece_is_one_write() -> None:
    transport = Transport()
    reply = exchange(transport)
    await reply.send(start())
    await reply.send(body(b"ab", more=True))
    await reply.send(body(b"", more=True))
    await reply.send(body(b"c"))
    assert transport.writes == [
        b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"1\r\nc\r\n0\r\n\r\n",
    ]


@pytest.mark.parametrize(
    ("method", "status", "headers", "head"),
    [
        ("HEAD", 200, [(b"content-length", b"5")], b"200 OK\r\ndate: now\r\ncontent-length: 5\r\n\r\n"),
        ("GET", 204, [], b"204 No Content\r\ndate: now\r\n\r\n"),
        ("GET", 304, [], b"304 Not Modified\r\ndate: now\r\n\r\n"),
    ],
)
async def test_what_has_no_body_is_a_head_alone(
    method: str, status: int, headers: list[tuple[bytes, bytes]], head: bytes
) -> None:
    transport = Transport()
    reply = exchange(transport, method)
    await reply.send(start(status, *headers))
    await reply.send(body(b""))
    assert transport.writes == [b"HTTP/1.1 " + head]
    assert reply.response_complete


@pytest.mark.parametrize("asked", [False, True])
async def test_the_last_reply_of_a_connection_says_so_once_and_closes_it(asked: bool) -> None:
    transport = Transport()
    reply = exchange(transport, keep_alive=asked)
    await reply.send(start(200, (b"content-length", b"0"), *([(b"connection", b"close")] if asked else [])))
    await reply.send(body(b""))
    assert b"".join(transport.writes).count(b"connection: close") == 1
    assert transport.closed


@pytest.mark.parametrize("pieces", [[b"toolong"], [b"ab", b"cd"], [b"ab"]])
async def test_a_body_of_another_length_than_was_said_is_not_passed_off_as_one(pieces: list[bytes]) -> None:
    reply = exchange(Transport())
    await reply.send(start(200, (b"content-length", b"3")))
    with pytest.raises(RuntimeError, match="Content-Length"):
        for index, piece in enumerate(pieces):
            await reply.send(body(piece, more=index < len(pieces) - 1))


async def test_messages_out_of_their_order_are_refused() -> None:
    reply = exchange(Transport())
    with pytest.raises(RuntimeError, match="head is awaited"):
        await reply.send(body(b""))
    await reply.send(start(204))
    await reply.send(body(b""))
    for late in (start(), body(b"")):
        with pytest.raises(RuntimeError, match="there whole"):
            await reply.send(late)


async def test_a_failure_before_the_first_of_the_body_is_told_as_one(caplog: pytest.LogCaptureFixture) -> None:
    transport = Transport()

    async def broken(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start(200))
        raise ValueError("the disk is gone")

    await exchange(transport).run_asgi(broken)
    assert b"".join(transport.writes).startswith(b"HTTP/1.1 500 ")
    assert "the disk is gone" in caplog.text


async def test_a_failure_within_the_body_ends_the_connection() -> None:
    transport = Transport()

    async def broken(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start(200))
        await send(body(b"half", more=True))
        raise ValueError("the disk is gone")

    await exchange(transport).run_asgi(broken)
    assert b" 500 " not in b"".join(transport.writes)
    assert transport.closed
