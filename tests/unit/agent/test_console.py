"""The end of a console log."""

from __future__ import annotations

from pathlib import Path

import pytest

from floe.agent import console


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (None, "one\ntwo\r\nthree"),
        (1, "three"),
        (2, "two\r\nthree"),
        (3, "one\ntwo\r\nthree"),
        (99, "one\ntwo\r\nthree"),
        (0, ""),
    ],
)
def test_the_last_lines_are_shown(tmp_path: Path, lines: int | None, text: str) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"one\ntwo\r\nthree")
    assert console.read_tail(log, lines) == text


def test_a_final_newline_begins_no_line(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"one\ntwo\n")
    assert console.read_tail(log, 1) == "two\n"


def test_a_guest_that_wrote_nothing_shows_nothing(tmp_path: Path) -> None:
    assert console.read_tail(tmp_path / "none") == ""


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"a\xffb \xe2\x82\xac")
    assert console.read_tail(log) == "a\ufffdb €"


def test_at_most_a_mebibyte_is_shown_and_no_half_character(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes("€".encode() * 500_000)
    text = console.read_tail(log)
    assert set(text) == {"€"}
    assert console.MOST - 3 < len(text.encode()) <= console.MOST


def test_a_log_that_grew_too_long_is_cut_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * (5 * console.MOST) + b"the end")
        assert console.trim(log)
        assert log.stat().st_size == console.MOST
        writer.write(b" goes on")
    assert console.read_tail(log).endswith("xxthe end goes on")
    assert not console.trim(log)
