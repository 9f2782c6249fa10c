"""What `floe audit` prints, and its exit status."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from floe.cli import main

BAD = {"rule": "a server is stuck", "subject": "5e0c", "text": "building/[spawning]"}


def _clouds(folder: Path, url: str) -> None:
    auth = {"auth_url": f"{url}/identity", "username": "admin", "password": "p", "user_domain_name": "Default"}
    lines = ["clouds:", "  floe-admin:", "    auth:", *(f"      {key}: {json.dumps(auth[key])}" for key in auth)]
    (folder / "clouds.yaml").write_text("\n".join(lines) + "\n")


class _Answers(BaseHTTPRequestHandler):
    answer: dict[str, Any]
    asked: list[str]

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.asked.append(f"{self.command} {self.path}")
        body = json.dumps(self.answer).encode()
        self.send_response(200)
        self.send_header("x-subject-token", "t")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[type[_Answers]]:
    kind = type("Answers", (_Answers,), {"asked": [], "answer": {}})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _clouds(tmp_path, f"http://127.0.0.1:{server.server_port}")
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


def test_nothing_found_is_said_and_is_status_0(cloud: type[_Answers], tmp_path: Path, capsys: Any) -> None:
    cloud.answer = {"violations": []}
    assert main(["audit", "--state", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing found\n"
    assert cloud.asked[-1] == "GET /floe/v1/audit"


def test_each_violation_is_a_line_and_the_status_1(cloud: type[_Answers], tmp_path: Path, capsys: Any) -> None:
    cloud.answer = {"violations": [BAD]}
    assert main(["audit", "--state", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("found: 1")
    assert lines[-1].split("  ")[0] == "a server is stuck"
    assert "building/[spawning]" in lines[-1]


def test_a_long_violation_stays_one_line_where_no_terminal_is(
    cloud: type[_Answers], tmp_path: Path, capsys: Any
) -> None:
    long = {"rule": "a rule of some words " * 3 + "end", "subject": "s" * 36, "text": "what it is about " * 5 + "end"}
    cloud.answer = {"violations": [long]}
    assert main(["audit", "--state", str(tmp_path)]) == 1
    line = capsys.readouterr().out.splitlines()[-1]
    assert [part in line for part in long.values()] == [True, True, True]


def test_what_was_mended_is_no_failure(cloud: type[_Answers], tmp_path: Path, capsys: Any) -> None:
    cloud.answer = {"done": ["host h is sent its whole network"], "mended": [BAD], "violations": []}
    assert main(["audit", "--repair", "--state", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("done: host h is sent its whole network\n")
    assert out.endswith("nothing is left\n")
    assert cloud.asked[-1] == "POST /floe/v1/audit/repair"


def test_what_is_left_after_a_repair_is_a_failure(cloud: type[_Answers], tmp_path: Path, capsys: Any) -> None:
    cloud.answer = {"done": [], "mended": [], "violations": [BAD]}
    assert main(["audit", "--repair", "--json", "--state", str(tmp_path)]) == 1
    assert json.loads(capsys.readouterr().out) == cloud.answer


def test_a_cloud_that_does_not_answer_is_status_2(tmp_path: Path, capsys: Any) -> None:
    assert main(["audit", "--state", str(tmp_path)]) == 2
    _clouds(tmp_path, "http://127.0.0.1:1")
    assert main(["audit", "--state", str(tmp_path)]) == 2
    assert "does not answer" in capsys.readouterr().err
