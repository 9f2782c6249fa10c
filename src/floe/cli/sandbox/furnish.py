"""What a new sandbox is made of. Runs in a process that has just got its own namespaces."""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from floe.cli import kvm
from floe.cli.sandbox import kernel
from floe.dataplane.linux import stack

HOST_NAME = "floe-sandbox"

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
_KVM_DEVICES = ("kvm", "vhost-net")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}

# libvirt's QEMU driver looks these up before it reads which user it was told to run guests as, and does not start
# without them. They come with libvirt's system daemon, which a sandbox does not need. 64055 is Debian's own number.
_ACCOUNTS = {
    "passwd": ("libvirt-qemu:x:64055:64055:QEMU in a sandbox:/nonexistent:/usr/sbin/nologin",),
    "group": ("libvirt-qemu:x:64055:", "kvm:x:64054:"),
}

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def furnish(state_dir: Path) -> None:
    """Make the namespaces this process is alone in fit for a data plane.

    Mounts are private; /run is empty, so that `ip netns` and libvirt leave nothing on the machine; /dev holds
    what guests need, with KVM only if it really works; the accounts that libvirt asks for are known; `state_dir`
    stays where it was even if it lay under /run.
    """
    state = os.open(state_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        kernel.mount("none", Path("/"), flags=kernel.MS_REC | kernel.MS_PRIVATE)
        _mount_sys()
        run = Path("/run").resolve()
        kernel.mount("floe-run", run, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
        for name in ("netns", "lock", "libvirt", "floe-dev"):
            (run / name).mkdir()
        _add_accounts(run)
        _make_dev(run / "floe-dev")
        if not _same(state_dir, state):
            state_dir.mkdir(parents=True, exist_ok=True)
            kernel.mount(f"/proc/self/fd/{state}", state_dir, flags=kernel.MS_BIND)
    finally:
        os.close(state)
    socket.sethostname(HOST_NAME)
    _loopback_up()
    stack.spare_bridges()


def mend() -> None:
    """Change what an earlier release made otherwise of the sandbox that this process is in."""
    ptmx = Path("/dev/ptmx")
    if ptmx.is_symlink():
        ptmx.unlink()
        _make_ptmx(ptmx.parent)
    _let_guests_use_kvm(ptmx.parent)


def _mount_sys() -> None:
    # /sys shows the network devices of the namespace it was mounted in; libvirt and dnsmasq look there.
    sys = Path("/sys")
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    # Some containers forbid it; the new one then lies over the old.
    with contextlib.suppress(OSError):
        kernel.unmount(sys)
    kernel.mount("sysfs", sys, "sysfs", flags)


def _make_dev(new: Path) -> None:
    dev = Path("/dev")
    kernel.mount("floe-dev", new, "tmpfs", kernel.MS_NOSUID, "mode=755")
    wanted = _DEVICES + (_KVM_DEVICES if kvm.look().usable else ())
    for name in wanted:
        old = dev / name
        if old.exists():
            found = old.stat()
            node = new / name
            node.parent.mkdir(exist_ok=True)
            os.mknod(node, stat.S_IFCHR | 0o600, found.st_rdev)
            node.chmod(stat.S_IMODE(found.st_mode))
            os.chown(node, found.st_uid, found.st_gid)
    _make_ptmx(new)
    _let_guests_use_kvm(new)
    for name, target in _LINKS.items():
        (new / name).symlink_to(target)
    # The terminals are the machine's own, so that `floe exec` can be used from one.
    for name in ("pts", "shm"):
        (new / name).mkdir()
    kernel.mount("/dev/pts", new / "pts", flags=kernel.MS_BIND)
    kernel.mount("floe-shm", new / "shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    _unmount_all(dev)
    kernel.mount(str(new), dev, flags=kernel.MS_MOVE)


def _unmount_all(place: Path) -> None:
    # What lay under the new mount would still be listed: libvirt, which moves each mount below /dev, fails at those.
    listed = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mounted in reversed(listed):
        if mounted == str(place) or mounted.startswith(f"{place}/"):
            with contextlib.suppress(OSError):  # some containers forbid it
                kernel.unmount(Path(mounted))


def _make_ptmx(dev: Path) -> None:
    # Not a link to pts/ptmx, which is for root alone on many machines: QEMU, that is not root, asks it for a terminal.
    node = dev / "ptmx"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(5, 2))
    node.chmod(0o666)


def _let_guests_use_kvm(dev: Path) -> None:
    # Guests are not root: on a machine where only root may, in here the group may.
    for node in (dev / name for name in _KVM_DEVICES):
        with contextlib.suppress(FileNotFoundError):
            if not node.stat().st_mode & stat.S_IWOTH:
                os.chown(node, 0, grp.getgrnam("kvm").gr_gid)
                node.chmod(0o660)


def _add_accounts(run: Path) -> None:
    for name, entries in _ACCOUNTS.items():
        listed = Path("/etc", name)
        text = listed.read_text()
        longer = with_accounts(text, entries)
        if longer != text:
            (run / name).write_text(longer)
            kernel.mount(str(run / name), listed, flags=kernel.MS_BIND)


def with_accounts(text: str, entries: Iterable[str]) -> str:
    """Return a text like /etc/passwd or /etc/group with those of `entries` added whose names are not in it."""
    known = {line.partition(":")[0] for line in text.splitlines()}
    missing = [entry for entry in entries if entry.partition(":")[0] not in known]
    ending = "" if text.endswith("\n") or not text else "\n"
    return text + (ending if missing else "") + "".join(f"{entry}\n" for entry in missing)


def _same(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
