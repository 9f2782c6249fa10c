"""A guest whose start was cut short just before QEMU was there could not be destroyed any more, and Floe not start."""

from __future__ import annotations

from pathlib import Path

from floe.hypervisors.libvirt.connection import prepare_embed

STATUS = """<!--
WARNING: THIS IS AN AUTO-GENERATED FILE.
-->

<domstatus state='{state}' reason='{reason}' pid='{pid}'>
  <monitor path='/run/x/monitor.sock' type='unix'/>
</domstatus>
"""


def test_what_libvirt_noted_of_a_guest_without_a_process_is_forgotten(tmp_path: Path):
    statuses = tmp_path / "run" / "qemu"
    statuses.mkdir(parents=True)
    (statuses / "unborn.xml").write_text(STATUS.format(state="paused", reason="starting up", pid=0))
    (statuses / "born.xml").write_text(STATUS.format(state="running", reason="booted", pid=4711))
    prepare_embed(tmp_path, "root")
    assert [file.name for file in statuses.iterdir()] == ["born.xml"]
