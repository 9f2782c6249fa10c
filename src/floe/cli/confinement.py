"""What a machine has to keep guests apart, from each other and from itself."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from floe.cli.findings import Finding, Level
from floe.hypervisors.libvirt.users import group_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What was found."""

    uids: range
    """The user ids that guests would run as."""
    known: bool
    """Whether there are such ids here at all: in a container there may be few."""
    closed: str
    """The first folder on the way to the state directory that guests may not go through; empty if there is none."""
    modules: tuple[str, ...]
    """Which of AppArmor and SELinux the kernel has switched on."""
    kvm_closed: bool
    """Whether /dev/kvm is there for root alone, and so not for guests."""


def look(state_dir: Path, uids: range) -> Confinement:
    """Ask this machine, where guests' disks would be below `state_dir`, which need not be there yet."""
    return Confinement(
        uids=uids,
        known=all(mapped(uids, Path(f"/proc/self/{kind}_map").read_text()) for kind in ("uid", "gid")),
        closed=_closed(state_dir),
        modules=_modules(),
        kvm_closed=_for_root_alone(Path("/dev/kvm")),
    )


def finding(found: Confinement, *, root: bool, libvirtd: bool) -> Finding:
    """Return how guests would be confined: of `floe up` as root, on a machine where a libvirtd runs."""
    first, last = found.uids[0], found.uids[-1]
    if not root:
        return Finding(name="confinement", level=Level.WARN, what="guests would be this user", remedy="run as root")
    if not found.known:
        return Finding(
            name="confinement",
            level=Level.MISSING,
            what=f"guests are to be the users {first} to {last}, and this container has no such ids",
            remedy="set first_guest_uid to where /proc/self/uid_map and gid_map have them",
        )
    if found.closed:
        return Finding(
            name="confinement",
            level=Level.MISSING,
            what=f"guests are users of their own, who cannot reach their disks: {found.closed} is closed to them",
            remedy=f"chmod o+x {found.closed}",
        )
    what = f"each guest is a user of its own ({first} to {last}), without capabilities, under seccomp"
    if not found.modules:
        return Finding(name="confinement", level=Level.OK, what=what)
    modules = " and ".join(found.modules)
    if libvirtd:
        return Finding(name="confinement", level=Level.OK, what=f"{what}, and as {modules} has it for libvirtd")
    return Finding(
        name="confinement",
        level=Level.WARN,
        what=f"{what}; not by {modules}, which confines guests of a libvirtd alone",
        remedy="apt-get install libvirt-daemon-system, and no --sandbox",
    )


def mapped(ids: range, table: str) -> bool:
    """Say whether all ids are in a table like /proc/self/uid_map: lines of first id, first id outside, count."""
    known = 0
    for first, _, count in map(str.split, table.splitlines()):
        known += len(range(max(ids[0], int(first)), min(ids[-1] + 1, int(first) + int(count))))
    return known == len(ids)


def _closed(state_dir: Path) -> str:
    # The state directory itself is opened by `floe up`.
    way = [folder for folder in reversed(state_dir.resolve().parents) if folder.exists()]
    return next((str(folder) for folder in way if not folder.stat().st_mode & stat.S_IXOTH), "")


def _for_root_alone(device: Path) -> bool:
    try:
        found = device.stat()
        group_for(found.st_mode, found.st_gid)
    except PermissionError:
        return True
    except FileNotFoundError:
        return False
    return False


def _modules() -> tuple[str, ...]:
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    found = {
        "AppArmor": apparmor.exists() and apparmor.read_text().strip() == "Y",
        "SELinux": Path("/sys/fs/selinux/enforce").exists(),
    }
    return tuple(name for name, there in found.items() if there)
