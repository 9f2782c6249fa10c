"""Whether KVM really works here, told without trying it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DEVICE = Path("/dev/kvm")


@dataclass(frozen=True, slots=True)
class Kvm:
    """What the machine shows of KVM.

    A `/dev/kvm` without the processor's flag is a trap: a guest started under it hangs for ever, and so does
    a QEMU that is run to probe it. So the flags decide (measured on nested machines).
    """

    device: bool
    access: bool
    flag: str

    @property
    def usable(self) -> bool:
        """True if guests may be run under KVM."""
        return self.device and self.access and bool(self.flag)


def flag_in(cpuinfo: str) -> str:
    """Return `vmx` or `svm` if a text like /proc/cpuinfo shows it, else an empty text."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            flags = value.split()
            return next((flag for flag in ("vmx", "svm") if flag in flags), "")
    return ""


def look() -> Kvm:
    """Look at this machine."""
    return Kvm(
        device=DEVICE.exists(),
        access=os.access(DEVICE, os.R_OK | os.W_OK),
        flag=flag_in(Path("/proc/cpuinfo").read_text()),
    )
