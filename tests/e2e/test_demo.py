"""The demo's path with an unmodified openstack client; `scripts/demo` is this with its set-up before it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cloud import clean_environment

pytestmark = pytest.mark.e2e

DEMO = Path(__file__).parents[2] / "scripts" / "lib" / "demo.py"


def demo(at: Path, image: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), "--at", str(at), "--image", str(image), *flags],
        capture_output=True, text=True, timeout=500, check=False, env=clean_environment() | {"COLUMNS": "80"},
    )  # fmt: skip


@pytest.fixture
def at(guest_image: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="floe-e2e-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "demo"
        demo(Path(folder) / "demo", guest_image, "--end")


def test_the_demo_boots_a_guest_leaves_nothing_and_may_keep_the_cloud(at: Path, guest_image: Path):
    told = demo(at, guest_image, "--keep")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "The demo is done" in told.stdout
    assert "The cloud goes on running" in told.stdout

    client = subprocess.run(
        [os.environ["OPENSTACK_CLIENT"], "server", "list", "-f", "value"],
        env=clean_environment() | {"OS_CLIENT_CONFIG_FILE": str(at / "clouds.yaml"), "OS_CLOUD": "floe"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (client.returncode, client.stdout) == (0, "")
    assert demo(at, guest_image).returncode == 1, "a cloud that was kept is not trampled on"

    assert demo(at, guest_image, "--end").returncode == 0
    assert not at.exists()
    assert processes(at) == []


def processes(at: Path) -> list[bytes]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            found.append((entry / "cmdline").read_bytes() if entry.name.isdigit() else b"")
        except OSError:
            continue
    return [line for line in found if os.fsencode(at) in line]
