"""Times are shown alike, whether they come as moments or as they are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from floe.core.clock import iso, iso_micro, iso_micro_of, iso_of
from floe.store.schema import moment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEPT = st.integers(0, 253_402_300_799_999_999)


@given(KEPT)
def test_a_time_is_written_alike_as_a_moment_and_as_it_is_kept(kept: int) -> None:
    when = EPOCH + timedelta(microseconds=kept)
    assert iso_of(kept) == iso(when)
    assert iso_micro_of(kept) == iso_micro(when)


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_moment_that_was_kept_is_the_same_again(kept: int) -> None:
    when = moment(kept)
    assert when is not None
    assert (when - EPOCH) // timedelta(microseconds=1) == kept
