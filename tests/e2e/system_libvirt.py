"""Debian's own libvirt as its package sets it up, `libvirtd` and `virtlogd`, in the sandbox of a cloud."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from real_cloud import RealCloud, eventually

URI = "qemu:///system"
FLAGS = ("--libvirt-uri", URI)

_PLACES = {"etc/libvirt": "/etc/libvirt", "var/lib": "/var/lib", "var/cache": "/var/cache", "var/log": "/var/log"}


class SystemLibvirt:
    """The daemons, with the package's directories in place of the machine's."""

    def __init__(self, cloud: RealCloud) -> None:
        assert "LIBVIRT_SYSTEM" in os.environ, "run these by scripts/test, which fetches libvirt-daemon-system"
        self.cloud = cloud
        self._folder = cloud.root / "system"
        shutil.copytree(os.environ["LIBVIRT_SYSTEM"], self._folder)

    def prepare(self) -> None:
        """Make the sandbox, and in it what the package makes at its installation, with the modes that it gives."""
        self.cloud.make_sandbox()
        for own, place in _PLACES.items():
            self.cloud.inside("mount", "--bind", str(self._folder / own), place)
        self.cloud.inside("chmod", "0711", "/var/lib/libvirt/images", "/var/cache/libvirt", "/var/cache/libvirt/qemu")
        of_qemu = ("/var/lib/libvirt/qemu", "/var/lib/libvirt/qemu/channel", "/var/lib/libvirt/qemu/channel/target")
        self.cloud.inside("chown", "libvirt-qemu:libvirt-qemu", *of_qemu)
        self.cloud.inside("chmod", "0750", *of_qemu)

    def start(self) -> None:
        """Start what does not run."""
        for name, socket in {"virtlogd": "virtlogd-sock", "libvirtd": "libvirt-sock"}.items():
            if self.process(name) is None:
                self.cloud.inside(name, "--daemon")
            words = ("exec", "--", "test", "-S", f"/run/libvirt/{socket}")
            eventually(f"{name} to listen", lambda words=words: self.cloud.try_floe(*words).returncode == 0)

    def process(self, name: str) -> int | None:
        """Return the process of a daemon, None if it does not run."""
        told = self.cloud.try_floe("exec", "--", "cat", f"/run/{name}.pid")
        found = Path(f"/proc/{told.stdout.strip()}/comm") if told.returncode == 0 else None
        return int(told.stdout) if found is not None and found.exists() and found.read_text().strip() == name else None

    def kill(self, name: str = "libvirtd") -> None:
        """End a daemon as a crash does."""
        pid = self.process(name)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(f"{name} to end", lambda: not Path(f"/proc/{pid}").exists())

    def log(self) -> str:
        """Return what the daemons and QEMU had to say."""
        return "".join(file.read_text() for file in sorted((self._folder / "log").rglob("*.log")))
