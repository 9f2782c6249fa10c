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
# libvirt's QEMU driver looks its default user up before it reads which one it was told to use instead, so the
# namespace gets lists of users and groups in which that one is there.
INSIDE = """
import os, sys
from pathlib import Path
from floe.cli.sandbox import kernel
from floe.cli.sandbox.furnish import furnish
furnish(Path(sys.argv[1]))
for name, line in (("passwd", "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin"), ("group", "libvirt-qemu:x:64055:")):
    listed = Path("/etc", name).read_text()
    for extra in (line, "kvm:x:64056:" if name == "group" else line):
        if not any(known.startswith(extra.partition(":")[0] + ":") for known in listed.splitlines()):
            listed += extra + "\\n"
    Path("/run", name).write_text(listed)
    kernel.mount(f"/run/{name}", Path("/etc", name), flags=kernel.MS_BIND)
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
        if command.startswith(b"/usr/bin/qemu-system") and str(tmp_path).encode() in command:
            os.kill(int(entry.name), signal.SIGKILL)


def test_libvirt_keeps_the_contract_of_a_hypervisor(state: Path) -> None:
    assert shutil.which("qemu-system-x86_64"), "QEMU is not installed"
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--uts", sys.executable, "-c", INSIDE, str(state)),
            *("-q", "-p", "no:cacheprovider", f"--basetemp={state}/tmp", "tests/contract/test_hypervisor.py"),
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
