"""Names compared without case: a relation that every name is in with itself, whichever way it is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from floe.core.names import fold, same_name


@given(st.text(), st.text())
def test_folding_is_done_once_and_tells_equal_from_unequal(one: str, other: str) -> None:
    assert fold(fold(one)) == fold(one)
    assert same_name(one, other) == (fold(one) == fold(other)) == same_name(other, one)


@given(st.text(st.characters(codec="ascii")))
def test_ascii_names_are_the_same_in_capitals(name: str) -> None:
    assert same_name(name, name.upper())
    assert same_name(name, name.swapcase())
