"""What an embedded libvirt logs of a guest goes with the guest, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from floe.hypervisors.libvirt.connection import forget_log


def test_the_log_of_a_guest_that_is_gone_goes(tmp_path: Path) -> None:
    logs = tmp_path / "log" / "qemu"
    forget_log(tmp_path, "instance-00000001")
    logs.mkdir(parents=True)
    for name in ("instance-00000001", "instance-00000002"):
        (logs / f"{name}.log").touch()
    forget_log(tmp_path, "instance-00000001")
    forget_log(tmp_path, "instance-00000001")
    assert [file.name for file in logs.iterdir()] == ["instance-00000002.log"]


@pytest.mark.parametrize("name", ["", "../../kept", "/kept", ".."])
def test_a_name_that_is_no_guests_removes_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "log" / "qemu").mkdir(parents=True)
    kept = [tmp_path / "kept.log", tmp_path / "log" / "qemu" / ".log", tmp_path / "log" / ".log"]
    for file in kept:
        file.touch()
    forget_log(tmp_path, name)
    assert all(file.exists() for file in kept)
