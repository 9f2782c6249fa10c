"""What each role tells the service manager that its unit has wait for it, in the order in which it does."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats_server import NatsServer, nats_server
from role_processes import SECONDS, Roles, role_processes, until

WATCHDOG = {"WATCHDOG_USEC": "600000"}


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture
def roles(tmp_path: Path, server: NatsServer) -> Iterator[Roles]:
    with role_processes(tmp_path, server.url) as roles:
        yield roles


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(SECONDS)
        yield manager


@pytest.mark.parametrize(("role", "name"), [("api", ""), ("conductor", "1"), ("agent", "h1")])
def test_a_role_says_that_it_is_ready_feeds_the_watchdog_and_says_that_it_stops(
    roles: Roles, manager: socket.socket, tmp_path: Path, role: str, name: str
) -> None:
    process = roles.start(role, name, NOTIFY_SOCKET=str(tmp_path / "notify"), **WATCHDOG)
    ready = manager.recv(1000)
    assert ready.startswith(b"READY=1\nSTATUS=")
    assert process.ready().url.encode() in ready
    assert [manager.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    process.process.send_signal(signal.SIGTERM)
    told = [manager.recv(1000)]
    while told[-1] == b"WATCHDOG=1":
        told.append(manager.recv(1000))
    assert told[-1] == b"STOPPING=1\nSTATUS=stopping"
    assert process.process.wait(SECONDS) == 0


@pytest.mark.parametrize(("role", "name"), [("api", ""), ("conductor", "1"), ("agent", "h1")])
def test_a_role_that_waits_for_the_bus_is_not_ready(
    roles: Roles, server: NatsServer, manager: socket.socket, tmp_path: Path, role: str, name: str
) -> None:
    server.stop()
    process = roles.start(role, name, NOTIFY_SOCKET=str(tmp_path / "notify"), **WATCHDOG)
    until(lambda: "waits for the bus" in process.log, lambda: process.log)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)
    manager.settimeout(SECONDS)
    server.start()
    assert manager.recv(1000).startswith(b"READY=1\n")
