"""A client of `floe up` for benchmarks: the process with its CPU and memory, a bare HTTP connection, a user."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
_SCHEDULED = 2
"""CPUCLOCK_SCHED: of the clocks that the kernel has for each process, that of the time it was running."""


class Http:
    """One keep-alive HTTP/1.1 connection: little of its own, so that the server is what is measured.

    `source` is the address that it comes from.
    """

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.port, self.source = port, source
        self.calls = 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", self.port, local_addr=(self.source, 0)
            )
        assert self.reader is not None
        self.calls += 1
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(data)}"]
        headers.setdefault("content_type", "application/json")
        lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        found = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await self.reader.readexactly(int(found.get("content-length", "0")))
        return int(head[0].split()[1]), found, content

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def cpu_seconds(pid: int) -> float:
    """Return the seconds of CPU that a process has used: by the kernel's own clock of it, for /proc counts in ticks."""
    return time.clock_gettime((~pid << 3) | _SCHEDULED)


class Serving(Protocol):
    """What answers a client: its port, and the CPU that it has used."""

    port: int

    def cpu(self) -> float: ...


class Floe:
    """A `floe up` process on a state directory."""

    def __init__(self, state: Path, *flags: str) -> None:
        # Where Python is told to keep no bytecode, each start compiles all modules, which no installed cloud does.
        own = ("FLOE_", "PYTHONDONTWRITEBYTECODE")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        self.log = (state.parent / "floe.log").open("a")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [ROOT / ".venv/bin/floe", "up", "--state", state, "--listen", "127.0.0.1:0", *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("floe: ready"):
            raise SystemExit(f"bench: floe did not start: {line!r}; see {self.log.name}")
        self.ready_wall = time.perf_counter() - began
        self.ready_cpu = self.cpu()
        self.port = int(line.split("http://", 1)[1].split()[0].rsplit(":", 1)[1])

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu_seconds(self.process.pid)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(30)
        self.log.close()


class Client:
    """A user of the cloud, by name, with a token."""

    def __init__(self, floe: Serving, state: Path, user: str) -> None:
        self.floe = floe
        self.http = Http(floe.port)
        self.user = user
        self.password = json.loads((state / "secrets.json").read_text())["passwords"][user]
        self.token = ""
        self.project = ""

    async def login(self) -> None:
        domain = {"domain": {"name": "Default"}}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": self.user, "password": self.password, **domain}},
        }
        body = {"auth": {"identity": identity, "scope": {"project": {"name": self.user, **domain}}}}
        status, headers, data = await self.http.call("POST", "/identity/v3/auth/tokens", body)
        assert status == 201, data
        self.token = headers["x-subject-token"]
        self.project = json.loads(data)["token"]["project"]["id"]

    def another(self, source: str = "127.0.0.1") -> Client:
        twin = object.__new__(Client)
        twin.__dict__.update(self.__dict__, http=Http(self.floe.port, source))
        return twin

    async def ask(self, method: str, path: str, body: Any = None, expect: int = 200, **headers: str) -> Any:
        headers = {"x_auth_token": self.token, "x_openstack_nova_api_version": "2.96", **headers}
        status, _, data = await self.http.call(method, path, body, **headers)
        if status != expect:
            raise SystemExit(f"bench: {method} {path} gave {status}, not {expect}: {data[:500]!r}")
        return json.loads(data) if data else None


async def prepare(client: Client, admin: Client) -> tuple[str, str]:
    """Raise the quota, upload an image; return image and flavor id."""
    limits = {"instances": -1, "cores": -1, "ram": -1}
    await admin.ask("PUT", f"/compute/v2.1/os-quota-sets/{client.project}", {"quota_set": limits})
    await admin.ask("PUT", f"/network/v2.0/quotas/{client.project}", {"quota": {"port": -1}})
    image = {"name": "bench", "disk_format": "raw", "container_format": "bare", "min_disk": 0, "min_ram": 0}
    made = await client.ask("POST", "/image/v2/images", image, 201)
    await client.ask("PUT", made["file"].replace("/v2", "/image/v2", 1), b"\0" * 2**20, 204,
                     content_type="application/octet-stream")  # fmt: skip
    flavors = await client.ask("GET", "/compute/v2.1/flavors")
    return made["id"], next(f["id"] for f in flavors["flavors"] if f["name"] == "m1.nano")


async def upload(client: Client, image: bytes) -> str:
    """Return the id of a new image, a qcow2 file, that real guests boot."""
    kind = {"name": "guest", "disk_format": "qcow2", "container_format": "bare"}
    made = await client.ask("POST", "/image/v2/images", kind, 201)
    path = made["file"].replace("/v2", "/image/v2", 1)
    await client.ask("PUT", path, image, 204, content_type="application/octet-stream")
    return str(made["id"])


async def create(client: Client, image: str, flavor: str, name: str, **more: Any) -> tuple[str, float]:
    began = time.perf_counter()
    body = {"server": {"name": name, "imageRef": image, "flavorRef": flavor, "networks": "auto", **more}}
    made = await client.ask("POST", "/compute/v2.1/servers", body, 202)
    return made["server"]["id"], time.perf_counter() - began


async def active(client: Client, server: str, pause: float = 0.005) -> None:
    for _ in range(4000):
        shown = (await client.ask("GET", f"/compute/v2.1/servers/{server}"))["server"]
        if shown["status"] == "ACTIVE":
            return
        if shown["status"] == "ERROR":
            raise SystemExit(f"bench: server {server} is in ERROR: {shown.get('fault')}")
        await asyncio.sleep(pause)
    raise SystemExit(f"bench: server {server} is not ACTIVE after {4000 * pause:g} s")


async def gone(client: Client, server: str, pause: float = 0.005) -> None:
    for _ in range(4000):
        status, _, _ = await client.http.call("GET", f"/compute/v2.1/servers/{server}", x_auth_token=client.token)
        if status == 404:
            return
        await asyncio.sleep(pause)
    raise SystemExit(f"bench: server {server} is not gone after {4000 * pause:g} s")
