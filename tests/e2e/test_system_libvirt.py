"""What is otherwise where Debian's own libvirtd runs guests: it keeps their consoles, and makes folders for them."""

from __future__ import annotations

import contextlib
import re
import stat
from pathlib import Path

import pytest
from real_cloud import Pair, eventually
from test_inside_guests import COUNTER, counted

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("pair", ["system"], indirect=True)]

LIMIT, BACKUPS = 2 * 1024 * 1024, 3
"""What virtlogd keeps of a console unless told otherwise: so much, and so many logs of that size before."""


def test_a_console_is_bounded_while_floe_is_dead_and_read_when_it_is_back(pair: Pair):
    cloud = pair.cloud
    writer = cloud.boot("writer", cloud.upload(COUNTER.ljust(1024 * 1024, b"\0")))
    (folder,) = cloud.state.glob(f"hosts/*/guests/{writer.id}")
    cloud.kill()
    most = 0

    def written() -> int:
        nonlocal most
        with contextlib.suppress(FileNotFoundError):  # between one log and the next
            most = max(most, sum(file.stat().st_size for file in folder.glob("console.log*")))
            return counted((folder / "console.log").read_text())
        return 0

    eventually("the guest to write more than is kept", lambda: written() > (BACKUPS + 2) * LIMIT, 600)
    assert LIMIT < most <= (BACKUPS + 1) * LIMIT
    assert len(list(folder.glob("console.log*"))) == BACKUPS + 1
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in folder.glob("console.log*")} == {0}
    cloud.start()
    lines = cloud.console(writer.id).split()[1:-1]
    first = int(lines[0], 16)
    assert lines == [f"{first + number:08x}" for number in range(len(lines))], "nothing is missing between two logs"
    before = counted(cloud.console(writer.id))
    eventually("the console to go on", lambda: counted(cloud.console(writer.id)) > before)
    cloud.delete(writer.id)
    assert not folder.exists()


def test_guests_reach_the_folders_that_libvirtd_makes_for_them_and_nobody_else_does(pair: Pair):
    said = pair.cloud.inside("find", "/var/lib/libvirt/qemu", "-printf", "%m %U %y %p\\n")
    found = {path: (int(mode, 8), int(user), kind) for mode, user, kind, path in map(str.split, said.splitlines())}
    mode, _, _ = found["/var/lib/libvirt/qemu"]
    assert mode == 0o751
    own = {
        path: it for path, it in found.items() if re.fullmatch(r"/var/lib/libvirt/qemu/domain-\d+-instance-\d+", path)
    }
    (users,) = [{user for _, user, _ in own.values()}]
    assert len(own) == len(users) == 2
    assert all(mode & 0o007 == 0 for mode, _, _ in own.values())
    for guest in (pair.alpha, pair.beta):
        (pid,) = pair.cloud.qemu(guest.id)
        assert Path(f"/proc/{pid}").stat().st_uid in users
