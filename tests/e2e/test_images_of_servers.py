"""A running guest becomes an image, and a second one that boots from it has what the first one wrote."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from real_cloud import RealCloud, eventually

pytestmark = pytest.mark.e2e


def test_what_a_running_guest_wrote_is_in_a_server_made_of_its_image(
    new_cloud: Callable[..., AbstractContextManager[RealCloud]], guest_image: Path
) -> None:
    with new_cloud() as cloud:
        cloud.start()
        cloud.let_in(22)
        # Its agent has to freeze its file systems, else there is no image.
        image = cloud.upload(guest_image.read_bytes(), "qcow2", hw_qemu_guest_agent="yes", os_require_quiesce="yes")
        first = cloud.boot("first", image, key_name="key")
        cloud.booted(first)
        # A head of another format in the guest's raw disk is the guest's data and no more.
        cloud.ssh(first, "echo written > /root/mark; printf 'QFI\\373' > /root/head; sync; uptime > /tmp/up")
        eventually("its agent", lambda: cloud.try_ssh(first, "pidof qemu-ga").returncode == 0)
        path = f"/compute/v2.1/servers/{first.id}/action"
        copy = cloud.user().post(path, {"createImage": {"name": "shot"}})["image_id"]
        eventually("active", lambda: cloud.user().get(f"/image/v2/images/{copy}")["status"] == "active")
        made = cloud.user().get(f"/image/v2/images/{copy}")
        assert (made["disk_format"], made["instance_uuid"]) == ("qcow2", first.id)
        assert cloud.ssh(first, "cat /root/mark").strip() == "written", "the guest goes on"
        cloud.user().ask("DELETE", f"/compute/v2.1/servers/{first.id}")
        second = cloud.boot("second", copy, key_name="key")
        cloud.booted(second)
        assert cloud.ssh(second, "cat /root/mark").strip() == "written"
