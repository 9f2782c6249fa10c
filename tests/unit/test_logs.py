"""What is logged is one line an event, and cannot be made to fill the disk."""

from __future__ import annotations

import logging

import pytest

from floe.logs import Rarely, configure


def test_what_a_tenant_named_is_no_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure("info")
        logging.getLogger("floe").warning(
            "image %s is gone", "x\n2030-01-01T00:00:00Z ERROR floe: a lie\x1b[2J\x85\u2028"
        )
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and len(said.splitlines()) == 1
    assert "image x\\x0a2030" in said and "\\x1b[2J\\x85\\u2028" in said


def test_a_kind_is_said_once_and_again_after_a_quiet_minute_with_its_count(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    rarely = Rarely(logging.getLogger("floe.test"), clock=lambda: now)
    for _ in range(1000):
        rarely.warning("a", "no room for %s", "x")
        now += 1
    rarely.warning("b", "another kind")
    assert [record.getMessage() for record in caplog.records] == ["no room for x", "another kind"]
    now += 60
    rarely.warning("a", "no room for %s", "y")
    assert caplog.records[-1].getMessage() == "no room for y (999 more since it was last said)"
    now += 60
    rarely.error("a", "no room for %s", "z")
    assert caplog.records[-1].getMessage() == "no room for z"
    assert caplog.records[-1].levelname == "ERROR"
