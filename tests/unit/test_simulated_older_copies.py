"""What the simulation's judge says of wishes that hosts refuse once an older copy of the database was made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import fields

from floe.agent.power import LATER
from floe.cloud.audit import Violation
from floe.conductor.forgotten import BEHIND
from floe.conductor.registry import sagas
from floe.core.actions import FAILED, SUCCEEDED, Action
from floe.simulation.older_copies import KINDS, REFUSED, OlderCopies
from floe.simulation.site import START
from floe.store import actions, history
from floe.store.memory import MemoryStore


class Place:
    """A database of which an older copy was made, and what is asked for and said in it, one commit each."""

    def __init__(self) -> None:
        self.found: list[Violation] = []
        self.store = MemoryStore()
        self.copies = OlderCopies(self.store, self.found.append)

    def ask(self, ident: str, *, server_id: str = "s", at: float = 0.0) -> None:
        made = Action(
            id=ident,
            kind="trigger_crash_dump",
            subject_id=server_id,
            project_id="p",
            user_id="u",
            request_id="r",
            created_at=START + timedelta(seconds=at),
        )
        self.store.write(lambda conn: actions.add(conn, made))
        self.copies.committed()

    def end(self, ident: str, message: str | None = None) -> None:
        state = SUCCEEDED if message is None else FAILED
        self.store.write(lambda conn: actions.close(conn, ident, state, message, START))
        self.copies.committed()

    def forget(self, ident: str) -> None:
        assert self.store.write(lambda conn: history.forget(conn, history.ACTIONS, [ident]))["actions"] == 1
        self.copies.committed()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.store.close()


@pytest.mark.parametrize("refusal", [LATER, BEHIND])
def test_the_latest_wish_of_a_server_is_not_refused(place: Place, refusal: str) -> None:
    place.copies.copied()
    place.ask("before")
    place.ask("refused", at=1.0)
    place.ask("another's", server_id="t", at=2.0)
    place.end("refused", refusal)
    assert place.found == [Violation(REFUSED, "s", "trigger_crash_dump")]


@pytest.mark.parametrize("asked", ["before the copy", "after it"])
def test_one_that_was_overtaken_is_though_nothing_tells_any_more_what_overtook_it(place: Place, asked: str) -> None:
    """A crash dump waited for a host that was cut off, and an unpause came first, was done, and was history soon."""
    if asked == "after it":
        place.copies.copied()
    place.ask("refused")
    if asked == "before the copy":
        place.copies.copied()
    place.ask("later", at=1.0)
    place.end("later")
    place.forget("later")
    place.end("refused", LATER)
    assert place.found == []


def test_what_overtook_one_may_be_forgotten_after_it_was_refused(place: Place) -> None:
    place.copies.copied()
    place.ask("refused")
    place.ask("later", at=1.0)
    place.end("later")
    place.end("refused", LATER)
    place.forget("later")
    assert place.found == []


def test_one_that_a_clock_which_went_back_gave_its_number_is_behind(place: Place) -> None:
    place.copies.copied()
    place.ask("before", at=40.0)
    place.ask("refused")
    place.end("refused", BEHIND)
    assert place.found == []


def test_a_later_wish_is_what_overtakes_also_by_a_clock_that_went_back(place: Place) -> None:
    place.copies.copied()
    place.ask("refused", at=40.0)
    place.ask("later")
    place.end("refused", LATER)
    assert place.found == []


def test_one_that_fails_for_another_reason_was_not_refused(place: Place) -> None:
    place.copies.copied()
    place.ask("failed")
    place.end("failed", "Host 'h1' is down.")
    assert place.found == []


def test_a_second_copy_leaves_what_is_known_of_wishes(place: Place) -> None:
    place.copies.copied()
    place.ask("refused")
    place.ask("later", at=1.0)
    place.end("later")
    place.copies.copied()()
    place.end("refused", LATER)
    assert place.found == []


def test_every_workflow_that_tells_a_host_what_a_guest_should_be_is_a_wish() -> None:
    class Settings:
        def __getattr__(self, _name: str) -> float:
            return 1.0

    nothing: Any = None
    anything: Any = Settings()
    begins = [saga.begins for saga in sagas(nothing, nothing, anything).values()]
    assert {each.kind for each in begins if "wanted" in {field.name for field in fields(each.given)}} == KINDS
