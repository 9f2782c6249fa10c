"""A state directory that others could change or read is refused with what mends it; an earlier release's is closed."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from floe.cli.secrets import load_or_make
from floe.cli.state_directory import loose_ends, take
from floe.core.errors import Conflict

FILES = ("floe.db", "floe.db-wal", "floe.db-shm", "secrets.json", "clouds.yaml", "lock")


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """One that a release before this one made."""
    folder = tmp_path / "it's here"
    folder.mkdir()
    folder.chmod(0o750)
    for name in FILES:
        (folder / name).write_text("{}")
    (folder / "secrets.json").chmod(0o600)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_one_can_be_gone_through_and_holds_only_what_is_ours(tmp_path: Path) -> None:
    state = tmp_path / "a" / "b" / "state"
    with take(state):
        load_or_make(state)
        (state / "floe.db").touch()
        assert {path.name: mode(path) for path in state.iterdir()} == dict.fromkeys(
            ("lock", "secrets.json", "floe.db"), 0o600
        )
    assert {mode(path) for path in (state, state.parent, state.parent.parent)} == {0o711}


def test_one_of_an_earlier_release_is_closed_and_taken(state: Path) -> None:
    take(state).close()
    assert mode(state) == 0o711
    assert {mode(state / name) for name in FILES} == {0o600}


def test_two_cannot_hold_it(state: Path) -> None:
    with take(state), pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        take(state)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _named_twice(path: Path) -> None:
    path.with_name("elsewhere").hardlink_to(path)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _foreign(path: Path) -> None:
    os.chown(path, 12345, 12345)


def _anybodys(path: Path) -> None:
    path.chmod(0o602)


def _groups(path: Path) -> None:
    path.chmod(0o620)


HARMS: tuple[Callable[[Path], None], ...] = (_link, _named_twice, _pipe, _anybodys, _groups)
if os.geteuid() == 0:  # nobody else can give a file away
    HARMS = (*HARMS, _foreign)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_not_ours_alone_is_refused_until_it_is_mended(
    state: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(state / name)
    _refused_until_mended(state, str(state / name))


@pytest.mark.parametrize("name", [name for name in FILES if name != "lock"])
def test_a_secret_that_everybody_can_read_is_refused_until_it_is_mended(state: Path, name: str) -> None:
    state.chmod(0o711)
    for other in FILES:
        (state / other).chmod(0o600)
    (state / name).chmod(0o604)
    _refused_until_mended(state, str(state / name))


@pytest.mark.parametrize("bits", [0o777, 0o775, 0o1777, 0o770, 0o722])
def test_a_directory_that_others_may_write_to_is_refused_until_it_is_mended(state: Path, bits: int) -> None:
    for name in FILES:
        (state / name).chmod(0o600)
    state.chmod(bits)
    _refused_until_mended(state, str(state))


def test_a_directory_of_somebody_else_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    (found,) = loose_ends(state)
    assert found.what == f"{state} belongs to {pwd.getpwuid(owner).pw_name}, not to us"
    assert found.remedy == f"chown -R 54321 {shlex.quote(str(state))}"


def test_a_parent_that_everybody_may_write_to_is_refused_until_it_is_mended(state: Path) -> None:
    state.parent.chmod(0o777)
    _refused_until_mended(state, str(state.parent))


def test_a_sticky_parent_like_tmp_is_none_of_them(state: Path) -> None:
    state.parent.chmod(0o1777)
    take(state).close()


def test_a_directory_that_our_own_link_leads_to_is_judged_itself(state: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(state)
    take(link).close()
    state.chmod(0o777)
    assert [each.remedy.split()[0:2] for each in loose_ends(link)] == [["chmod", "go-w"]]


@pytest.mark.parametrize("kind", ["file", "link to nothing"])
def test_what_is_no_directory_is_refused_until_it_is_gone(tmp_path: Path, kind: str) -> None:
    state = tmp_path / "state"
    if kind == "file":
        state.touch()
    else:
        state.symlink_to("nothing")
    _refused_until_mended(state, str(state))


def test_a_lock_that_is_a_link_harms_nothing(state: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (state / "lock").unlink()
    (state / "lock").symlink_to(victim)
    run = [sys.executable, "-m", "floe", "up", "--state", str(state), "--hypervisor", "fake", "--listen", "127.0.0.1:0"]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"{state / 'lock'} is a link" in ended.stderr
    assert "rm " in ended.stderr
    assert victim.read_text() == "precious"


def test_all_that_floe_up_makes_is_closed_to_others(tmp_path: Path) -> None:
    state = tmp_path / "state"
    run = [sys.executable, "-m", "floe", "up", "--state", str(state), "--hypervisor", "fake", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert "ready" in process.stdout.readline()
        modes = {path.relative_to(state).as_posix(): mode(path) for path in state.rglob("*")}
        process.terminate()
    assert {"floe.db", "floe.db-wal", "secrets.json", "clouds.yaml", "lock", "images", "hosts"} <= modes.keys()
    assert mode(state) == 0o711
    open_ = {name for name, bits in modes.items() if bits & 0o077 and not (state / name).is_dir()}
    listed = {name for name, bits in modes.items() if bits & 0o066 and (state / name).is_dir()}
    assert open_ == listed == set()


def _refused_until_mended(state: Path, named: str) -> None:
    """Follow the remedies, as an operator would, until there is nothing left to mend."""
    for _ in range(10):
        found = loose_ends(state)
        if not found:
            break
        assert named in found[0].what
        with pytest.raises(Conflict, match="mend it with"):
            take(state)
        subprocess.run(["sh", "-ec", found[0].remedy], check=True)
    else:
        pytest.fail("the remedies do not mend it")
    take(state).close()
