"""The guests of a fake host that keeps them outlive the process."""

from __future__ import annotations

from pathlib import Path

from floe.core.guests import PowerState
from floe.hypervisors.fake import Kept


def test_guests_are_found_again_as_they_were_left(tmp_path: Path) -> None:
    guests = Kept(tmp_path / "guests", PowerState)
    guests["a"], guests["b"] = PowerState.RUNNING, PowerState.RUNNING
    guests["b"] = PowerState.SHUTDOWN
    guests["c"] = PowerState.RUNNING
    assert guests.pop("c", None) is PowerState.RUNNING
    assert guests.pop("c", None) is None
    again = Kept(tmp_path / "guests", PowerState)
    assert dict(again) == {"a": PowerState.RUNNING, "b": PowerState.SHUTDOWN}


def test_a_guest_whose_start_was_cut_short_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert dict(Kept(tmp_path, PowerState)) == {}
    assert list(tmp_path.iterdir()) == []


def test_guests_of_an_earlier_release_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(str(int(PowerState.RUNNING)))
    assert dict(Kept(tmp_path, PowerState)) == {"a": PowerState.RUNNING}
    assert dict(Kept(tmp_path, PowerState)) == {"a": PowerState.RUNNING}


def test_their_names_are_one_files_and_are_kept_where_that_cannot_be(tmp_path: Path) -> None:
    guests = Kept(tmp_path / "guests", PowerState)
    guests["a"] = guests["b"] = PowerState.RUNNING
    guests["a"] = PowerState.SHUTDOWN
    assert len({file.stat().st_ino for file in (tmp_path / "guests").iterdir()}) == 1
    (tmp_path / "guests-empty").unlink()
    guests["c"] = PowerState.PAUSED
    del guests["b"]
    again = Kept(tmp_path / "guests", PowerState)
    assert dict(again) == dict(guests) == {"a": PowerState.SHUTDOWN, "c": PowerState.PAUSED}
