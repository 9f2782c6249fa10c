"""What a service manager is told: `sd_notify(3)`."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from floe.cli.notify import Notify


@pytest.mark.parametrize("abstract", [False, True])
async def test_ready_watchdog_and_stopping_are_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(20)
        notify = Notify({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000"})
        notify.ready("serving")
        assert manager.recv(1000) == b"READY=1\nSTATUS=serving"
        assert notify._feeding is not None
        await asyncio.sleep(0)
        assert manager.recv(1000) == b"WATCHDOG=1"
        async with asyncio.timeout(20):
            manager.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(manager, 1000) == b"WATCHDOG=1"  # again and again
        manager.setblocking(True)
        notify.stopping()
        notify.end()
        while (told := manager.recv(1000)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1\nSTATUS=stopping"


def test_nobody_is_told_where_nobody_asked() -> None:
    notify = Notify({})
    notify.ready("serving")
    notify.stopping()
    assert notify._feeding is None


async def test_the_watchdog_of_another_process_is_not_fed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000"}
        notify = Notify({**environment, "WATCHDOG_PID": str(os.getpid() + 1)})
        notify.ready("serving")
        assert notify._feeding is None


def test_a_manager_that_has_gone_is_said_once_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notify = Notify({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notify.status("one")
    notify.status("two")
    assert [record.message for record in caplog.records] == [
        f"the service manager at {tmp_path / 'nobody'} cannot be told: No such file or directory"
    ]
