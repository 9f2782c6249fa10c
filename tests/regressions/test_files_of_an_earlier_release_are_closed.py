"""Guests were root, and what lay beside their disks was readable by all; now they are others, and could read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from floe.agent.folders import close_files, close_guests, make_closed, make_passable, note_closed
from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.images import ImageCache
from floe.blobs.files import FileBlobs
from floe.core.clock import FixedClock


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_what_lies_on_the_way_to_a_guests_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch(mode=0o644)
    place = tmp_path / "state"
    place.mkdir()
    for name, before in {"floe.db": 0o644, "secret": 0o600, "odd": 0o777}.items():
        (place / name).touch()
        (place / name).chmod(before)
    (place / "link").symlink_to(outside)
    (place / "folder").mkdir(mode=0o711)
    close_files(place)
    close_files(place / "floe.db")
    close_files(place / "link")
    assert {name: mode(place / name) for name in ("floe.db", "secret", "odd")} == dict.fromkeys(
        ("floe.db", "secret", "odd"), 0o600
    )
    assert (mode(place / "folder"), mode(outside)) == (0o711, 0o644)


def test_guests_folders_are_looked_through_where_an_earlier_release_has_been(tmp_path: Path) -> None:
    guests = tmp_path / "guests"
    for name in ("old", "new", "loose"):
        (guests / name).mkdir(parents=True)
        (guests / name / "console.log").touch(mode=0o644)
        (guests / name / "console.log").chmod(0o644)
    close_guests(tmp_path, guests)
    assert [mode(guests / name / "console.log") for name in ("old", "new", "loose")] == [0o600] * 3

    (guests / "loose" / "console.log").chmod(0o644)  # not what any release does
    past(guests / "loose", tmp_path)
    past(guests / "old", tmp_path)
    (guests / "new" / "swap.raw").touch()
    (guests / "new" / "swap.raw").chmod(0o644)  # the earlier release once more, which knows of no note
    (tmp_path / "ledger.jsonl").touch()
    (tmp_path / "ledger.jsonl").chmod(0o644)
    close_guests(tmp_path, guests)
    assert mode(guests / "new" / "swap.raw") == mode(tmp_path / "ledger.jsonl") == 0o600
    assert mode(guests / "loose" / "console.log") == 0o644, "the whole host is looked through at each start"

    note_closed(tmp_path)
    (tmp_path / "closed").unlink()
    close_guests(tmp_path, guests)
    assert mode(guests / "loose" / "console.log") == 0o600


def past(folder: Path, host: Path) -> None:
    """Have it that a folder last changed before the host's note was made."""
    before = (host / "closed").stat().st_mtime_ns - 1
    os.utime(folder, ns=(before, before))


def test_a_state_directory_lets_guests_through_whatever_it_was(tmp_path: Path) -> None:
    for before, after in {0o750: 0o751, 0o700: 0o711, 0o711: 0o711, 0o1777: 0o1777}.items():
        place = tmp_path / f"{before:o}"
        place.mkdir()
        place.chmod(before)
        make_passable(place)
        assert mode(place) == after


def test_images_of_others_cannot_be_reached_in_the_hosts_cache(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    directory.mkdir(mode=0o755)
    clock = FixedClock()
    images = ImageCache(
        directory,
        FileBlobs(tmp_path / "blobs"),
        lambda _path, kind: kind,  # type: ignore[arg-type,return-value]
        clock=clock,
        eviction=ImageEviction(directory, lambda: (), clock, Keeping()),
    )
    (directory / "abc.part.apart").mkdir()
    (directory / "abc.part.apart" / "image").touch()
    assert images.tidy() == ["abc.part.apart"]
    assert mode(directory) == 0o700
    make_closed(directory / "new")
    assert mode(directory / "new") == 0o700
