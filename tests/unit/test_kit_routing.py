from __future__ import annotations

import pytest

from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route, RouteTable


async def _handler(_call: Call) -> Reply:
    return Reply()


def _table(*paths: str) -> RouteTable:
    return RouteTable([Route("GET", path, _handler, "rule") for path in paths])


def test_a_fixed_segment_wins_over_a_variable_one() -> None:
    table = _table("/servers/{server_id}", "/servers/detail")
    found = table.match("/servers/detail")
    assert found is not None
    assert found.params == {}
    found = table.match("/servers/abc")
    assert found is not None
    assert found.params == {"server_id": "abc"}


def test_a_fixed_segment_that_leads_nowhere_does_not_hide_a_variable_one() -> None:
    table = _table("/servers/detail", "/servers/{server_id}/ips")
    found = table.match("/servers/detail/ips")
    assert found is not None
    assert found.params == {"server_id": "detail"}


def test_what_is_not_in_the_table_is_not_found() -> None:
    table = _table("/servers/{server_id}")
    assert table.match("/servers") is None
    assert table.match("/servers/a/b") is None


def test_two_names_for_one_variable_are_refused_when_the_table_is_made() -> None:
    with pytest.raises(ValueError, match="names its variables unlike"):
        _table("/servers/{server_id}", "/servers/{ident}")


def test_an_empty_segment_is_no_name_of_anything() -> None:
    table = _table("/v2", "/v2/images", "/v2/images/{image_id}/tags")
    assert table.match("/v2/") is not None
    assert table.match("/v2/images/") is None
    assert table.match("/v2/images//tags") is None
    assert table.match("//v2/images") is None


def test_a_surface_may_forgive_a_slash_at_the_end() -> None:
    table = RouteTable([Route("GET", "/v3/users", _handler, "rule")], trailing_slash=True)
    assert table.match("/v3/users/") is not None
    assert table.match("/v3//users") is None
