"""The contract of a hypervisor, and the agent on it, with libvirt and real QEMU in namespaces of the test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
INSIDE = """
import os, sys
from pathlib import Path
from floe.cli.sandbox.furnish import furnish
furnish(Path(sys.argv[1]))
os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[2:]])
"""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        ours = command.startswith(b"/usr/bin/qemu-system") or b"console_keeper.py" in command
        if ours and str(tmp_path).encode() in command:
            os.kill(int(entry.name), signal.SIGKILL)


_REST = "not power and not cop"


@pytest.mark.parametrize("part", ["power", "cop", f"guest and {_REST}", f"not guest and {_REST}"])
def test_libvirt_keeps_the_contract_of_a_hypervisor(state: Path, part: str) -> None:
    """In processes of their own: each may open an embedded libvirt so often and no more."""
    assert shutil.which("qemu-system-x86_64"), "QEMU is not installed"
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--uts", sys.executable, "-c", INSIDE, str(state)),
            *("-q", "-p", "no:cacheprovider", f"--basetemp={state}/tmp", "tests/contract/test_hypervisor.py"),
            *("-k", part),
        ],
        cwd=ROOT,
        env={**os.environ, "FLOE_TEST_HYPERVISOR": "libvirt", "FLOE_TEST_LIBVIRT_ROOT": str(state / "libvirt")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" not in done.stdout
