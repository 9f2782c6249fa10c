"""Fetching images over HTTP from a control plane that breaks off, stalls, drips, refuses and lies."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from certificates import authority
from image_server import BLOB, DATA, TAG, Asked, Sources, broken, right, serving, ticket

from floe.agent.image_http import HttpImages, Patience
from floe.core.errors import Conflict, FloeError, Forbidden, Invalid, NotFound, Unavailable
from floe.core.image_tickets import issue


async def whole(source: HttpImages, start: int = 0) -> bytes:
    return b"".join([piece async for piece in source.read(BLOB, start)])


async def test_a_fetch_that_breaks_goes_on_where_it_was_broken(sources: Sources) -> None:
    async with serving(broken, broken, right) as server:
        assert await whole(sources(server.url)) == DATA
    assert [asked.start for asked in server.asked] == [0, 1_000_000, 2_000_000]
    assert [asked.headers.get("if-range") for asked in server.asked] == [None, TAG, TAG]
    assert {asked.path for asked in server.asked} == {f"/floe/v1/blobs/{BLOB}"}


async def test_a_server_that_stalls_is_left_and_the_next_one_goes_on(sources: Sources) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(500_000)
        await asyncio.sleep(60)

    async with serving(stalls) as first, serving(right) as second:
        async with asyncio.timeout(30):
            assert await whole(sources(first.url, second.url)) == DATA
    assert [asked.start for asked in second.asked] == [500_000]


async def test_a_server_that_drips_is_too_slow(sources: Sources) -> None:
    async def drips(asked: Asked) -> None:
        await asked.part(0)
        for at in range(600):
            asked.writer.write(DATA[at : at + 1])
            await asked.writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drips) as server:
        with pytest.raises(Unavailable, match=r"only \d+ bytes came in \d+ s|other bytes"):
            async with asyncio.timeout(60):
                await whole(sources(server.url, patience=Patience(quiet=5.0, window=0.5, rate=1 << 20, tries=1)))


async def test_a_server_whose_head_never_comes_is_given_up_after_its_tries(sources: Sources) -> None:
    async def silent(_asked: Asked) -> None:
        await asyncio.sleep(60)

    async with serving(silent) as server:
        with pytest.raises(Unavailable, match=r"could not be fetched from the control plane.*byte 0, at try 3"):
            async with asyncio.timeout(30):
                await whole(sources(server.url))
    assert len(server.asked) == 3
    assert sources.waits == [0.5, 1.0]


async def test_nobody_there_is_said_with_the_address(sources: Sources) -> None:
    async with serving(right) as server:
        pass
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ did not answer"):
        await whole(sources(server.url))


async def test_a_busy_control_plane_is_asked_again_when_it_says(sources: Sources) -> None:
    async def busy(asked: Asked) -> None:
        await asked.say("503 Service Unavailable", b'{"error": {"message": "Too much."}}', retry_after="7")

    async with serving(busy, right) as server:
        assert await whole(sources(server.url)) == DATA
    assert sources.waits == [7.0]


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        ("403 Forbidden", Forbidden, r"refuses the ticket: It is bad\. \(HTTP 403\)"),
        ("404 Not Found", NotFound, "image data"),
        ("302 Found", Invalid, "what is no answer"),
        ("206 Partial Content", Invalid, "what is no answer"),
    ],
)
async def test_what_will_not_get_better_is_not_asked_again(
    sources: Sources, status: str, kind: type[FloeError], text: str
) -> None:
    async def refuses(asked: Asked) -> None:
        await asked.say(status, b'{"error": {"message": "It is bad."}}', location="http://127.0.0.1:1/")

    async with serving(refuses) as server:
        with pytest.raises(kind, match=text):
            await whole(sources(server.url))
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"", b"[" * 4096, b"\xff", b"<html>", b'{"error": 3}'])
async def test_a_refusal_in_any_shape_is_a_refusal(sources: Sources, body: bytes) -> None:
    async def refuses(asked: Asked) -> None:
        await asked.say("400 Bad Request", body)

    async with serving(refuses) as server:
        with pytest.raises(Invalid, match=r"HTTP 400"):
            await whole(sources(server.url))


async def test_other_bytes_than_before_are_never_put_behind_the_first(sources: Sources) -> None:
    async def other(asked: Asked) -> None:
        await asked.part(tag='"two"')

    async def all_of_it(asked: Asked) -> None:
        await asked.say("200 OK", DATA, etag='"two"')

    async def none(asked: Asked) -> None:
        await asked.say("416 Range Not Satisfiable")

    for second in (other, all_of_it, none):
        async with serving(broken, second) as server:
            with pytest.raises(Conflict):
                await whole(sources(server.url))


async def test_without_a_ticket_nothing_is_asked(sources: Sources) -> None:
    async with serving(right) as server:
        with pytest.raises(Forbidden, match="No ticket"):
            async for _ in sources(server.url).read("11111111-2222-4333-8444-555555555555"):
                pass
    assert server.asked == []


async def test_of_tickets_for_a_blob_the_latest_is_used_and_they_are_bounded(sources: Sources) -> None:
    async with serving(right) as server:
        made = sources(server.url)
        made.take([ticket(1 << 39, "late"), ticket(5, "early")])
        assert len(await whole(made)) == len(DATA)
        made.take([issue(b"k", "h", [f"{number:x}"], 1 << 38)[0] for number in range(10_000)])
        assert len(made._tickets) <= 4096
        with pytest.raises(Forbidden):
            await whole(made)


# -- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's certificate, by an authority that is in ours.pem; theirs.pem is another one."""
    authority(tmp_path, "ours").sign(tmp_path, "server")
    authority(tmp_path, "theirs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    return context


async def test_over_tls_it_goes_on_where_it_was_broken(
    sources: Sources, tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    async with serving(broken, right, tls=tls) as server:
        assert await whole(sources(server.url)) == DATA
    assert server.asked[1].start > 0


async def test_who_is_not_trusted_is_asked_for_nothing(
    sources: Sources, tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "theirs.pem"))
    async with serving(right, tls=tls) as server:
        with pytest.raises(Unavailable, match=r"its certificate is not trusted: .*at try 3"):
            await whole(sources(server.url))
        assert server.asked == []


async def test_a_fetch_over_tls_that_is_called_off_while_nothing_comes_ends_at_once(
    sources: Sources, tls: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(1 << 20)
        await asyncio.sleep(600)

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ours.pem"))
    async with serving(stalls, tls=tls) as server:
        got: list[int] = []

        async def read() -> None:
            async for piece in sources(server.url, patience=Patience(quiet=600.0)).read(BLOB):
                got.append(len(piece))

        reading = asyncio.create_task(read())
        async with asyncio.timeout(30):  # its thread would be held up for ten minutes
            while sum(got) < 1 << 20:
                await asyncio.sleep(0.005)
            reading.cancel()
            await asyncio.wait({reading})
    assert reading.cancelled()
