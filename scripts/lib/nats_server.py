"""A NATS server of a test's own: in a temporary directory, on a free port of the loopback, as nobody in particular."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_SECONDS = 20.0


class NatsServer:
    """A server that can be stopped, frozen, killed and started again on the same port."""

    def __init__(self, folder: Path, config: str = "") -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(config)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def configure(self, config: str) -> None:
        """What its file says beside its port; a running server takes it by `reload`."""
        self._config = config
        port = self.port or -1
        (self.folder / "nats.conf").write_text(f'listen: "127.0.0.1:{port}"\nmax_pending: 16MB\n{config}\n')

    def start(self) -> None:
        as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
        if as_nobody:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, "nobody", "nogroup")
        for old in self.folder.glob("*.ports"):
            old.unlink()
        with (self.folder / "log").open("ab") as log:
            # It ends with the thread that started it, however that ends.
            command = [
                "setpriv",
                "--pdeathsig",
                "KILL",
                "nats-server",
                "-c",
                self.folder / "nats.conf",
                "--ports_file_dir",
                self.folder,
            ]
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **as_nobody
            )
        self.port = self._read_port()
        self.configure(self._config)

    def reload(self) -> None:
        """Have it read its file again."""
        before = self.log.count("Reloaded server configuration") + self.log.count("Failed to reload")
        self._signal(signal.SIGHUP)
        _until(lambda: self.log.count("Reloaded server configuration") + self.log.count("Failed to reload") > before)

    def freeze(self) -> None:
        """Have it do nothing any more; on a busy machine that is so some time after it was told."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill it, as a power loss would."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, which)

    def _read_port(self) -> int:
        assert self._process is not None
        file, found = self.folder / f"nats-server_{self._process.pid}.ports", 0

        def read() -> bool:
            nonlocal found
            assert self._process is not None
            assert self._process.poll() is None, self.log
            with contextlib.suppress(OSError, ValueError, LookupError):
                found = int(json.loads(file.read_text())["nats"][0].rpartition(":")[2])
            return bool(found)

        _until(read)
        return found


@contextlib.contextmanager
def nats_folder() -> Iterator[Path]:
    """A directory that the server may read, whoever it runs as: pytest keeps its own to itself."""
    with tempfile.TemporaryDirectory(prefix="floe-nats-") as name:
        yield Path(name)


@contextlib.contextmanager
def nats_server(folder: Path | None = None, config: str = "") -> Iterator[NatsServer]:
    """A running server, in a `nats_folder`, or in one of its own if that is not there; it ends with the block."""
    if folder is None or not folder.exists():
        with nats_folder() as own, nats_server(own, config) as server:
            yield server
        return
    server = NatsServer(folder, config)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _until(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, "the server does not do it"
        time.sleep(0.01)
