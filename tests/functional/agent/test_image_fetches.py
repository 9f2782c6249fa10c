"""Images that a host's cache fetches over HTTP: what a broken fetch leaves, who shares it, and what it may take."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pytest
from image_server import BLOB, DATA, TAG, Asked, Sources, right, serving
from msgspec.structs import replace

from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.image_http import HttpImages, Patience
from floe.agent.images import ImageCache
from floe.core.clock import FixedClock
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage
from floe.core.image_tickets import issue
from floe.disk import DiskRoom


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


def cache(tmp_path: Path, source: HttpImages, room: DiskRoom | None = None) -> ImageCache:
    folder, clock = tmp_path / "images", FixedClock()
    eviction = ImageEviction(folder, list, clock, Keeping(room=room))
    return ImageCache(folder, source, adopt, clock=clock, eviction=eviction)


def left(tmp_path: Path) -> dict[str, int]:
    return {path.suffix: path.stat().st_size for path in (tmp_path / "images").iterdir()}


async def test_a_fetch_that_a_crash_ended_is_gone_on_with(tmp_path: Path, sources: Sources) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(2 << 20)
        await asyncio.sleep(60)

    patient = Patience(quiet=60.0)
    async with serving(stalls, right) as server:
        fetching = asyncio.create_task(cache(tmp_path, sources(server.url, patience=patient)).get(image()))
        async with asyncio.timeout(20):
            while left(tmp_path).get(".half", 0) < 1 << 20 if (tmp_path / "images").exists() else True:
                await asyncio.sleep(0.005)
        fetching.cancel()
        await asyncio.wait({fetching})
        had = left(tmp_path)[".half"]
        images = cache(tmp_path, sources(server.url))
        assert images.tidy() == []
        found = await images.get(image())
        assert server.asked[1].start == had > 0
    assert found.path.read_bytes() == DATA
    assert sorted(left(tmp_path)) == ["", ".json", ".lock"]


@pytest.mark.parametrize("half", [b"other bytes", DATA[:-1] + b"?", DATA + b"more", bytes(len(DATA))])
async def test_a_half_file_that_is_wrong_is_fetched_anew_once(tmp_path: Path, sources: Sources, half: bytes) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{image().checksum}.half").write_bytes(half)
    async with serving(right) as server:
        found = await cache(tmp_path, sources(server.url)).get(image())
        assert len([asked for asked in server.asked if not asked.start]) == 1
    assert found.path.read_bytes() == DATA


async def test_bytes_that_are_wrong_are_put_away_and_both_digests_are_told(tmp_path: Path, sources: Sources) -> None:
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])

    async def lies(asked: Asked) -> None:
        await asked.part(data=wrong)

    async with serving(lies) as server:
        with pytest.raises(HostFailure, match="do not match its checksum") as failed:
            await cache(tmp_path, sources(server.url)).get(image())
    assert image().checksum in failed.value.detail
    assert hashlib.sha512(wrong).hexdigest() in failed.value.detail
    assert sorted(left(tmp_path)) == [".lock"]


async def test_one_fetch_serves_a_hundred_who_wait_and_each_is_told_how_far_it_is(
    tmp_path: Path, sources: Sources
) -> None:
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
        images = cache(tmp_path, sources(server.url, patience=Patience()))
        waiting = [asyncio.create_task(one(images, number)) for number in range(100)]
        async with asyncio.timeout(20):
            while not all(told):
                await asyncio.sleep(0.005)
        gate.set()
        assert [await each for each in waiting].count(True) == 1
        assert len(server.asked) == 1
    assert all(any(text.endswith("of 3 MiB") for text in texts) for texts in told)


async def test_one_fetch_that_fails_fails_for_all_who_waited_and_is_not_tried_for_each(
    tmp_path: Path, sources: Sources
) -> None:
    async def refuses(asked: Asked) -> None:
        await asyncio.sleep(0.1)
        await asked.say("403 Forbidden")

    async with serving(refuses) as server:
        images = cache(tmp_path, sources(server.url, patience=Patience()))
        found = await asyncio.gather(*(images.get(image()) for _ in range(50)), return_exceptions=True)
        assert len(server.asked) == 1
    assert {type(each) for each in found} == {HostFailure}
    assert {each.cause for each in found if isinstance(each, HostFailure)} == {"forbidden"}


async def test_who_fetched_is_cancelled_and_the_next_goes_on_with_it(tmp_path: Path, sources: Sources) -> None:
    async def stalls(asked: Asked) -> None:
        await asked.part(2 << 20)
        await asyncio.sleep(60)

    async with serving(stalls, right) as server:
        images = cache(tmp_path, sources(server.url, patience=Patience(quiet=60.0)))
        first = asyncio.create_task(images.get(image()))
        async with asyncio.timeout(20):
            while left(tmp_path).get(".half", 0) < 1 << 20 if (tmp_path / "images").exists() else True:
                await asyncio.sleep(0.005)
            second = asyncio.create_task(images.get(image()))
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).fetched
    assert server.asked[1].start > 0


async def test_of_two_images_with_the_same_bytes_one_is_not_failed_by_the_other(
    tmp_path: Path, sources: Sources
) -> None:
    twin = replace(image(), image_id="11111111-2222-4333-8444-555555555555")
    gate = asyncio.Event()

    async def no_more(asked: Asked) -> None:
        await gate.wait()
        await asked.say("404 Not Found")

    async with serving(no_more, right) as server:
        source = sources(server.url)
        source.take(issue(b"k" * 44, "h1", [twin.blob], 1 << 38))
        images = cache(tmp_path, source)
        deleted = [asyncio.create_task(images.get(image())) for _ in range(3)]
        async with asyncio.timeout(20):
            while not server.asked:
                await asyncio.sleep(0.005)
        others = [asyncio.create_task(images.get(twin)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        found = await asyncio.gather(*deleted, return_exceptions=True)
        assert [str(each) for each in found] == [
            f"Image {BLOB} is no longer there: it was deleted after the server was asked for."
        ] * 3
        assert [(await each).fetched for each in others].count(True) == 1
    assert [asked.path.rpartition("/")[2] for asked in server.asked] == [BLOB, twin.blob]


@pytest.mark.parametrize("said", [len(DATA) - 1, len(DATA) + 5, 1 << 60])
async def test_a_body_that_is_said_to_be_shorter_or_longer_than_the_image_is_never_used(
    tmp_path: Path, sources: Sources, said: int
) -> None:
    sent = 0

    async def other(asked: Asked) -> None:
        nonlocal sent
        await asked.say("200 OK", etag=TAG, content_length=str(said))
        while sent < said:  # for ever, unless it is left
            part = (DATA * 2)[sent % len(DATA) :][: min(1 << 18, said - sent)]
            asked.writer.write(part)
            await asked.writer.drain()
            sent += len(part)

    async with serving(other) as server:
        with pytest.raises(HostFailure, match="do not match its checksum"):
            async with asyncio.timeout(30):
                await cache(tmp_path, sources(server.url)).get(image())
    assert sorted(left(tmp_path)) == [".lock"]
    assert len(server.asked) == 1


async def test_what_comes_after_the_bytes_that_were_said_is_nobodys(tmp_path: Path, sources: Sources) -> None:
    async def chatters(asked: Asked) -> None:
        await asked.part()
        asked.writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1 << 16))
        await asked.writer.drain()

    async with serving(chatters) as server:
        found = await cache(tmp_path, sources(server.url)).get(image())
    assert found.path.read_bytes() == DATA


class Disk(DiskRoom):
    """A disk of 8 MiB with a reserve of 1 MiB, on which others may write."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1 << 20, statvfs=self._look)
        self.others = 0

    def _look(self, folder: Path) -> os.statvfs_result:
        free = (8 << 20) - self.others - sum(path.stat().st_size for path in folder.iterdir())
        return os.statvfs_result((1, 1, 8 << 20, free, free, 0, 0, 0, 0, 255))


