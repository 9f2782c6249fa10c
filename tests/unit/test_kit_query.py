"""Tables of query strings."""

from __future__ import annotations

import pytest

from floe.api.kit.query import (
    MAX_BYTES,
    MAX_ITEMS,
    MAX_PARAMETERS,
    NO_QUERY,
    OPEN_QUERY,
    Param,
    Query,
    counted,
    items,
    pairs_of,
    shaped,
)
from floe.core.errors import Invalid

TABLE = Query(
    Param("limit", many=True, check=counted),
    Param("user_id", since=(2, 10)),
    Param("old", until=(2, 20)),
    Param("resources", since=(2, 30), suffix="[0-9]+"),
    Param("colour", check=shaped("red|blue", "red or blue")),
    closed=(2, 75),
)


def test_what_is_not_known_is_left_out_below_the_closing_version_and_refused_from_it_on() -> None:
    assert TABLE.known([("limit", "1"), ("nonsense", "x")], (2, 74)) == [("limit", "1")]
    with pytest.raises(Invalid, match=r"'nonsense'.*known here: colour, limit, resources, user_id\)"):
        TABLE.known([("limit", "1"), ("nonsense", "x")], (2, 75))


def test_a_parameter_is_known_between_its_versions_alone() -> None:
    both = [("user_id", "u"), ("old", "o")]
    assert TABLE.known(both, (2, 9)) == [("old", "o")]
    assert TABLE.known(both, (2, 20)) == both
    assert TABLE.known(both, (2, 21)) == [("user_id", "u")]


def test_a_single_one_is_refused_twice_and_another_may_be_repeated() -> None:
    assert TABLE.known([("limit", "1"), ("limit", "2")], (2, 1)) == [("limit", "1"), ("limit", "2")]
    with pytest.raises(Invalid, match="user_id: it may be given once only"):
        TABLE.known([("user_id", "a"), ("user_id", "a")], (2, 10))


def test_a_name_with_a_suffix_is_a_family() -> None:
    assert TABLE.known([("resources1", "x"), ("resources", "y"), ("resourcesA", "z")], (2, 30)) == [("resources1", "x")]
    assert TABLE.known([("resources1", "x")], (2, 29)) == []


@pytest.mark.parametrize("text", ["", " ", "-1", "²", "1.0", "9" * 5000])
def test_a_count_is_digits(text: str) -> None:
    with pytest.raises(Invalid, match="limit"):
        TABLE.known([("limit", text)], (2, 1))


def test_a_text_has_to_have_its_shape_as_a_whole() -> None:
    assert TABLE.known([("colour", "red")], (2, 1))
    for text in ("", "redder", "red\n", "RED"):
        with pytest.raises(Invalid, match=r"colour.*red or blue"):
            TABLE.known([("colour", text)], (2, 1))


def test_there_are_tables_that_know_nothing() -> None:
    assert OPEN_QUERY.known([("a", "b")], (2, 96)) == []
    with pytest.raises(Invalid):
        NO_QUERY.known([("a", "b")], (0, 0))


def test_a_query_string_has_a_bound() -> None:
    most = [f"a{number}=1" for number in range(MAX_PARAMETERS)]
    assert len(pairs_of("&".join(most).encode())) == MAX_PARAMETERS
    with pytest.raises(Invalid, match="has 65 parameters; at most 64"):
        pairs_of("&".join([*most, "b=1"]).encode())
    with pytest.raises(Invalid, match="'a' is given 51 times; at most 50"):
        pairs_of(b"&".join([b"a=1"] * (MAX_ITEMS + 1)))
    with pytest.raises(Invalid, match=f"at most {MAX_BYTES} are taken"):
        pairs_of(b"a=" + b"x" * MAX_BYTES)
    assert len(items(",".join(["x"] * MAX_ITEMS), "tags")) == MAX_ITEMS
    with pytest.raises(Invalid, match="'tags' lists 51 items; at most 50"):
        items(",".join(["x"] * (MAX_ITEMS + 1)), "tags")


@pytest.mark.parametrize("text", [b"a=%ff", b"a=%ed%a0%80", b"a=%c0%af", b"%f5=1", b"a=\xff"])
def test_what_is_not_utf_8_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid, match="UTF-8"):
        pairs_of(text)


def test_blanks_plus_signs_and_utf_8_are_read() -> None:
    assert pairs_of("a=&b=x+y&c=%C3%A9&d=é&e".encode()) == [("a", ""), ("b", "x y"), ("c", "é"), ("d", "é"), ("e", "")]
