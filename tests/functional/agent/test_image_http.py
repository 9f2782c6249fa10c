"""Fetching images over HTTP from a control plane that breaks off, stalls, drips, refuses and lies."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.image_http import HttpImages, Patience
from floe.agent.images import ImageCache
from floe.core.clock import FixedClock
from floe.core.errors import Conflict, FloeError, Forbidden, HostFailure, Invalid, NotFound, Unavailable
from floe.core.guests import GuestImage
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
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    server = Server(list(answers))
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()


class SystemClock(FixedClock):
    """The loop's time."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


waits: list[float] = []


async def no_sleep(seconds: float) -> None:
    waits.append(seconds)
    await asyncio.sleep(0)


def ticket(expires: int = 1 << 38, host: str = "h1") -> ImageTicket:
    return issue(b"k" * 44, host, [BLOB], expires)[0]


@pytest.fixture
def source() -> AsyncIterator[Callable[..., HttpImages]]:
    threads = Pool("fetches", 2)
    waits.clear()

    def make(*urls: str, patience: Patience = HASTY) -> HttpImages:
        made = HttpImages(urls, threads=threads, clock=SystemClock(), sleep=no_sleep, patience=patience)
        made.take([ticket()])
        return made

    yield make  # type: ignore[misc]
    threads.close()


Make = Callable[..., HttpImages]


async def whole(source: HttpImages, start: int = 0) -> bytes:
    return b"".join([piece async for piece in source.read(BLOB, start)])


async def right(asked: Asked) -> None:
    await asked.part()


async def broken(asked: Asked) -> None:
    await asked.part(1_000_000)


async def test_a_fetch_that_breaks_goes_on_where_it_was_broken(source: Make) -> None:
    async with serving(broken, broken, right) as server:
        assert await whole(source(server.url)) == DATA
    assert [asked.start for asked in server.asked] == [0, 1_000_000, 2_000_000]
    assert [asked.headers.get("if-range") for asked in server.asked] == [None, TAG, TAG]
    assert {asked.path for asked in server.asked} == {f"/floe/v1/blobs/{BLOB}"}


async def test_a_server_that_stalls_is_left_and_the_next_one_goes_on(source: Make) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(500_000)
        await asyncio.sleep(60)

    async with serving(stalls) as first, serving(right) as second:
        async with asyncio.timeout(30):
            assert await whole(source(first.url, second.url)) == DATA
    assert [asked.start for asked in second.asked] == [500_000]


async def test_a_server_that_drips_is_too_slow(source: Make) -> None:
    async def drips(asked: Asked) -> None:
        await asked.part(0)
        for at in range(600):
            asked.writer.write(DATA[at : at + 1])
            await asked.writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drips) as server:
        with pytest.raises(Unavailable, match=r"only \d+ bytes came in \d+ s|other bytes"):
            async with asyncio.timeout(60):
                await whole(source(server.url, patience=Patience(quiet=5.0, window=0.5, rate=1 << 20, tries=1)))


async def test_a_server_whose_head_never_comes_is_given_up_after_its_tries(source: Make) -> None:
    async def silent(_asked: Asked) -> None:
        await asyncio.sleep(60)

    async with serving(silent) as server:
        with pytest.raises(Unavailable, match=r"could not be fetched from the control plane.*byte 0, at try 3"):
            async with asyncio.timeout(30):
                await whole(source(server.url))
    assert len(server.asked) == 3
    assert waits == [0.5, 1.0]


async def test_nobody_there_is_said_with_the_address(source: Make) -> None:
    async with serving(right) as server:
        pass
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:\d+ did not answer"):
        await whole(source(server.url))


async def test_a_busy_control_plane_is_asked_again_when_it_says(source: Make) -> None:
    async def busy(asked: Asked) -> None:
        await asked.say("503 Service Unavailable", b'{"error": {"message": "Too much."}}', retry_after="7")

    async with serving(busy, right) as server:
        assert await whole(source(server.url)) == DATA
    assert waits == [7.0]


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
    source: Make, status: str, kind: type[FloeError], text: str
) -> None:
    async def refuses(asked: Asked) -> None:
        await asked.say(status, b'{"error": {"message": "It is bad."}}', location="http://127.0.0.1:1/")

    async with serving(refuses) as server:
        with pytest.raises(kind, match=text):
            await whole(source(server.url))
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"", b"[" * 4096, b"\xff", b"<html>", b'{"error": 3}'])
async def test_a_refusal_in_any_shape_is_a_refusal(source: Make, body: bytes) -> None:
    async def refuses(asked: Asked) -> None:
        await asked.say("400 Bad Request", body)

    async with serving(refuses) as server:
        with pytest.raises(Invalid, match=r"HTTP 400"):
            await whole(source(server.url))


async def test_other_bytes_than_before_are_never_put_behind_the_first(source: Make) -> None:
    async def other(asked: Asked) -> None:
        await asked.part(tag='"two"')

    async def all_of_it(asked: Asked) -> None:
        await asked.say("200 OK", DATA, etag='"two"')

    async def none(asked: Asked) -> None:
        await asked.say("416 Range Not Satisfiable")

    for second in (other, all_of_it, none):
        async with serving(broken, second) as server:
            with pytest.raises(Conflict):
                await whole(source(server.url))


async def test_without_a_ticket_nothing_is_asked(source: Make) -> None:
    async with serving(right) as server:
        with pytest.raises(Forbidden, match="No ticket"):
            async for _ in source(server.url).read("11111111-2222-4333-8444-555555555555"):
                pass
    assert server.asked == []


