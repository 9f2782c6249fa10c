"""Who breaks out of QEMU is a user of the host without rights, who can read what was the guest's and nothing else."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
from real_cloud import Guest, Pair, eventually

from floe.settings import Settings

pytestmark = pytest.mark.e2e

# Tries to use each path that is named in a file, in each way that there is, and tells what it could.
TRY = """
import errno, json, os, socket, stat, sys
could = []
for path, mode in json.load(open(sys.argv[1])):
    def can(how, deed):
        try:
            deed()
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM):
                print(path, how, error, file=sys.stderr)
            return
        could.append([how, path])
    if stat.S_ISDIR(mode):
        can("list", lambda: os.listdir(path))
        can("fill", lambda: os.rmdir(os.mkdir(path + "/trial") or path + "/trial"))
    elif stat.S_ISSOCK(mode):
        can("speak", lambda: socket.socket(socket.AF_UNIX).connect(path))
    elif stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        can("read", lambda: os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK)))
        can("write", lambda: os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK)))
print(json.dumps(could))
"""


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def user(pair: Pair, guest: Guest) -> int:
    (pid,) = pair.cloud.qemu(guest.id)
    return int(status(pid)["Uid"].split()[0])


def could(pair: Pair, uid: int) -> set[tuple[str, str]]:
    """Return how a user may use which paths of the cloud's state."""
    paths = [pair.cloud.state, *pair.cloud.state.rglob("*")]
    listed = pair.cloud.root / "paths.json"
    listed.write_text(json.dumps([(str(path), path.lstat().st_mode) for path in paths]))
    listed.chmod(0o644)
    said = pair.cloud.inside(
        *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--", sys.executable, "-I", "-S"),
        *("-c", TRY, str(listed)),
    )
    listed.unlink()
    return {(how, path) for how, path in json.loads(said)}


def test_qemu_is_a_user_of_its_own_without_rights(pair: Pair):
    seen = set()
    for guest in (pair.alpha, pair.beta):
        (pid,) = pair.cloud.qemu(guest.id)
        told = status(pid)
        (uid,) = set(told["Uid"].split())
        assert int(uid) in Settings().guest_uids()
        assert told["Groups"].split() in ([], [told["Gid"].split()[0]])
        assert {told[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
        seen.add(uid)
    assert len(seen) == 2


def test_a_guests_user_can_use_its_own_files_and_nothing_else_of_the_clouds(pair: Pair):
    """Whatever there is below the state directory: database, secrets, images, ledgers, logs, other guests' disks."""
    folders = {
        guest.name: next(pair.cloud.state.glob(f"hosts/*/guests/{guest.id}")) for guest in (pair.alpha, pair.beta)
    }
    for guest, other in ((pair.alpha, pair.beta), (pair.beta, pair.alpha)):
        own = str(folders[guest.name])
        found = could(pair, user(pair, guest))
        drive = {("read", f"{own}/config.iso")} if guest is pair.beta else set()
        assert found >= {
            ("read", f"{own}/disk.qcow2"),
            ("write", f"{own}/disk.qcow2"),
            ("read", f"{own}/images/base.img"),
        }
        assert found >= drive
        assert ("write", f"{own}/images/base.img") not in found
        # libvirt makes folders for each guest too, named by its number and its name.
        of_libvirt = {path for _, path in found if "/libvirt/lib/qemu/" in path}
        assert all(Path(path).stat().st_uid == user(pair, guest) for path in of_libvirt)
        assert {(how, path) for how, path in found if not path.startswith(own) and path not in of_libvirt} == set()
        assert not any(other.id in path for _, path in found)


def test_whoever_is_nobody_on_the_host_can_use_nothing_of_the_cloud(pair: Pair):
    nobody = 65534
    assert could(pair, nobody) == set()


def test_a_guests_user_is_free_again_when_its_files_are_gone_and_not_before(pair: Pair):
    cloud = pair.cloud
    gamma = cloud.boot("gamma", pair.image)
    uid = user(pair, gamma)
    (folder,) = cloud.state.glob(f"hosts/*/guests/{gamma.id}")
    assert {path.stat().st_uid for path in (folder / "images", folder / "disk.qcow2")} == {uid}
    cloud.kill()
    cloud.start()
    assert user(pair, gamma) == uid
    cloud.delete(gamma.id)
    eventually(
        "all files of that user to be gone", lambda: uid not in {p.lstat().st_uid for p in cloud.state.rglob("*")}
    )
    assert stat.S_IMODE(cloud.state.stat().st_mode) == 0o711
