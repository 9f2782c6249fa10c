"""What a host remembers of passwords that its guests posted, whatever it is told, in which order, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.agent.ledger import REMEMBERED, Ledger
from floe.agent.ledger_entries import Posted
from floe.core.clock import FixedClock
from floe.core.errors import Conflict, HostFailure, NotFound
from floe.core.guest_metadata import fingerprint
from floe.core.guest_passwords import believable
from floe.core.guests import GuestMetadata

from .test_ledger import DONE, destroy, spawn

IDENT = "server-1"
BARE = spawn().guest.metadata


def told(turn: int, password: str | None = None) -> GuestMetadata:
    return replace(BARE, password=password, password_turn=turn)


def build(ledger: Ledger) -> None:
    ledger.begin(spawn())
    ledger.settle(spawn(), DONE)


def of(ledger: Ledger) -> tuple[str | None, int]:
    known = ledger.passwords.of(IDENT)
    return known.password, known.turn


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """One with a guest that was built."""
    with closing(Ledger(path, FixedClock())) as made:
        build(made)
        yield made


def again(path: Path) -> Ledger:
    """Return what is remembered at the next start, to be looked at."""
    found = Ledger(path, FixedClock())
    found.drop()
    return found


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_posted_is_there_again_and_still_to_be_said(ledger: Ledger, path: Path, compacted: bool) -> None:
    ledger.passwords.post(IDENT, "a\0☃")
    if compacted:
        ledger.compact()
    found = again(path)
    assert of(found) == ("a\0☃", 1)
    assert found.passwords.due() == [Posted(server_id=IDENT, password="a\0☃", turn=1)]
    with pytest.raises(Conflict):
        found.passwords.post(IDENT, "b")
    ledger.tell(IDENT, told(1, "a\0☃"))
    ledger.compact()
    assert again(path).passwords.due() == []


def test_a_line_that_was_cut_off_was_never_answered(ledger: Ledger, path: Path) -> None:
    before = path.stat().st_size
    ledger.passwords.post(IDENT, "a")
    whole = path.read_bytes()
    for length in range(before, len(whole)):
        path.write_bytes(whole[:length])
        assert of(again(path)) == (None, 0)


def test_what_the_disk_would_not_have_is_not_taken(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.ftruncate", lambda *_: None)
    with Path("/dev/full").open("wb", buffering=0) as full:
        real, ledger._file = ledger._file, full
        with pytest.raises(HostFailure):
            ledger.passwords.post(IDENT, "a")
    ledger._file = real
    assert of(ledger) == (None, 0) and ledger.passwords.due() == []
    ledger.passwords.post(IDENT, "b")
    assert of(ledger) == ("b", 1)


def test_a_guest_that_is_gone_has_none_and_one_in_its_place_begins_with_none(ledger: Ledger) -> None:
    ledger.passwords.post(IDENT, "a")
    ledger.destroyed(destroy(action="a1", final=False))
    assert ledger.passwords.due() == []
    with pytest.raises(NotFound):
        ledger.passwords.post(IDENT, "b")
    ledger.begin(spawn(action="a2"))
    assert of(ledger) == (None, 0)


@pytest.mark.parametrize("compacted", [False, True])
def test_what_was_not_said_of_a_guest_that_went_is_kept_until_its_server_is_here_again_or_no_more(
    ledger: Ledger, path: Path, compacted: bool
) -> None:
    ledger.passwords.post(IDENT, "a")
    ledger.destroyed(destroy(action="a1", final=False))
    if compacted:
        ledger.compact()
    left = Posted(server_id=IDENT, password="a", turn=1)
    assert ledger.passwords.left(IDENT) == again(path).passwords.left(IDENT) == left
    assert ledger.passwords.due() == []
    ledger.begin(spawn(action="a2"))
    assert ledger.passwords.left(IDENT) is again(path).passwords.left(IDENT) is None


@pytest.mark.parametrize("final", [False, True])
def test_what_was_kept_of_a_guest_that_went_is_forgotten_with_it(path: Path, final: bool) -> None:
    clock = FixedClock()
    with closing(Ledger(path, clock)) as ledger:
        build(ledger)
        ledger.passwords.post(IDENT, "a")
        ledger.destroyed(destroy(action="a1", final=False))
        ledger.compact()
        assert ledger.passwords.left(IDENT) is not None
        if final:
            ledger.destroyed(destroy(action="a3"))
        else:
            clock.advance(REMEMBERED + 1)
        ledger.compact()
        assert ledger.passwords.left(IDENT) is None and b"posted" not in path.read_bytes()


def test_what_was_said_is_not_kept_of_a_guest_that_went(ledger: Ledger) -> None:
    ledger.passwords.post(IDENT, "a")
    ledger.tell(IDENT, told(1, "a"))
    ledger.destroyed(destroy(action="a1", final=False))
    assert ledger.passwords.left(IDENT) is None


def test_a_build_that_is_asked_for_again_takes_nothing_away(ledger: Ledger, path: Path) -> None:
    """Its guest runs since the build before: what that was made with may be older than what is known."""
    ledger.passwords.post(IDENT, "a")
    ledger.begin(spawn(), present=True)
    assert of(ledger) == ("a", 1)
    assert of(again(path)) == ("a", 1)


def test_many_are_said_in_turns(ledger: Ledger) -> None:
    for number in range(30):
        ledger.begin(spawn(number))
        ledger.passwords.post(f"server-{number}", f"p{number}")
    said = [posted.password for _ in range(3) for posted in ledger.passwords.due()]
    assert len(said) == 60 and all(said.count(f"p{number}") == 2 for number in range(30))


def test_a_guest_without_one_is_what_earlier_releases_take_it_for() -> None:
    assert fingerprint(BARE) == "3a7fa3f9e3ce9f1a"
    assert len({fingerprint(told(turn)) for turn in range(3)} | {fingerprint(told(1, "a"))}) == 4


WORDS = st.one_of(
    st.just(("post", 0)),
    st.tuples(st.just("clear"), st.just(0)),
    st.tuples(st.sampled_from(["tell", "say", "restart", "restore"]), st.integers(0, 30)),
)


@settings(max_examples=150, deadline=None)
@given(words=st.lists(WORDS, max_size=25))
def test_row_and_host_agree_in_the_end_and_nothing_that_was_cleared_comes_back(
    words: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is told and said late, twice, out of order, or not at all, over restarts and restored databases."""
    path = tmp_path_factory.mktemp("ledger") / "l"
    ledger = Ledger(path, FixedClock())
    build(ledger)
    row: tuple[str | None, int] = (None, 0)
    rows, said = [row], [(None, 0)]
    latest, cleared = None, set[Any]()

    def take(event: tuple[str | None, int]) -> None:
        nonlocal row
        if believable(*event) and event[1] > row[1]:
            row = event
            rows.append(row)

    for number, (word, pick) in enumerate(words):
        if word == "post":
            try:
                ledger.passwords.post(IDENT, f"p{number}")
                latest = f"p{number}"
            except Conflict:
                assert of(ledger)[0] is not None
            said.append(of(ledger))
        elif word == "clear" and row[1] % 2:
            cleared.add(row[0])
            row = (None, row[1] + 1)
            rows.append(row)
        elif word == "tell":
            ledger.tell(IDENT, told(rows[pick % len(rows)][1], rows[pick % len(rows)][0]))
        elif word == "say":
            take(said[pick % len(said)])
        elif word == "restart":
            ledger.drop()
            ledger = Ledger(path, FixedClock())
        elif word == "restore":
            row = rows[pick % len(rows)]
        assert row[0] is None or row[0] not in cleared or word == "restore" or "restore" in dict(words)
        assert of(ledger)[0] is not None or latest is None or latest in cleared
    for posted in ledger.passwords.due():
        take((posted.password, posted.turn))
    ledger.tell(IDENT, told(row[1], row[0]))
    for posted in ledger.passwords.due():
        take((posted.password, posted.turn))
    ledger.tell(IDENT, told(row[1], row[0]))
    assert ledger.passwords.due() == [] and of(ledger) == row
    assert row[0] == latest or latest in cleared
    ledger.drop()


@pytest.mark.parametrize(
    ("password", "turn", "so"),
    [
        ("a", 1, True),
        (None, 2, True),
        (None, 0, True),
        ("a", 2, False),
        (None, 1, False),
        ("", 1, False),
        ("a", -1, False),
        ("a", 2**31 + 1, False),
        ("a" * 1021, 1, False),
        ("☃" * 340, 1, True),
        ("☃" * 341, 1, False),
        ("\ud800", 1, True),
    ],
)
def test_of_what_a_host_says_only_what_a_guest_can_have_done_is_believed(
    password: str | None, turn: int, so: bool
) -> None:
    assert believable(password, turn) is so
