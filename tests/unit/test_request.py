"""A request as handlers read it."""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.kit.peer import peer_of
from floe.api.kit.request import ClientGone, Request


def request(*headers: tuple[bytes, bytes], messages: list[dict[str, Any]] | None = None) -> Request:
    waiting = iter(messages or [])

    async def receive() -> dict[str, Any]:
        return next(waiting)

    return Request({"type": "http", "method": "GET", "path": "/", "headers": list(headers)}, receive)


def test_of_a_header_sent_twice_the_first_counts() -> None:
    asked = request((b"x-auth-token", b"one"), (b"accept", b"*/*"), (b"x-auth-token", b"two"))
    assert asked.header("x-auth-token") == "one"
    assert asked.header("accept") == "*/*"
    assert asked.header("x-none") is None


def test_bytes_beyond_ascii_in_a_header_are_latin_1() -> None:
    assert request((b"x-name", b"caf\xe9")).header("x-name") == "café"


async def test_a_body_comes_in_its_pieces_once() -> None:
    asked = request(messages=[{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.request"}])
    assert [piece async for piece in asked.stream()] == [b"a"]
    with pytest.raises(RuntimeError):
        _ = [piece async for piece in asked.stream()]


async def test_who_goes_away_within_a_body_is_gone() -> None:
    asked = request(
        messages=[{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}],
    )
    with pytest.raises(ClientGone):
        _ = [piece async for piece in asked.stream()]


async def test_a_client_is_asked_for_without_waiting_for_it() -> None:
    import asyncio

    silent = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await silent.wait()
        return {"type": "http.disconnect"}

    asked = Request({"type": "http", "method": "GET", "path": "/", "headers": []}, receive)
    assert not await asked.is_disconnected()
    silent.set()
    assert await asked.is_disconnected()


def test_what_proxies_say_in_several_headers_is_read_in_order() -> None:
    from ipaddress import ip_network

    scope = {
        "client": ("10.0.0.1", 1),
        "headers": [(b"x-forwarded-for", b"192.0.2.9, 192.0.2.7"), (b"x-forwarded-for", b"10.0.0.2")],
    }
    assert peer_of(scope, [ip_network("10.0.0.0/8")]) == "192.0.2.7"
