"""A PostgreSQL of one's own, from Debian's package: in a temporary directory, on a free port of the loopback.

It runs as an unprivileged user, since initdb refuses root; nothing of a cluster that the machine has is touched.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_PACKAGED = Path("/usr/lib/postgresql")
_SECONDS = 30.0
"""For which a start may take, on a machine that does much else."""


def programs() -> Path | None:
    """Return where the programs of PostgreSQL are, of the newest there is; None where it is not installed."""
    found = [path.parent for path in _PACKAGED.glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    plain = shutil.which("initdb")
    return Path(plain).parent if plain else None


class PostgresServer:
    """One server with its data. Without `durable` it does not wait for the disk: for tests of everything else."""

    def __init__(self, *, durable: bool = False) -> None:
        found = programs()
        if found is None:
            raise RuntimeError("There is no PostgreSQL on this machine: apt install postgresql.")
        self._programs = found
        self._as = unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="floe-postgres-"))
        if self._as:
            os.chown(self.folder, self._as.pw_uid, self._as.pw_gid)
        self._data = self.folder / "data"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            make_data(self._data, self.port, durable=durable)
        except RuntimeError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def url(self, database: str = "postgres") -> str:
        """Return how Floe is told of one of its databases."""
        return f"postgresql://floe@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes connections. It ends with the thread that started it."""
        log = (self.folder / "log").open("ab")
        end_with_us = ["setpriv", "--pdeathsig", "QUIT"]
        command = [*end_with_us, str(self._programs / "postgres"), "-D", str(self._data)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True, **self._user()
        )
        log.close()
        end = time.monotonic() + _SECONDS
        ready = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, *, immediately: bool = False) -> None:
        """Stop it: cutting all connections, or as if the power had failed."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT if immediately else signal.SIGINT)
            try:
                self._process.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Have it do nothing any more, nor the connections that it has; soon after it was told, on a busy machine."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run a statement by psql, and return what it prints, without heading."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "floe", "-d", database]
        return self._program("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *where, "-c", statement)

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop(immediately=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        """Tell every process of it: each connection has one of its own, and each may be in a group of its own."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for pid in (self._process.pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _program(self, name: str, *args: str | Path) -> str:
        done = subprocess.run(
            [str(self._programs / name), *map(str, args)], capture_output=True, check=True, cwd="/", **self._user()
        )
        return done.stdout.decode().strip()

    def _user(self) -> dict[str, int | list[int]]:
        return as_user(self._as)


def make_data(data: Path, port: int, *, durable: bool, password_file: Path | None = None) -> None:
    """Make the data of a server, whose superuser is `floe`: known by a password, without one whoever says so.

    Raises RuntimeError with what initdb said.
    """
    found = programs()
    if found is None:
        raise RuntimeError("There is no PostgreSQL on this machine: apt install postgresql.")
    command = [found / "initdb", "-D", data, "-U", "floe", "--no-sync", "-E", "UTF8", "--locale=C"]
    command += ["-A", "scram-sha-256", "--pwfile", password_file] if password_file else ["-A", "trust"]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd="/", **as_user(unprivileged())
    )
    if done.returncode:
        raise RuntimeError(f"initdb failed: {done.stderr}")
    lines = [
        f"port = {port}",
        "listen_addresses = '127.0.0.1'",
        "unix_socket_directories = ''",
        "max_connections = 200",
        "log_min_messages = fatal",
    ]
    if not durable:
        lines += ["fsync = off", "synchronous_commit = off", "full_page_writes = off"]
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("\n".join(lines) + "\n")


def as_user(user: pwd.struct_passwd | None) -> dict[str, int | list[int]]:
    """Return how `subprocess` is told whom a program runs as."""
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}


def unprivileged() -> pwd.struct_passwd | None:
    """Return whom to run it as, None where this process is somebody already."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("PostgreSQL does not run as root, and there is neither a user postgres nor nobody.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
