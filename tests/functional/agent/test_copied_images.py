"""Where the cache lies on another file system, a guest has copies of the images that it stands on."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from floe.core.messages import Spawned
from floe.simulation.storage import Synced


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that no guest's file has a link to, as if it lay on another file system."""
    folder, link = tmp_path / "elsewhere", Path.hardlink_to

    def link_here(self: Path, target: Path) -> None:
        if folder in Path(target).parents and folder not in self.parents:
            raise OSError(errno.EXDEV, "it is on another file system")
        link(self, target)

    folder.mkdir()
    monkeypatch.setattr(Path, "hardlink_to", link_here)
    return folder


async def test_a_copy_is_on_the_disk_before_a_guest_is_started_from_it(world: Any, spawn: Any, elsewhere: Path) -> None:
    synced, command = Synced(), spawn()
    with synced.watching():
        await world.start(image_dir=elsewhere)
        assert isinstance(await world.ask(command), Spawned)
    base = world.folder(command.guest.server_id) / "images" / "base.img"
    assert base.stat().st_nlink == 1
    assert base.read_bytes() == next(path for path in elsewhere.iterdir() if not path.suffix).read_bytes()
    assert synced.whole(base)
