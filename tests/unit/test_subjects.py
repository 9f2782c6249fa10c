"""Names in subjects: each has one of its own, and none means more than itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.bus import subjects
from floe.core.errors import Invalid
from floe.core.messages import ActionWaits, Heartbeat, HostDown

NAMES = st.text(min_size=1, max_size=300)


@given(NAMES, NAMES)
def test_two_names_never_share_a_token(one: str, other: str) -> None:
    assert (subjects.token(one) == subjects.token(other)) is (one == other)


@given(NAMES)
def test_a_token_is_one_word_without_a_meaning_and_short_enough(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_%-]{1,128}", subjects.token(name))


@given(st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True))
def test_a_usual_name_stands_as_it_is(name: str) -> None:
    assert subjects.token(name) == name


@pytest.mark.parametrize(
    ("one", "other"), [("a.b", "a%2Eb"), ("a b", "a%20b"), ("é", "%C3%A9"), ("h" * 129, "h" * 130)]
)
def test_a_name_that_looks_like_anothers_token_is_another(one: str, other: str) -> None:
    assert subjects.token(one) != subjects.token(other)
    assert subjects.token(subjects.token(one)) != subjects.token(one)


def test_no_name_is_refused() -> None:
    with pytest.raises(Invalid, match="empty"):
        subjects.token("")


@given(NAMES)
def test_who_speaks_is_read_from_each_subject_of_a_host(name: str) -> None:
    for subject in (
        subjects.event(Heartbeat(host=name)),
        subjects.event(HostDown(host=name)),
        subjects.part(HostDown(host=name)),
        subjects.here(name),
        subjects.commands(name),
    ):
        assert subjects.speaker(subject) == subjects.token(name)
    assert subjects.speaker(subjects.event(ActionWaits(action_id=name))) == ""


def test_subjects_are_what_they_were() -> None:
    """The release before speaks under these."""
    said = [subjects.commands("h.1"), subjects.answer("h.1", "c-1", 7), subjects.answers("c-1"), subjects.here("h.1")]
    assert said == ["floe.do.h%2E1", "_R.h%2E1.c-1.7", "_R.*.c-1.*", "floe.here.h%2E1"]
    host = Heartbeat(host="h1"), HostDown(host="h1"), ActionWaits(action_id="a")
    assert [subjects.event(event) for event in host] == ["floe.all.h1", "floe.one.h1", "floe.one"]
    assert subjects.part(HostDown(host="one")) == "floe.part.one"
