"""A guest whose start was cut short just before QEMU was there could not be destroyed any more, and Floe not start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from floe.hypervisors.libvirt.connection import prepare_embed

STATUS = """<!--
WARNING: THIS IS AN AUTO-GENERATED FILE.
-->

<domstatus state='{state}' reason='{reason}' pid='{pid}'>
  <monitor path='/run/x/monitor.sock' type='unix'/>
</domstatus>
"""


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory whose path is short: for a long one the driver makes a link outside of it, which would stay."""
    with tempfile.TemporaryDirectory(prefix="floe-", dir="/tmp") as folder:
        yield Path(folder)


def test_what_libvirt_noted_of_a_guest_without_a_process_is_forgotten(root: Path):
    statuses = root / "run" / "qemu"
    statuses.mkdir(parents=True)
    (statuses / "unborn.xml").write_text(STATUS.format(state="paused", reason="starting up", pid=0))
    (statuses / "born.xml").write_text(STATUS.format(state="running", reason="booted", pid=4711))
    prepare_embed(root)
    assert [file.name for file in statuses.iterdir()] == ["born.xml"]
