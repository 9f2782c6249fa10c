"""Where the cache lies on another file system, a guest has copies of the images that it stands on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from floe.core.messages import Spawned
from floe.simulation.storage import Synced


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder that no file here can have a link to."""
    for place in (Path("/dev/shm"), Path("/var/tmp"), Path.cwd()):
        if place.is_dir() and place.stat().st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=place) as folder:
                yield Path(folder)
            return
    pytest.skip("there is one file system here")


async def test_a_copy_is_on_the_disk_before_a_guest_is_started_from_it(world: Any, spawn: Any, elsewhere: Path) -> None:
    synced, command = Synced(), spawn()
    with synced.watching():
        await world.start(image_dir=elsewhere)
        assert isinstance(await world.ask(command), Spawned)
    base = world.folder(command.guest.server_id) / "images" / "base.img"
    assert base.stat().st_nlink == 1
    assert base.read_bytes() == next(path for path in elsewhere.iterdir() if not path.suffix).read_bytes()
    assert synced.whole(base)
