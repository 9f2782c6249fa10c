from __future__ import annotations

from floe.conductor.compared import Compared

HOSTS = ["h1", "h2", "h3"]


def test_what_was_compared_here_counts_for_one_round() -> None:
    compared = Compared()
    compared.note("h2")
    assert [compared.missing(HOSTS) for _ in range(2)] == [["h1", "h3"], HOSTS]


def test_what_another_told_counts_for_two_rounds() -> None:
    compared = Compared()
    compared.note_elsewhere(["h1", "h3"])
    assert [compared.missing(HOSTS) for _ in range(3)] == [["h2"], ["h2"], HOSTS]


def test_what_was_compared_here_is_told_once() -> None:
    compared = Compared()
    for host in ("h2", "h1", "h2"):
        compared.note(host)
    compared.note_elsewhere(["h3"])
    assert [compared.untold() for _ in range(2)] == [("h1", "h2"), ()]


def test_nothing_is_kept_of_a_host_that_is_forgotten() -> None:
    compared = Compared()
    for _ in range(2):
        compared.note("h1")
        compared.note_elsewhere(["h1"])
        compared.missing([])
    compared.note("h1")
    compared.discard("h1")
    assert compared.untold() == ()
    assert compared.missing(["h1"]) == ["h1"]
