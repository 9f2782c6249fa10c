"""Regular expressions mean to RE2, once translated, what they mean to Python; plain texts mean it to SQL too."""

from __future__ import annotations

import re
import warnings

import sqlalchemy as sa
from hypothesis import assume, given
from hypothesis import strategies as st

from floe.core.errors import Invalid
from floe.core.patterns import plain
from floe.store.patterns import Pattern
from floe.store.server_lists import contains

TEXT = st.text("aAbBéÉ1٣_- .%$^\\|(", max_size=8)
ATOM = st.sampled_from(
    [*"aAbé1_-% ", ".", r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\.", r"\\", r"\|", r"\%", "[ab]", "[^a]", r"[\d_]",
     r"[^\w]", r"[\W1]", "[a-]", "[]a]", "[[]", r"\x61", r"\u00e9", "^", "$"]
)  # fmt: skip
REPEAT = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,2}", "{,1}", "*?", "++", "?+"])


def _joined(parts: list[str]) -> str:
    return "".join(parts)


def _grouped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, min_size=1, max_size=3).map(_joined)
    group = st.builds("{}{})".format, st.sampled_from(["(", "(?:", "(?i:", "(?P<x>"]), several)
    return st.one_of(several, st.builds("{}{}".format, group, REPEAT), st.builds("{}|{}".format, several, several))


PATTERN = st.recursive(st.builds("{}{}".format, ATOM, REPEAT), _grouped, max_leaves=6)


@given(PATTERN, st.lists(TEXT, min_size=1, max_size=5))
def test_what_is_taken_means_what_it_means_to_python(pattern: str, texts: list[str]) -> None:
    try:
        ours = Pattern(pattern, "name")
    except Invalid:
        assume(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        try:
            theirs = re.compile(pattern, re.IGNORECASE)
        except re.error:
            assume(False)
    for text in texts:
        assert ours.fits(text) == (theirs.search(text) is not None or text == pattern), (pattern, text)


@given(TEXT.filter(lambda text: text != "" and plain(text) is not None), st.lists(TEXT, min_size=1, max_size=5))
def test_a_plain_text_means_the_same_to_sql(pattern: str, texts: list[str]) -> None:
    found = plain(pattern)
    assert found is not None
    ours = Pattern(pattern, "name")
    with sa.create_engine("sqlite://").connect() as conn:
        for text in texts:
            row = conn.execute(sa.select(contains(sa.literal(text), pattern, found))).scalar_one()
            assert bool(row) == ours.fits(text), (pattern, text)


@given(st.text(max_size=20))
def test_no_text_is_an_error_of_ours(pattern: str) -> None:
    try:
        Pattern(pattern, "name").fits(pattern)
    except Invalid as refused:
        assert "name" in refused.message
