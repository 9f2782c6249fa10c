"""UEFI for guests: the code is the host's and shared, the variables are each guest's own file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from floe.core.errors import HostFailure
from floe.hypervisors.libvirt import disks
from floe.hypervisors.libvirt.xml import UEFI

_BLANK = UEFI.with_name("OVMF_VARS_4M.fd")
"""The variables that each guest begins with."""


def there() -> bool:
    """Say whether this host has it."""
    return UEFI.exists() and _BLANK.exists()


def have_variables(target: Path, user: int | None) -> None:
    """Have the variables of a guest's firmware, as that user's; those that are there stay as the guest wrote them.

    Raises HostFailure where the host lacks the firmware.
    """
    if not there():
        raise HostFailure("This host has no UEFI for guests (Debian package ovmf).", stage="guest")
    if not target.exists():
        partial = target.with_name(target.name + ".partial")
        partial.unlink(missing_ok=True)
        shutil.copyfile(_BLANK, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # an empty file would keep the guest from starting, ever
        partial.replace(target)
    disks.hand_over(target, user)
