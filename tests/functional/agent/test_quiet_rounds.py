"""The round of a host each minute: no thread is sent to look where nothing can have changed, and what did is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from floe.agent.folders import version_of
from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.image_locks import held
from floe.core.clock import FixedClock
from floe.core.messages import HostUp

World = Any
ID = "dddddddd-0000-4000-8000-000000000001"


class Counting:
    """Runs blocking work here and now, and keeps the names of what it ran."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def __call__(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(call.__name__)
        return call(*args, **kwargs)


def reports(world: World) -> list[HostUp]:
    return [event for event in world.events if isinstance(event, HostUp)]


async def more_reports(world: World, many: int = 5) -> HostUp:
    """Wait for so many; return the last."""
    before = len(reports(world))
    await world.until(lambda: len(reports(world)) >= before + many)
    return reports(world)[-1]


async def settled(world: World, *folders: Path) -> None:
    """Wait until the folders are old enough for their versions to tell."""
    await world.until(lambda: all(version_of(folder) is not None for folder in folders))


async def test_a_host_where_nothing_changes_sends_no_thread_to_look(world: World) -> None:
    offload = Counting()
    await world.start(sweep=0.005, offload=offload)
    await settled(world, world.state_dir / "guests", world.state_dir / "images")
    await more_reports(world)
    offload.calls.clear()
    assert (await more_reports(world)).files == ()
    assert offload.calls == []


async def test_files_that_appear_or_go_are_told_by_the_next_report(world: World) -> None:
    await world.start(sweep=0.005)
    guests = world.state_dir / "guests"
    for there in (True, False):
        await settled(world, guests)
        await more_reports(world)
        (guests / ID).mkdir() if there else (guests / ID).rmdir()
        assert (await more_reports(world)).files == ((ID,) if there else ())


async def test_what_a_fetch_left_behind_is_removed_once_nobody_holds_it(world: World) -> None:
    await world.start(sweep=0.005)
    images = world.state_dir / "images"
    await settled(world, images)
    await more_reports(world)
    with held(images, "an-image") as lock:
        assert lock is not None
        (images / "an-image.part").write_bytes(b"x")
        await settled(world, images)
        await more_reports(world)
        assert (images / "an-image.part").exists()
    await world.until(lambda: not (images / "an-image.part").exists())


async def test_a_cache_that_lets_others_in_is_closed_though_nothing_else_changed(world: World) -> None:
    await world.start(sweep=0.005)
    images = world.state_dir / "images"
    await settled(world, images)
    await more_reports(world)
    images.chmod(0o755)
    await world.until(lambda: images.stat().st_mode & 0o777 == 0o700)


async def test_images_are_looked_through_when_one_may_be_old_and_not_before(tmp_path: Path, world: World) -> None:
    clock, offload = FixedClock(), Counting()
    eviction = ImageEviction(tmp_path, list, clock, Keeping(seconds=3600), offload=offload)

    def put(name: str) -> None:
        now = clock.now().timestamp()
        for file in (tmp_path / name, tmp_path / f"{name}.lock"):
            file.write_bytes(b"x")
            os.utime(file, (now, now))

    put("first")
    await settled(world, tmp_path)
    await eviction.round()
    offload.calls.clear()
    for _ in range(10):
        clock.advance(300)
        assert await eviction.round() == []
    assert offload.calls == [], "none is old before an hour is over"
    put("second")
    clock.advance(700)
    assert await eviction.round() == ["first"]
    clock.advance(3600)
    assert await eviction.round() == ["second"]


def test_the_version_of_a_folder_that_changed_a_moment_ago_is_not_told(tmp_path: Path) -> None:
    """Two changes may have one time: who listed it between them would never see the second."""
    assert version_of(tmp_path / "not there") is None
    (tmp_path / "new").touch()
    assert version_of(tmp_path) is None
