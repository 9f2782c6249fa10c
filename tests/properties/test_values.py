"""One reader of whole numbers and one of moments: whatever the text, a value within the bounds, or Invalid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from floe.api.kit.values import MOST, moment, whole
from floe.core.errors import Invalid

SIGNS = st.sampled_from(["", "+", "-"])


@given(st.text())
@example("²")
@example("①")
@example("٣")
@example("1_000")
@example(" 7")
@example("7\n")
@example("9" * 5000)
@example("-" + "0" * 5000)
@example("")
@example("-")
def test_any_text_is_a_number_within_bounds_or_invalid(text: str) -> None:
    try:
        number = whole(text, "limit")
    except Invalid as error:
        assert "limit" in error.message
        assert len(error.message) < 400
    else:
        assert 0 <= number <= MOST
        assert text.isascii()


@given(st.integers(), SIGNS, st.integers(0, 30))
def test_digits_mean_what_they_say(number: int, sign: str, zeros: int) -> None:
    text = f"{sign}{'0' * zeros}{abs(number)}"
    meant = -abs(number) if sign == "-" else abs(number)
    if -(2**63) <= meant < 2**63:
        assert whole(text, "size", -(2**63), 2**63 - 1) == meant
    else:
        with pytest.raises(Invalid):
            whole(text, "size", -(2**63), 2**63 - 1)


@given(st.integers(-(10**5000), 10**5000))
@example(10**400)
def test_numbers_of_any_size_are_within_bounds_or_invalid(number: int) -> None:
    try:
        assert whole(number, "size", -1, 100) == number
    except Invalid as error:
        assert not -1 <= number <= 100
        assert len(error.message) < 400


@given(st.integers(0, 10**15))
def test_a_limit_is_cut_at_the_largest(number: int) -> None:
    assert whole(str(number), "limit", high=1000, cut=True) == min(number, 1000)


@given(st.text())
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-12:00")
@example("²0²0-01-01")
@example("2020-13-01")
@example("T")
def test_any_text_is_a_moment_or_invalid(text: str) -> None:
    try:
        found = moment(text, "changes-since")
    except Invalid as error:
        assert "changes-since" in error.message
    else:
        assert found.tzinfo is UTC


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_moment_is_read_in_its_zone_also_when_a_query_string_lost_the_plus(at: datetime, minutes: int) -> None:
    sent = at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert moment(sent.isoformat(), "start") == sent
    assert moment(sent.isoformat().replace("+", " "), "start") == sent


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
def test_a_moment_without_a_zone_is_utc(at: datetime) -> None:
    assert moment(at.isoformat(), "end") == at.replace(tzinfo=UTC)
