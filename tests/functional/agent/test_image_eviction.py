"""Base images leave a host's cache: those that no guest uses, after a while or for want of room, and no others."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from floe.agent.image_eviction import AGE, EVICTED, EVICTED_BYTES, ROOM, ImageEviction, Keeping, backing_file
from floe.agent.image_locks import held
from floe.agent.images import ImageCache
from floe.agent.threads import in_place
from floe.core.clock import FixedClock
from floe.core.counters import Counters
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage
from floe.disk import DiskRoom
from floe.hypervisors.fake_files import overlay_head

KEEP = 3600.0


class Source:
    """Images of a thousand blocks, each of its own number."""

    async def read(self, blob_id: str) -> AsyncIterator[bytes]:
        yield data(int(blob_id))


def data(number: int) -> bytes:
    return bytes([number]) * 100_000


def image(number: int) -> GuestImage:
    content = data(number)
    checksum = hashlib.sha512(content).hexdigest()
    size = len(content)
    return GuestImage(image_id=str(number), checksum=checksum, size=size, disk_format="raw", virtual_size=size)


class Host:
    """A cache, the guests that use it, its disk and its clock."""

    def __init__(self, folder: Path, free: int = 1 << 40) -> None:
        self.images, self.guests = folder / "images", folder / "guests"
        self.guests.mkdir(parents=True, exist_ok=True)
        self.images.mkdir(exist_ok=True)
        self.clock, self.counters, self.free = FixedClock(), Counters(), free
        room = DiskRoom(folder, 1_000_000, statvfs=self._statvfs)
        self.eviction = ImageEviction(
            self.images,
            self.guests.iterdir,
            self.clock,
            Keeping(seconds=KEEP, room=room),
            counters=self.counters,
            offload=in_place,
        )
        self.cache = ImageCache(
            self.images,
            Source(),
            self._adopt,
            clock=self.clock,
            eviction=self.eviction,
            offload=in_place,
        )

    async def use(self, number: int, guest: str | None = None) -> Path:
        """Get an image, and make a guest's disk on it."""
        async with self.cache.hold(image(number)) as found:
            if guest is not None:
                (self.guests / guest).mkdir()
                (self.guests / guest / "disk.qcow2").write_bytes(overlay_head(found.path))
        return found.path

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.images.iterdir())

    async def _adopt(self, path: Path, disk_format: str) -> str:
        return disk_format

    def _statvfs(self, _: Path) -> os.statvfs_result:
        free = self.free - sum(path.stat().st_size for path in self.images.iterdir() if not path.suffix)
        return os.statvfs_result((1, 1, 1 << 40, free, free, 0, 0, 0, 0, 255))


async def test_a_base_that_nobody_uses_goes_after_the_time_of_grace_and_leaves_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    unused, used = await host.use(1), await host.use(2, "guest")
    host.later(KEEP - 1)
    assert await host.eviction.round() == []
    host.later(1)
    assert await host.eviction.round() == [unused.name]
    assert host.kept() == sorted(f"{used.name}{end}" for end in ("", ".json", ".lock"))
    assert host.counters.total(EVICTED, AGE) == 1
    assert host.counters.total(EVICTED_BYTES, AGE) >= 100_000
    (host.guests / "guest" / "disk.qcow2").unlink()
    assert await host.eviction.round() == [used.name]
    assert host.kept() == []
    assert (await host.use(1)).read_bytes() == data(1)


async def test_an_image_uploaded_booted_and_deleted_again_and_again_leaves_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    for number in range(1, 6):
        await host.use(number, "guest")
        (host.guests / "guest" / "disk.qcow2").unlink()
        (host.guests / "guest").rmdir()
        host.later(KEEP)
        await host.eviction.round()
        assert host.kept() == []


async def test_disks_on_other_files_and_guests_that_go_keep_nobody_from_looking(tmp_path: Path) -> None:
    host = Host(tmp_path)
    path = await host.use(1)
    (host.guests / "elsewhere").mkdir()
    (host.guests / "elsewhere" / "disk.qcow2").write_bytes(overlay_head(tmp_path / "gone" / path.name))
    (host.guests / "a file").write_text("")
    folders = [*host.guests.iterdir(), host.guests / "removed"]
    host.later(KEEP)
    eviction = ImageEviction(host.images, lambda: folders, host.clock, Keeping(seconds=KEEP), offload=in_place)
    assert await eviction.round() == [path.name]


async def test_a_cache_that_is_reached_by_another_path_is_the_same(tmp_path: Path) -> None:
    host = Host(tmp_path)
    path = await host.use(1)
    (tmp_path / "link").symlink_to(host.images)
    (host.guests / "guest").mkdir()
    (host.guests / "guest" / "disk.qcow2").write_bytes(overlay_head(tmp_path / "link" / path.name))
    host.later(KEEP)
    assert await host.eviction.round() == []


async def test_a_base_stays_while_a_guest_has_it_among_its_files(tmp_path: Path) -> None:
    """It is read by that link; what its disk says of itself, a guest that broke out could write."""
    host = Host(tmp_path)
    path, linked = await host.use(1), host.guests / "guest" / "images" / "base.img"
    linked.parent.mkdir(parents=True)
    linked.hardlink_to(path)
    (host.guests / "guest" / "disk.qcow2").write_bytes(overlay_head(tmp_path / "gone"))
    host.later(KEEP)
    host.free = 0
    assert await host.eviction.round() == []
    linked.unlink()
    assert await host.eviction.round() == [path.name]


