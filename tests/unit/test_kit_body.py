from __future__ import annotations

from typing import Any

import pytest

from floe.api.kit.body import Body, Field, Name
from floe.core.errors import Invalid

SERVER = Body(
    "server",
    [
        Field("name", Name, required=True),
        Field("OS-DCF:diskConfig", str),
        Field("description", str | None, since=(2, 19)),
        Field("personality", list[dict[str, Any]], until=(2, 56)),
        Field("ports", list[int]),
    ],
    siblings=[Field("os:scheduler_hints", dict[str, Any])],
)


def test_what_was_sent_is_returned_by_its_wire_name_and_nothing_else() -> None:
    body = b'{"server": {"name": "a", "OS-DCF:diskConfig": "AUTO"}, "os:scheduler_hints": {"group": "g"}}'
    assert SERVER.read(body, (2, 1)) == {
        "name": "a",
        "OS-DCF:diskConfig": "AUTO",
        "os:scheduler_hints": {"group": "g"},
    }


def test_a_field_is_known_from_its_version_on() -> None:
    body = b'{"server": {"name": "a", "description": null}}'
    assert SERVER.read(body, (2, 19)) == {"name": "a", "description": None}
    with pytest.raises(Invalid, match="description"):
        SERVER.read(body, (2, 18))


def test_a_field_is_unknown_after_its_last_version() -> None:
    body = b'{"server": {"name": "a", "personality": []}}'
    assert SERVER.read(body, (2, 56))["personality"] == []
    with pytest.raises(Invalid, match="personality"):
        SERVER.read(body, (2, 57))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "server"),
        (b'{"server": {}}', "name"),
        (b'{"server": {"name": 5}}', r"server\.name: Expected `str`, got `int` \(it is 5\)"),
        (b'{"server": {"name": " a"}}', r"server\.name.*it is \" a\""),
        (b'{"server": {"name": "a", "colour": "red"}}', "colour"),
        (b'{"server": {"name": "a", "ports": [1, "x"]}}', r"server\.ports\[.*\]"),
        (b'{"server": {"name": "\xff"}}', "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_refusal_names_the_field_and_the_value(body: bytes, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        SERVER.read(body, (2, 1))
