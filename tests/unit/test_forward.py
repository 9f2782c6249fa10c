"""`floe forward`: what may be asked of it, what it says where it cannot be done, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest

from floe.cli import forward, main
from floe.cli.credentials import clouds, clouds_yaml
from floe.cli.relay import Way

IDENT, NETWORK = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
FIXED = {"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"}
FLOATING = {"addr": "127.0.0.1", "version": 4, "OS-EXT-IPS:type": "floating"}
SIXTH = {"addr": "fd00::5", "version": 6, "OS-EXT-IPS:type": "fixed"}
WEB = {"id": IDENT, "name": "web", "status": "ACTIVE", "addresses": {"n": [FIXED, FLOATING]}}


class Answers(BaseHTTPRequestHandler):
    """The replies of a cloud to the few calls that are made."""

    servers: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self._reply({}, 201, {"x-subject-token": "t"})

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path.endswith("/servers"):
            return self._reply({"servers": [each for each in self.servers if re.escape(each["name"]) in query]})
        if path.startswith("/network"):
            port = {"network_id": NETWORK, "fixed_ips": [{"ip_address": FIXED["addr"]}]}
            return self._reply({"ports": [port]})
        found = [each for each in self.servers if path.endswith(each["id"])]
        if not found:
            return self._reply({"itemNotFound": {"code": 404, "message": "Instance could not be found."}}, 404)
        return self._reply({"server": found[0]})

    def _reply(self, body: Any, status: int = 200, headers: Any = ()) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[list[dict[str, Any]]]:
    """Give the servers of a cloud, to be changed."""
    Answers.servers = []
    yield Answers.servers


@pytest.fixture
def state(servers: list[Any]) -> Iterator[Path]:
    """Give the state directory of a cloud that answers; everybody may look into it."""
    with TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        found, url = Path(folder), f"http://127.0.0.1:{server.server_address[1]}/identity/v3"
        found.chmod(0o755)
        (found / "clouds.yaml").write_text(clouds_yaml(clouds(url, "r", {"demo": "d", "admin": "a"})))
        yield found
        server.shutdown()


def refused(capsys: pytest.CaptureFixture[str], state: Path, *words: str) -> str:
    """Return the one line that is said."""
    assert main(["forward", "--state", str(state), *words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("floe: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("floe: ").rstrip()


@pytest.mark.parametrize("ports", ["0", "x", "65536", "22:", "1:2:3", "65536:22", "-1", "2222:0", "", "٢٢", "123456"])
def test_what_is_no_port_is_named(ports: str, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, state, "--", "web", ports)
    assert said == f"{ports!r} is no port: give one like 22, or with the one here before it, like 2222:22."


@pytest.mark.parametrize("words", [[], ["web"], ["web", "22", "--nonsense"]])
def test_too_few_words_and_unknown_flags_are_answered_with_the_usage(
    words: list[str], state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["forward", "--state", str(state), *words])
    assert ended.value.code == 2
    assert "usage: floe forward" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--address", "nowhere"), "--address must be an address of this machine, like 127.0.0.1 (it is 'nowhere')."),
        (("--address", "192.0.2.1"), "Port 0 of 192.0.2.1 cannot be had: Cannot assign requested address."),
        (("--cloud", "mine"), "There is no cloud 'mine' in clouds.yaml: floe, floe-admin, floe-system-admin."),
    ],
)
def test_what_cannot_be_is_said(
    words: tuple[str, str], said: str, state: Path, servers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    servers.append(WEB)
    assert refused(capsys, state, *words, "web", "22") == said


def test_a_port_that_is_taken_is_named_once(
    state: Path, servers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    servers.append(WEB)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = refused(capsys, state, "web", f"{port}:22")
    assert said == f"Port {port} of 127.0.0.1 cannot be had: Address already in use."
    assert refused(capsys, state, "web", f"{port}:22", f"{port}:23") == said


def test_servers_that_are_not_there_and_those_without_an_address_are_told_apart(
    state: Path, servers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "web" in refused(capsys, state, "web", "22")
    assert refused(capsys, state, IDENT, "22") == "Instance could not be found."
    servers.append({**WEB, "status": "BUILD", "addresses": {}})
    said = "Server web (BUILD) has no address yet that it could be reached at."
    assert refused(capsys, state, "web", "22") == said
    servers[0]["addresses"] = {"n": [SIXTH]}
    assert refused(capsys, state, IDENT, "22") == said


def test_a_cloud_that_is_away_and_one_that_never_was_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "floe up writes it at its first start" in refused(capsys, tmp_path, "web", "22")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    text = clouds_yaml(clouds(f"http://127.0.0.1:{port}/identity/v3", "r", {"demo": "d", "admin": "a"}))
    (tmp_path / "clouds.yaml").write_text(text)
    assert "Is `floe up` running?" in refused(capsys, tmp_path, "web", "22")


def test_a_network_is_entered_by_root_alone(
    state: Path, servers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    servers.append({**WEB, "addresses": {"n": [FIXED]}})
    if os.geteuid() == 0:
        assert NETWORK in refused(capsys, state, "web", "22")
        os.seteuid(65534)
    try:
        said = refused(capsys, state, "web", "22")
    finally:
        os.seteuid(os.getuid())
    assert said == "floe forward needs root, to make and enter network and mount namespaces; run it with sudo."


def test_what_users_named_does_nothing_to_a_terminal(
    state: Path, servers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    servers.append({**WEB, "name": "\x1b]0;w\x07", "addresses": {}})
    assert "\x1b" not in refused(capsys, state, IDENT, "22")


def test_what_leads_where_is_said_with_brackets_around_an_address_of_ipv6(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        target = forward.Target(server="web", address="10.0.0.5")
        forward._say(target, [Way(listener, target.address, 22)], as_json=False)
        port = listener.getsockname()[1]
    assert capsys.readouterr().out == f"[::1]:{port} leads to web (10.0.0.5:22)\nCtrl-C ends it.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_carries_until_it_is_told_to_end_and_ends_well(
    number: signal.Signals, state: Path, servers: list[Any]
) -> None:
    servers.append(WEB)
    with socket.create_server(("127.0.0.1", 0)) as guest:
        port = guest.getsockname()[1]
        command = [sys.executable, "-m", "floe", "forward", "--state", str(state), "--json", "web", str(port), "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            there, refusing = json.loads(process.stdout.readline())["forwards"]
            assert (there["address"], there["to"], there["to_port"]) == ("127.0.0.1", "127.0.0.1", port)
            with socket.create_connection(("127.0.0.1", there["port"]), timeout=30) as client:
                client.sendall(b"hello")
                carried, _ = guest.accept()
                with carried:
                    assert carried.recv(5) == b"hello"
                    with socket.create_connection(("127.0.0.1", refusing["port"]), timeout=30) as other:
                        assert other.recv(1) == b""
                    assert process.stderr.readline() == "floe: web (127.0.0.1:1): Connection refused\n"
                    process.send_signal(number)
                    assert process.wait(30) == 0
                    assert carried.recv(1) == b""
            assert process.stderr.read() == ""