@pytest.mark.parametrize("name", ["a\0b/c", "\udcff/x", "/" * 1000, "x" * 300 + "/y", "../" * 300])
async def test_what_a_guest_writes_into_its_disk_keeps_no_base(tmp_path: Path, name: str) -> None:
    host = Host(tmp_path)
    path = await host.use(1)
    (host.guests / "guest").mkdir()
    (host.guests / "guest" / "disk.qcow2").write_bytes(overlay_head(Path(name)))
    host.later(KEEP)
    assert await host.eviction.round() == [path.name]


async def test_use_begins_the_time_of_grace_anew(tmp_path: Path) -> None:
    host = Host(tmp_path)
    path = await host.use(1)
    host.later(KEEP - 1)
    await host.use(1)
    host.later(KEEP - 1)
    assert await host.eviction.round() == []
    assert path.exists()


async def test_for_want_of_room_the_longest_unused_go_first_and_no_more_than_needed(tmp_path: Path) -> None:
    host = Host(tmp_path, free=1_000_000 + 450_000)
    paths = {}
    for number, guest in ((3, None), (1, "guest"), (4, None), (2, None)):
        paths[number] = await host.use(number, guest)
        host.later(1)
    await host.use(5)
    assert {number for number, path in paths.items() if path.exists()} == {1, 4, 2}
    assert host.counters.total(EVICTED, ROOM) == 1
    host.free -= 300_000
    assert set(await host.eviction.round()) >= {paths[4].name, paths[2].name}
    assert paths[1].exists()


async def test_where_nothing_can_go_the_reserve_is_not_touched(tmp_path: Path) -> None:
    host = Host(tmp_path, free=1_000_000 + 150_000)
    await host.use(1, "guest")
    with pytest.raises(HostFailure, match="keeps in reserve") as caught:
        await host.use(2)
    assert caught.value.stage == "image"
    assert [path for path in host.kept() if "." not in path] == [image(1).checksum]


async def test_what_a_build_holds_stays_whatever_the_room(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with host.cache.hold(image(1)) as found:
        host.later(10 * KEEP)
        host.free = 0
        assert await host.eviction.round() == []
        assert found.path.exists()
    assert await host.eviction.round() == [found.path.name]


async def test_a_build_that_comes_while_one_looks_who_uses_what_keeps_its_base(tmp_path: Path) -> None:
    """The disk is made after the first look at all disks, and before the lock is taken."""
    host = Host(tmp_path)
    path = await host.use(1)
    host.later(KEEP)
    looks = []

    def users() -> list[Path]:
        if not looks:
            looks.append(1)
            (host.guests / "guest").mkdir()
            (host.guests / "guest" / "disk.qcow2").write_bytes(overlay_head(path))
            return []
        return list(host.guests.iterdir())

    eviction = ImageEviction(host.images, users, host.clock, Keeping(seconds=KEEP), offload=in_place)
    assert await eviction.round() == []
    assert path.exists()


async def test_builds_and_evictions_at_the_same_time_never_lose_a_base(tmp_path: Path) -> None:
    hosts = [Host(tmp_path), Host(tmp_path)]

    async def build(host: Host, number: int) -> None:
        for turn in range(5):
            async with host.cache.hold(image(number % 3)) as found:
                await asyncio.sleep(0)
                assert found.path.read_bytes() == data(number % 3)
                guest = host.guests / f"{number}-{turn}"
                guest.mkdir()
                (guest / "disk.qcow2").write_bytes(overlay_head(found.path))
            await asyncio.sleep(0)
            assert found.path.read_bytes() == data(number % 3)
            (guest / "disk.qcow2").unlink()
            guest.rmdir()

    async def evict(host: Host) -> None:
        while True:
            await host.eviction._evict(ROOM, lambda _: True)
            await asyncio.sleep(0)

    evicting = [asyncio.create_task(evict(host)) for host in hosts]
    await asyncio.gather(*(build(hosts[number % 2], number) for number in range(6)))
    for task in evicting:
        task.cancel()
    await asyncio.gather(*evicting, return_exceptions=True)


def test_a_killed_build_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from floe.agent.image_locks import held\n"
        "with held(Path(sys.argv[1]), 'x', shared=True) as lock: print(lock is not None, flush=True); sys.stdin.read()"
    )
    build = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert build.stdin is not None
    assert build.stdout is not None
    assert build.stdout.readline() == "True\n"
    with held(tmp_path, "x") as lock:
        assert lock is None
    with held(tmp_path, "x", shared=True) as lock:
        assert lock is not None
    build.kill()
    build.communicate()
    with held(tmp_path, "x") as lock:
        assert lock is not None


@pytest.mark.parametrize("files", [("", ".json"), (".json", ".lock"), (".lock",), ("", ".json", ".lock")])
async def test_a_removal_that_was_cut_short_is_finished(tmp_path: Path, files: tuple[str, ...]) -> None:
    host = Host(tmp_path)
    path = await host.use(1)
    for end in ("", ".json", ".lock"):
        if end not in files:
            (host.images / f"{path.name}{end}").unlink()
    assert (await host.use(1)).read_bytes() == data(1)
    host.later(KEEP)
    await host.eviction.round()
    assert host.kept() == []


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no qcow2 at all, of no kind"),
        lambda path: path.write_bytes(b"QFI\xfb" + bytes(100)),
        lambda path: path.write_bytes(overlay_head(Path("x" * 2000))),
        lambda path: path.write_bytes(overlay_head(Path("cut by a power loss"))[:-1]),
    ],
)
def test_what_stands_on_nothing_has_no_backing_file(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "disk.qcow2")
    assert backing_file(tmp_path / "disk.qcow2") is None


def test_the_backing_file_is_what_qemu_img_wrote(tmp_path: Path) -> None:
    base, disk = tmp_path / "base \u00fc", tmp_path / "disk.qcow2"
    base.write_bytes(bytes(65536))
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(base), str(disk)]
    subprocess.run(command, check=True)
    assert backing_file(disk) == base
