"""Roles in processes of their own, on the loopback: as one starts them by hand, and each can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

SECONDS = 90.0
"""For which anything is waited for, on a machine that does much else."""


def until(condition: Callable[[], Any], what: str | Callable[[], object]) -> Any:
    """Wait for a condition, and return what it gave; `what` says what there is when it does not come to pass."""
    end = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, what if isinstance(what, str) else what()
        time.sleep(0.05)
    return found


class RoleProcess:
    """`floe ROLE`. Its log is kept in a file; `url` is what it said that it is found at."""

    def __init__(
        self, folder: Path, name: str, words: list[str], environment: dict[str, str], before: Sequence[str] = ()
    ) -> None:
        self.name, self._log = name, folder / f"{name}.log"
        with self._log.open("wb") as log:
            command = [*before, sys.executable, "-m", "floe", *words]
            env = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env, start_new_session=True)

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def url(self) -> str:
        found = re.findall(r"ready, .*?(http://127\.0\.0\.1:\d+)", self.log)
        return str(found[-1]) if found else ""

    def ready(self) -> RoleProcess:
        until(lambda: self.url or self.process.poll() is not None, f"{self.name} is not ready: {self.log}")
        assert self.process.poll() is None, self.log
        return self

    def healthz(self) -> tuple[int, dict[str, str]]:
        reply = httpx.get(f"{self.url}/healthz", timeout=30)
        return reply.status_code, reply.json()["parts"]

    def kill(self) -> None:
        """Kill it, as a power loss would."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, and return its status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=SECONDS)


class Roles:
    """Processes over one state directory and one bus."""

    def __init__(self, folder: Path, bus: str, database: str = "") -> None:
        self.state, self._folder, self.bus, self._database = folder / "state", folder, bus, database
        self.all: list[RoleProcess] = []
        self.config = folder / "floe.toml"
        lines = [f'state = "{self.state}"', f'bus = "{bus}"', 'hypervisor = "fake"', f'database = "{database}"']
        self.config.write_text("\n".join(lines) + "\n")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Look into the database."""
        if self._database:
            import psycopg

            with psycopg.connect(self._database) as connection:
                return connection.execute(query).fetchall()
        with contextlib.closing(sqlite3.connect(self.state / "floe.db")) as connection:
            return connection.execute(query).fetchall()

    def start(
        self, role: str, name: str = "", *flags: str, before: Sequence[str] = (), **environment: str
    ) -> RoleProcess:
        """Start a role; an agent's name is that of its host. The words `before` start what becomes it."""
        words = [role, "--config", str(self.config)]
        words += ["--listen" if role == "api" else "--status-listen", "127.0.0.1:0"]
        words += [("--host" if role == "agent" else "--instance"), name] if name else []
        process = RoleProcess(self._folder, f"{role}-{name}" if name else role, [*words, *flags], environment, before)
        self.all.append(process)
        return process

    def password(self, user: str) -> str:
        found: str = json.loads((self.state / "secrets.json").read_text())["passwords"][user]
        return found

    @contextlib.contextmanager
    def client(self, api: RoleProcess, user: str = "demo") -> Iterator[httpx.Client]:
        """Give who may do what a user may, at one of the APIs."""
        with httpx.Client(base_url=api.url, timeout=60) as http:
            self._log_in(http, user)
            yield http

    def _log_in(self, http: httpx.Client, user: str) -> None:
        named = {"name": user, "password": self.password(user), "domain": {"name": "Default"}}
        scope = {"project": {"name": user, "domain": {"name": "Default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": named}}, "scope": scope}}
        reply = http.post("/identity/v3/auth/tokens", json=body)
        assert reply.status_code == 201, reply.text
        http.headers["x-auth-token"] = reply.headers["x-subject-token"]
        http.headers["openstack-api-version"] = "compute 2.90"

    def stop(self) -> None:
        for process in self.all:
            process.kill()


@contextlib.contextmanager
def role_processes(folder: Path, bus: str, database: str = "") -> Iterator[Roles]:
    """Give roles to be started; all of them end with the block."""
    roles = Roles(folder, bus, database)
    try:
        yield roles
    finally:
        roles.stop()
