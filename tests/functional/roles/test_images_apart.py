"""Hosts that see no image store, and APIs that share a bucket: what one of them leaves, another one goes on with."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats_server import NatsServer
from role_processes import RoleProcess, Roles, role_processes, until
from s3_server import BUCKET, KEYS, S3Server, s3_server

DATA = os.urandom(32 << 20)
MIB = 1 << 20


class Gate:
    """A way to an API that stops after so many bytes of answers, until it is told to go on."""

    def __init__(self, url: str, most: int) -> None:
        self._port, self._most = int(url.rpartition(":")[2]), most
        self.stopped, self.go_on = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.go_on.set()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                asking, _ = self._listener.accept()
                with asking, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as api:
                    api.sendall(asking.recv(1 << 16))
                    self._pass_on(api, asking)

    def _pass_on(self, api: socket.socket, asking: socket.socket) -> None:
        passed = 0
        while data := api.recv(1 << 16):
            asking.sendall(data)
            passed += len(data)
            if passed >= self._most:
                self.stopped.set()
                self.go_on.wait()


def upload(http: httpx.Client, content: Any = DATA) -> str:
    made = http.post("/image/v2/images", json={"disk_format": "raw", "container_format": "bare", "name": "x"}).json()
    data = {"content-type": "application/octet-stream"}
    put = http.put(f"/image/v2/images/{made['id']}/file", content=content, headers=data)
    assert put.status_code == 204, put.text
    return str(made["id"])


def create(http: httpx.Client, image_id: str) -> str:
    body = {"name": "x", "imageRef": image_id, "flavorRef": "1", "networks": "none"}
    reply = http.post("/compute/v2.1/servers", json={"server": body})
    assert reply.status_code == 202, reply.text
    return f"/compute/v2.1/servers/{reply.json()['server']['id']}"


def active(http: httpx.Client, server: str) -> bool:
    found = http.get(server).json()["server"]
    assert found["status"] in {"BUILD", "ACTIVE"}, found
    return bool(found["status"] == "ACTIVE")


def answers(api: RoleProcess, status: int) -> int:
    """Return how many requests for the bytes of images an API answered so."""
    lines = httpx.get(f"{api.url}/metrics").text.splitlines()
    of_it = [line for line in lines if line.startswith("floe_http_requests_total") and 'surface="floe"' in line]
    return sum(int(float(line.split()[-1])) for line in of_it if f'status="{status}"' in line)


def cached(agent_state: Path) -> Path:
    return agent_state / "hosts" / "images" / hashlib.sha512(DATA).hexdigest()


def test_a_fetch_from_an_api_that_is_killed_goes_on_at_the_next_one(
    tmp_path: Path, nats: NatsServer, database: str
) -> None:
    with role_processes(tmp_path, nats.url, database) as roles:
        first, conductor = roles.start("api", "1").ready(), roles.start("conductor").ready()
        second = roles.start("api", "2").ready()
        gate, state = Gate(first.url, 8 * MIB), tmp_path / "elsewhere"
        agent = roles.start("agent", "h1", "--state", str(state), "--images-from", f"{gate.url},{second.url}").ready()
        until(lambda: conductor.healthz()[1].get("hosts") == "ok", lambda: conductor.log)
        try:
            with roles.client(second) as http:
                server = create(http, upload(http))
                assert gate.stopped.wait(90), agent.log
                first.kill()
                gate.go_on.set()
                until(lambda: active(http, server), lambda: agent.log)
        finally:
            gate.close()
        assert answers(second, 206) == 1
        assert answers(second, 200) == 0
        assert cached(state).read_bytes() == DATA
        assert [process.log.count("Traceback") for process in (second, conductor, agent)] == [0, 0, 0]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


def in_the_bucket(s3: S3Server) -> tuple[str, str]:
    return "--blobs", f"s3://{BUCKET}/cloud1?endpoint={s3.endpoint}"


def apis_of_a_bucket(roles: Roles, s3: S3Server, other: Path) -> tuple[RoleProcess, RoleProcess]:
    """Start two APIs that share no folder."""
    blobs = in_the_bucket(s3)
    first = roles.start("api", "1", *blobs, **KEYS).ready()
    other.mkdir(mode=0o700)
    shutil.copy(roles.state / "secrets.json", other / "secrets.json")
    return first, roles.start("api", "2", *blobs, "--state", str(other), **KEYS).ready()


def test_apis_that_share_a_bucket_alone_have_the_same_images(
    tmp_path: Path, nats: NatsServer, postgres: Any, s3: S3Server
) -> None:
    url = postgres.copy_of("template0")
    with role_processes(tmp_path, nats.url, url) as roles:
        first, second = apis_of_a_bucket(roles, s3, tmp_path / "other")
        blobs, state = in_the_bucket(s3), tmp_path / "elsewhere"
        conductor = roles.start("conductor", "", *blobs).ready()  # without keys
        agent = roles.start("agent", "h1", *blobs, "--state", str(state), "--images-from", second.url).ready()
        until(lambda: conductor.healthz()[1].get("hosts") == "ok", lambda: conductor.log)
        for process in (conductor, agent):
            assert "obstore" not in Path(f"/proc/{process.process.pid}/maps").read_text()
        with roles.client(first) as at_first, roles.client(second) as at_second:
            image = upload(at_first)
            assert at_second.get(f"/image/v2/images/{image}/file").content == DATA
            part = at_second.get(f"/image/v2/images/{image}/file", headers={"range": "bytes=8388600-8388615"})
            assert part.content == DATA[8_388_600:8_388_616]
            server = create(at_first, image)
            until(lambda: active(at_first, server), lambda: agent.log)
            assert cached(state).read_bytes() == DATA
            assert not any((folder / "images").exists() for folder in (roles.state, tmp_path / "other", state))
            assert at_second.delete(f"/image/v2/images/{image}").status_code == 204
            until(lambda: not s3.names(), "what was deleted is still there")
        assert [process.log.count("Traceback") for process in roles.all] == [0] * 4
    postgres.drop(url)


def test_what_an_api_that_was_killed_had_put_into_the_bucket_is_removed(
    tmp_path: Path, nats: NatsServer, postgres: Any, s3: S3Server
) -> None:
    url, over = postgres.copy_of("template0"), threading.Event()

    def slowly() -> Iterator[bytes]:
        yield from (bytes(MIB) for _ in range(9))
        over.wait()

    with role_processes(tmp_path, nats.url, url) as roles:
        first, second = apis_of_a_bucket(roles, s3, tmp_path / "other")

        def doomed() -> None:
            with suppress(httpx.HTTPError), roles.client(first) as http:
                upload(http, slowly())

        uploading = threading.Thread(target=doomed)
        uploading.start()
        until(lambda: any(".00000" in name for name in s3.names()), "no piece was put")
        first.kill()
        over.set()
        uploading.join()
        assert s3.names()
        roles.start("api", "1", *in_the_bucket(s3), **KEYS).ready()
        until(lambda: not s3.names(), "what was left is still there")
        with roles.client(second) as http:
            (image,) = http.get("/image/v2/images").json()["images"]
            assert image["status"] == "queued"
    postgres.drop(url)


def passing_on(port: int, to: int) -> socket.socket:
    """Listen at a port and pass on whatever comes there, and whatever is answered."""
    listener = socket.create_server(("127.0.0.1", port))

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                asking, _ = listener.accept()
                answering = socket.create_connection(("127.0.0.1", to))
                for ends in ((asking, answering), (answering, asking)):
                    threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_an_api_whose_bucket_is_away_starts_says_so_and_serves_all_else_until_it_is_back(
    tmp_path: Path, nats: NatsServer, s3: S3Server
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]  # at which nobody listens for now
    with role_processes(tmp_path, nats.url) as roles:
        api = roles.start("api", "1", "--blobs", f"s3://{BUCKET}/c?endpoint=http://127.0.0.1:{port}", **KEYS).ready()
        status, parts = api.healthz()
        assert (status, parts["images"].partition(":")[0]) == (503, "The image store could not read")
        with roles.client(api) as http:
            assert http.get("/compute/v2.1/servers").status_code == 200
            made = http.post("/image/v2/images", json={"disk_format": "raw", "container_format": "bare", "name": "x"})
            file = f"/image/v2/images/{made.json()['id']}/file"
            data = {"content-type": "application/octet-stream"}
            refused = http.put(file, content=DATA[:MIB], headers=data)
            assert (refused.status_code, refused.headers.get("retry-after")) == (503, "5"), refused.text
            assert "image store could not" in refused.text
            with passing_on(port, int(s3.endpoint.rpartition(":")[2])):
                until(lambda: api.healthz()[1]["images"] == "ok", lambda: api.log)
                until(lambda: http.get(file.removesuffix("/file")).json()["status"] == "queued", lambda: api.log)
                sent = http.put(file, content=DATA[:MIB], headers=data)
                assert sent.status_code == 204, sent.text
                assert http.get(file).content == DATA[:MIB]
                http.delete(file.removesuffix("/file"))
                until(lambda: not s3.names(), "what was deleted is still there")
        assert "Debug source" not in api.log
        assert "Traceback" not in api.log
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in api.log


def test_an_agent_of_a_cloud_whose_images_are_in_a_bucket_needs_a_place_to_fetch_from(
    tmp_path: Path, nats: NatsServer
) -> None:
    with role_processes(tmp_path, nats.url) as roles:
        agent = roles.start("agent", "h1", "--blobs", "s3://floe-images/cloud1")
        assert agent.process.wait(timeout=90) == 2
        assert "images_from is not set: hosts have no keys to the object store" in agent.log
        assert "Traceback" not in agent.log
