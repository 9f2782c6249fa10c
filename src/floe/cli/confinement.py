"""What a machine has to keep guests apart, from each other and from itself."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path


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


def look(state_dir: Path, uids: range) -> Confinement:
    """Ask this machine, where guests' disks would be below `state_dir`, which need not be there yet."""
    return Confinement(
        uids=uids,
        known=all(mapped(uids, Path(f"/proc/self/{kind}_map").read_text()) for kind in ("uid", "gid")),
        closed=_closed(state_dir),
        modules=_modules(),
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


def _modules() -> tuple[str, ...]:
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    found = {
        "AppArmor": apparmor.exists() and apparmor.read_text().strip() == "Y",
        "SELinux": Path("/sys/fs/selinux/enforce").exists(),
    }
    return tuple(name for name, there in found.items() if there)
