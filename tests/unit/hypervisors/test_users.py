"""Which user of the host a guest is: one that nobody else is, for as long as there are files of it."""

from __future__ import annotations

import shutil
import stat
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.core.errors import HostFailure
from floe.hypervisors.libvirt.disks import confined
from floe.hypervisors.libvirt.users import GuestUsers, closed, group_for
from floe.hypervisors.protocol import IMAGES


class Host:
    """A directory of guests, and whose each file is: only root can give files to others, and tests need not be root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._given: dict[Path, int] = {}

    def users(self, numbers: range) -> GuestUsers:
        return GuestUsers(self.directory, numbers, owner=self._owner, chown=self._chown)

    def folder(self) -> Path:
        made = self.directory / str(uuid.uuid4())
        made.mkdir()
        return made

    def hand(self, path: Path, user: int) -> None:
        path.touch()
        self._chown(path, user, user)

    def _owner(self, path: Path) -> int:
        return self._given.get(path, 0) if path.lstat() else 0

    def _chown(self, path: Path, user: int, _group: int) -> None:
        self._given[path] = user


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_no_two_guests_are_one_user_however_they_come_and_go(host: Host) -> None:
    users = host.users(range(50_000, 50_008))
    there = [host.folder() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(users.give, there))
    assert sorted(given) == list(range(50_000, 50_008))
    gone, freed = there.pop(3), given.pop(3)
    host.hand(gone / "disk.qcow2", freed)
    (gone / IMAGES).rmdir()  # a removal that was cut short
    last = host.folder()
    with pytest.raises(HostFailure):
        users.give(last)
    shutil.rmtree(gone)
    assert users.give(last) == freed
    assert [users.give(one) for one in there] == given


def test_who_a_guest_is_outlives_the_process(host: Host) -> None:
    one = host.folder()
    user = host.users(range(50_000, 66_384)).give(one)
    assert host.users(range(50_000, 66_384)).of(one) == user
    assert stat.S_IMODE((one / IMAGES).stat().st_mode) == 0o700


def test_a_host_with_as_many_guests_as_users_says_so(host: Host) -> None:
    users = host.users(range(50_000, 50_001))
    users.give(host.folder())
    with pytest.raises(HostFailure, match="as many guests as it can have") as caught:
        users.give(host.folder())
    assert "50000" in caught.value.detail
    with pytest.raises(HostFailure), users.lend():
        pass


def test_a_lent_user_is_nobody_elses_until_it_is_given_back(host: Host) -> None:
    users = host.users(range(50_000, 50_002))
    with users.lend() as first, users.lend() as second:
        assert {first, second} == {50_000, 50_001}
        with pytest.raises(HostFailure):
            users.give(host.folder())
    assert users.give(host.folder()) in {first, second}


def test_a_folder_of_no_guest_or_of_an_earlier_release_has_no_user(host: Host) -> None:
    users = host.users(range(4_000_000_000, 4_000_000_100))
    old = host.folder()
    (host.directory / "a file").touch()
    assert {users.of(host.directory / name) for name in (old.name, "a file", "nothing")} == {None}
    (old / IMAGES).mkdir()  # a build cut short before it was given
    assert users.of(old) is None


@given(
    user=st.integers(10_000, 2**32 - 2),
    largest=st.integers(0, 2**60),
    words=st.lists(st.text("-abc/ $;", min_size=1), min_size=1, max_size=5),
)
def test_a_confined_program_is_the_last_and_keeps_its_words(user: int, largest: int, words: list[str]) -> None:
    argv = confined(words, user, seconds=30, memory=2**30, largest=largest)
    assert argv[-len(words) :] == tuple(words)
    before = argv[: -len(words)]
    assert before[-1] == "--"
    for word in (
        *(f"--fsize={largest}", f"--as={2**30}", "--cpu=30", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--net", "--pid", "--kill-child"),
    ):
        assert word in before


def test_who_is_not_root_confines_by_bounds_alone() -> None:
    argv = confined(["qemu-img"], None, seconds=30, memory=1, largest=2)
    assert argv[0] == "prlimit"
    assert not {"unshare", "setpriv"} & set(argv)


def test_a_way_that_is_closed_to_others_is_named(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    for place in (tmp_path, *tmp_path.parents[:-1]):
        if not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o001)
    deep.parent.chmod(0o750)
    assert closed(deep) == deep.parent
    deep.parent.chmod(0o711)
    assert closed(deep) is None


@pytest.mark.parametrize(("mode", "group", "wanted"), [(0o666, 0, None), (0o666, 36, None), (0o660, 36, 36)])
def test_the_group_that_may_use_a_device(mode: int, group: int, wanted: int | None) -> None:
    assert group_for(stat.S_IFCHR | mode, group) == wanted


@pytest.mark.parametrize(("mode", "group"), [(0o600, 36), (0o640, 36), (0o660, 0), (0o606 & 0o604, 36)])
def test_a_device_for_root_alone(mode: int, group: int) -> None:
    with pytest.raises(PermissionError, match=f"for root alone .*group {group}"):
        group_for(stat.S_IFCHR | mode, group)