async def test_of_tickets_for_a_blob_the_latest_is_used_and_they_are_bounded(source: Make) -> None:
    async with serving(right) as server:
        made = source(server.url)
        made.take([ticket(1 << 39, "late"), ticket(5, "early")])
        assert len(await whole(made)) == len(DATA)
        made.take([issue(b"k", "h", [f"{number:x}"], 1 << 38)[0] for number in range(10_000)])
        assert len(made._tickets) <= 4096
        with pytest.raises(Forbidden):
            await whole(made)


# -- with the cache -----------------------------------------------------------------------------------


def image(data: bytes = DATA) -> GuestImage:
    return GuestImage(
        image_id=BLOB,
        checksum=hashlib.sha512(data).hexdigest(),
        size=len(data),
        disk_format="raw",
        virtual_size=len(data),
    )


async def adopt(_path: Path, disk_format: str) -> str:
    return disk_format


def cache(tmp_path: Path, source: HttpImages) -> ImageCache:
    folder = tmp_path / "images"
    clock = FixedClock()
    return ImageCache(folder, source, adopt, clock=clock, eviction=ImageEviction(folder, list, clock, Keeping()))


def left(tmp_path: Path) -> dict[str, int]:
    return {path.suffix: path.stat().st_size for path in (tmp_path / "images").iterdir()}


async def test_a_fetch_that_a_crash_ended_is_gone_on_with(tmp_path: Path, source: Make) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(2 << 20)
        await asyncio.sleep(60)

    patient = Patience(quiet=60.0)
    async with serving(stalls, right) as server:
        fetching = asyncio.create_task(cache(tmp_path, source(server.url, patience=patient)).get(image()))
        async with asyncio.timeout(20):
            while left(tmp_path).get(".half", 0) < 1 << 20 if (tmp_path / "images").exists() else True:
                await asyncio.sleep(0.005)
        fetching.cancel()
        await asyncio.wait({fetching})
        had = left(tmp_path)[".half"]
        images = cache(tmp_path, source(server.url))
        assert images.tidy() == []
        found = await images.get(image())
        assert server.asked[1].start == had > 0
    assert found.path.read_bytes() == DATA
    assert sorted(left(tmp_path)) == ["", ".json", ".lock"]


@pytest.mark.parametrize("half", [b"other bytes", DATA[:-1] + b"?", DATA + b"more", bytes(len(DATA))])
async def test_a_half_file_that_is_wrong_is_fetched_anew_once(tmp_path: Path, source: Make, half: bytes) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{image().checksum}.half").write_bytes(half)
    async with serving(right) as server:
        found = await cache(tmp_path, source(server.url)).get(image())
        assert len([asked for asked in server.asked if not asked.start]) == 1
    assert found.path.read_bytes() == DATA


async def test_bytes_that_are_wrong_are_put_away_and_both_digests_are_told(tmp_path: Path, source: Make) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])

    async def lies(asked: Asked) -> None:
        await asked.part(data=wrong)

    async with serving(lies) as server:
        with pytest.raises(HostFailure, match="do not match its checksum") as failed:
            await cache(tmp_path, source(server.url)).get(image())
    assert image().checksum in failed.value.detail
    assert hashlib.sha512(wrong).hexdigest() in failed.value.detail
    assert sorted(left(tmp_path)) == [".lock"]


async def test_one_fetch_serves_a_hundred_who_wait_and_each_is_told_how_far_it_is(tmp_path: Path, source: Make) -> None:
    gate = asyncio.Event()

    async def slowly(asked: Asked) -> None:
        await asked.say("200 OK", DATA[: 2 << 20], etag=TAG, content_length=str(len(DATA)))
        await gate.wait()
        asked.writer.write(DATA[2 << 20 :])
        await asked.writer.drain()

    told: list[set[str]] = [set() for _ in range(100)]

    async def one(images: ImageCache, number: int) -> bool:
        async with images.hold(image(), tell=told[number].add) as found:
            return found.fetched

    async with serving(slowly) as server:
        images = cache(tmp_path, source(server.url, patience=Patience()))
        waiting = [asyncio.create_task(one(images, number)) for number in range(100)]
        async with asyncio.timeout(20):
            while not all(told):
                await asyncio.sleep(0.005)
        gate.set()
        assert [await each for each in waiting].count(True) == 1
        assert len(server.asked) == 1
    assert all(any(text.endswith("of 3 MiB") for text in texts) for texts in told)


async def test_one_fetch_that_fails_fails_for_all_who_waited_and_is_not_tried_for_each(
    tmp_path: Path, source: Make
) -> None:
    async def refuses(asked: Asked) -> None:
        await asyncio.sleep(0.1)
        await asked.say("403 Forbidden")

    async with serving(refuses) as server:
        images = cache(tmp_path, source(server.url, patience=Patience()))
        found = await asyncio.gather(*(images.get(image()) for _ in range(50)), return_exceptions=True)
        assert len(server.asked) == 1
    assert {type(each) for each in found} == {HostFailure}
    assert {each.cause for each in found if isinstance(each, HostFailure)} == {"forbidden"}


async def test_who_fetched_is_cancelled_and_the_next_goes_on_with_it(tmp_path: Path, source: Make) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(2 << 20)
        await asyncio.sleep(60)

    async with serving(stalls, right) as server:
        images = cache(tmp_path, source(server.url, patience=Patience(quiet=60.0)))
        first = asyncio.create_task(images.get(image()))
        async with asyncio.timeout(20):
            while left(tmp_path).get(".half", 0) < 1 << 20 if (tmp_path / "images").exists() else True:
                await asyncio.sleep(0.005)
            second = asyncio.create_task(images.get(image()))
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).fetched
    assert server.asked[1].start > 0
