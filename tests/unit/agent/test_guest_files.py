"""Files in guests' folders that are copied and removed."""

from __future__ import annotations

import os
from pathlib import Path

from floe.agent.guest_files import copy_variables, tidy


def test_what_firmware_keeps_is_copied_for_the_same_user(tmp_path: Path) -> None:
    source, target = tmp_path / "variables.fd", tmp_path / "variables-7.fd"
    copy_variables(source, target)
    assert not target.exists(), "there is none: most guests have no such firmware"
    source.write_bytes(b"boot first from vda")
    source.chmod(0o600)
    os.utime(source, (1, 1))
    for _ in range(2):
        copy_variables(source, target)
        assert target.read_bytes() == source.read_bytes()
        assert (target.stat().st_mode, target.stat().st_uid) == (source.stat().st_mode, source.stat().st_uid)
    assert sorted(tmp_path.iterdir()) == [target, source]


def test_only_files_of_disks_are_tidied_away(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    own = {tmp_path / "disk-7.qcow2", tmp_path / "images" / "base.img"}
    others = (tmp_path / "disk.qcow2", tmp_path / "images" / "base-7.img", tmp_path / "disk-7.qcow2.partial")
    kept = tmp_path / "console.log"
    for path in (*own, *others, kept):
        path.touch()
    tidy(tmp_path, own, {".qcow2"})
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*own, kept}
    tidy(tmp_path / "gone", own, {".qcow2"})