async def test_a_disk_that_others_fill_up_ends_a_fetch_above_its_reserve_and_one_with_room_goes_on(
    tmp_path: Path, sources: Sources
) -> None:
    (tmp_path / "images").mkdir()
    disk = Disk(tmp_path / "images")

    async def slowly(asked: Asked) -> None:
        await asked.say("200 OK", DATA[: 2 << 20], etag=TAG, content_length=str(len(DATA)))
        while left(tmp_path).get(".half", 0) < 1 << 20:
            await asyncio.sleep(0.005)
        disk.others = 5 << 20
        asked.writer.write(DATA[2 << 20 :])
        await asked.writer.drain()

    async with serving(slowly, right) as server:
        images = cache(tmp_path, sources(server.url, patience=Patience()), disk)
        with pytest.raises(HostFailure, match="No space is left on the host's disk above what it keeps in reserve"):
            await images.get(image())
        had = left(tmp_path)[".half"]
        assert disk.sizes()[0] >= 1 << 20  # of which nothing was taken
        disk.others = 0
        assert (await images.get(image())).path.read_bytes() == DATA
        assert server.asked[1].start == had > 0


async def test_while_a_fetch_is_under_way_its_room_is_counted_once(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "images").mkdir()
    disk = Disk(tmp_path / "images")
    gate = asyncio.Event()

    async def slowly(asked: Asked) -> None:
        await asked.say("200 OK", DATA[: 2 << 20], etag=TAG, content_length=str(len(DATA)))
        await gate.wait()
        asked.writer.write(DATA[2 << 20 :])
        await asked.writer.drain()

    async with serving(slowly) as server:
        images = cache(tmp_path, sources(server.url, patience=Patience()), disk)
        fetching = asyncio.create_task(images.get(image()))
        async with asyncio.timeout(20):
            while left(tmp_path).get(".half", 0) < 2 << 20:  # All that came is written: none of it is just counted.
                await asyncio.sleep(0.005)
        assert disk.left() == (8 << 20) - (1 << 20) - len(DATA)
        gate.set()
        await fetching
    assert disk.left() == (8 << 20) - (1 << 20) - sum(left(tmp_path).values())
