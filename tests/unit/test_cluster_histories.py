"""What customers of a cluster saw is judged: each rule finds what breaks it, and nothing in what does not."""

from __future__ import annotations

import pytest
from cluster_load import CREATE, DELETE, LIST, Asked, broken


def create(began: float, server: str = "s1", key: str = "k1", status: int = 202) -> Asked:
    server = server if status == 202 else ""
    return Asked(verb=CREATE, began=began, ended=began + 1, status=status, key=key, server=server)


def delete(began: float, server: str = "s1", status: int = 204) -> Asked:
    return Asked(verb=DELETE, began=began, ended=began + 1, status=status, server=server)


def listed(began: float, **seen: str) -> Asked:
    return Asked(verb=LIST, began=began, ended=began + 1, status=200, seen=seen)


GOOD = (
    create(0, status=0),
    create(2),
    create(4),  # the same again, whose answer was lost
    listed(6, s1="BUILD"),
    listed(8, s1="ACTIVE"),
    listed(9.5, s1="ACTIVE"),
    delete(10),
    listed(12, s1="ACTIVE"),
    listed(14),
    Asked(verb=LIST, began=16, ended=17, status=503, again=True),
)


def test_a_history_in_order_breaks_nothing() -> None:
    assert broken(GOOD) == []


@pytest.mark.parametrize(
    ("history", "says"),
    [
        ([create(0, status=500)], "create k1 was answered with 500"),
        ([delete(0, status=401)], "delete s1 was answered with 401"),
        ([Asked(verb=LIST, began=0, ended=1, status=503)], "without Retry-After"),
        ([create(0), create(2, server="s2")], "the key k1 made 2 servers"),
        ([create(0), create(2, key="k2")], "two keys made one server"),
        ([create(0), listed(2)], "server s1 was promised and is not listed"),
        ([create(0), listed(2, s1="ACTIVE"), listed(4), delete(6)], "server s1 was promised and is not listed"),
        ([create(0), delete(2), listed(4), listed(6, s1="ACTIVE")], "server s1 was gone and is listed again"),
        ([create(0), listed(2, s1="ACTIVE"), listed(4, s1="BUILD")], "server s1 was ACTIVE and is built again"),
    ],
)
def test_what_breaks_a_promise_is_found(history: list[Asked], says: str) -> None:
    (found,) = broken(history)
    assert says in found


@pytest.mark.parametrize(
    "history",
    [
        [create(0), listed(0.5)],
        [create(0), listed(2, s1="BUILD"), delete(3), listed(3.5)],
        [create(0), delete(2, status=503), listed(4), delete(6)],
        [create(0), delete(2), listed(4), listed(4.5, s1="ACTIVE")],
        [create(0), listed(2, s1="ACTIVE"), listed(2.5, s1="BUILD")],
    ],
)
def test_of_requests_at_the_same_time_nothing_is_asked(history: list[Asked]) -> None:
    assert [text for text in broken(history) if "Retry-After" not in text] == []
