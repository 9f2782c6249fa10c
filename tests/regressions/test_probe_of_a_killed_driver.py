"""A QEMU that libvirt was asking what it can do stayed for good when Floe was killed just then."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from floe.hypervisors.libvirt.connection import prepare_embed


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory whose path is short: for a long one the driver makes a link outside of it, which would stay."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_the_next_driver_ends_it_and_no_other(root: Path) -> None:
    with ExitStack() as processes:

        def like_qemu(socket: str) -> subprocess.Popen[str]:
            words = ["sh", "-c", "echo up; read -r go; exit 3", "-machine", "none", "-qmp", socket]
            process = processes.enter_context(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            return process

        probe = like_qemu(f"unix:{root}/lib/qemu/qmp-O9ECZ3/qmp.monitor,server=on,wait=off")
        others = [
            like_qemu(f"unix:{root}/lib/qemu/domain-1-guest/monitor.sock,server=on,wait=off"),
            like_qemu(f"unix:{root}-too/lib/qemu/qmp-O9ECZ3/qmp.monitor,server=on,wait=off"),
        ]
        prepare_embed(root)
        assert probe.wait(30) == -signal.SIGKILL
        for other in others:
            other.communicate("go\n", timeout=30)
            assert other.returncode == 3
