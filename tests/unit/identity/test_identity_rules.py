"""The pure rules of identity."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floe.core.catalogue import check_url, fill
from floe.core.errors import Invalid
from floe.core.roles import expand
from floe.core.users import MAX_PASSWORD, check_password


def test_a_role_brings_all_it_implies_at_any_distance() -> None:
    implied = {"admin": frozenset({"manager"}), "manager": frozenset({"member"}), "member": frozenset({"reader"})}
    assert expand(["manager"], implied) == {"manager", "member", "reader"}
    assert expand([], implied) == frozenset()


@given(
    st.dictionaries(st.sampled_from("abcd"), st.frozensets(st.sampled_from("abcd"))), st.sets(st.sampled_from("abcd"))
)
def test_implications_end_even_in_a_circle_and_what_is_expanded_stays(
    implied: dict[str, frozenset[str]], given_roles: set[str]
) -> None:
    wide = expand(given_roles, implied)
    assert given_roles <= wide
    assert expand(wide, implied) == wide


def test_an_endpoint_is_filled_in_or_left_out() -> None:
    assert fill("%(public_url)s/x", "http://cloud", None, "u1") == "http://cloud/x"
    assert fill("http://o/AUTH_%(project_id)s", "http://cloud", "p1", "u1") == "http://o/AUTH_p1"
    assert fill("http://o/$(tenant_id)s", "http://cloud", "p1", "u1") == "http://o/p1"
    assert fill("http://o/AUTH_%(project_id)s", "http://cloud", None, "u1") is None
    assert fill("http://o/%(user_id)s", "http://cloud", None, "u1") == "http://o/u1"
    assert fill("http://o/100%", "http://cloud", None, "u1") == "http://o/100%"


@pytest.mark.parametrize(
    "url", ["", "/x", "x", "http:", "http://x/%(password)s", "http://x/%()s", "http://x/%", "http://x/a%20b"]
)
def test_a_url_that_cannot_be_one_of_an_endpoint_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="url"):
        check_url(url)


def test_a_password_is_bounded() -> None:
    check_password("x" * MAX_PASSWORD)
    for text in ("", "x" * (MAX_PASSWORD + 1)):
        with pytest.raises(Invalid):
            check_password(text)
