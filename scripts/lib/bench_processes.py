"""PostgreSQL, NATS and the roles of Floe as processes of their own on this machine, for benchmarks.

All of it is in one temporary directory and on free ports of the loopback, and ends with the block that began it; roles
end with this process too, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench_client import ROOT, cpu_seconds
from nats_server import NatsServer, nats_server
from postgres_server import PostgresServer

_START_SECONDS, _STOP_SECONDS = 300.0, 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


class RoleProcess:
    """`floe ROLE`, known by a name; `port` is the one that it answers at."""

    def __init__(self, folder: Path, name: str, words: list[str]) -> None:
        self.name, self.port, self._log = name, 0, folder / f"{name}.log"
        own = ("FLOE_", "PYTHONDONTWRITEBYTECODE")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(own)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", ROOT / ".venv/bin/floe", *words],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
            )  # fmt: skip

    def ready(self) -> None:
        """Wait until it is ready."""
        end = time.monotonic() + _START_SECONDS
        while not (found := re.findall(r"^floe: .*ready, .*http://127\.0\.0\.1:(\d+)", self._log.read_text(), re.M)):
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"bench: {self.name} did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.port = int(found[-1])

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu_seconds(self.process.pid)

    def kib(self) -> int:
        """Return the memory that is its own, or its share of what it has with others, in KiB."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(re.findall(r"^Pss:\s+(\d+)", rollup, re.M)[0])

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it, by killing if it does not end by itself."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Processes:
    """The engines, and roles over them."""

    def __init__(self, folder: Path, postgres: PostgresServer, nats: NatsServer) -> None:
        self.state, self._folder = folder / "state", folder
        self.postgres, self.nats = postgres, nats
        self.all: list[RoleProcess] = []
        self._config = folder / "floe.toml"
        settings = {
            "state": self.state, "database": postgres.url(), "bus": nats.url, "hypervisor": "fake",
            "log_level": "warning",
        }  # fmt: skip
        self._config.write_text("".join(f'{key} = "{value}"\n' for key, value in settings.items()))

    def start(self, role: str, name: str, *flags: str) -> RoleProcess:
        """Start a role, whose name is that of an agent's host, and of an instance else; it is not ready yet."""
        words = [role, "--config", str(self._config), "--host" if role == "agent" else "--instance", name]
        words += ["--listen" if role == "api" else "--status-listen", "127.0.0.1:0", *flags]
        process = RoleProcess(self._folder, f"{role}-{name}", words)
        self.all.append(process)
        return process

    def end(self, process: RoleProcess, number: int = signal.SIGTERM) -> None:
        """End one of them."""
        process.end(number)
        self.all.remove(process)

    def cpu(self) -> float:
        """Return the seconds of CPU that all roles that run have used."""
        return sum(process.cpu() for process in self.all)

    def engines_cpu(self) -> dict[str, float]:
        """Return the seconds of CPU that each engine has used, with what it has of processes."""
        return {"postgresql": _family_cpu(_pid(self.postgres)), "nats": _family_cpu(_pid(self.nats))}

    def pin(self, cores: Iterable[int]) -> None:
        """Have roles and engines run on these cores alone."""
        wanted = set(cores)
        for root in (_pid(self.postgres), _pid(self.nats), *(process.process.pid for process in self.all)):
            for pid in (root, *_children(root)):
                with contextlib.suppress(OSError):
                    for task in Path(f"/proc/{pid}/task").iterdir():
                        os.sched_setaffinity(int(task.name), wanted)


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Give the engines, running, and nothing else yet; PostgreSQL waits for the disk, as it does in earnest."""
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="floe-bench-")))
        postgres = PostgresServer(durable=True)
        held.callback(postgres.remove)
        postgres.start()
        made = Processes(folder, postgres, held.enter_context(nats_server()))
        held.callback(lambda: [process.end(signal.SIGKILL) for process in made.all])
        yield made


def _pid(server: PostgresServer | NatsServer) -> int:
    assert server._process is not None
    return server._process.pid


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _family_cpu(pid: int) -> float:
    """Return what a process, its children and those of them that ended have used."""
    ticks = 0
    for each in (pid, *_children(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15] if each == pid else fields[11:13]))
    return ticks / _TICKS
