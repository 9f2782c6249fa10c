"""What is noted in the journal of an action that is closed comes behind all else, and no two writers take one place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floe.core.actions import Action, Step
from floe.store import actions
from floe.store.engine import Connection
from floe.store.memory import MemoryStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)
STORE = MemoryStore()


def begin(*, own: int = 2, state: str = "done") -> None:
    """Make an action with some entries of its own."""
    STORE.reset()

    def write(conn: Connection) -> None:
        action = Action(
            id="a", kind="delete", version=1, subject_id="s", project_id="p", user_id="u", request_id="r",
            input={}, created_at=NOW,
        )  # fmt: skip
        actions.add(conn, replace(action, state=state))
        actions.write_steps(conn, [entry(f"own {seq}", seq) for seq in range(1, own + 1)])

    STORE.write(write)


def entry(name: str, seq: int = 0) -> Step:
    return Step(action_id="a", seq=seq, name=name, state="done", started_at=NOW)


def names() -> list[str]:
    return [step.name for step in STORE.read(lambda conn: actions.journal(conn, "a"))]


def note(name: str) -> bool:
    return STORE.write(lambda conn: actions.note(conn, entry(name)))


def note_as_before(name: str) -> None:
    """Note something as the release before does: behind the last entry."""

    def write(conn: Connection) -> None:
        last = max((step.seq for step in actions.journal(conn, "a")), default=0)
        actions.write_steps(conn, [entry(name, last + 1)])

    STORE.write(write)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 5), st.lists(st.booleans(), max_size=12))
def test_notes_are_in_the_order_in_which_they_came_whichever_release_wrote_them(own: int, older: list[bool]) -> None:
    begin(own=own)
    for at, by_older in enumerate(older):
        if by_older:
            note_as_before(f"note {at}")
        else:
            assert note(f"note {at}")
    assert names() == [*(f"own {seq}" for seq in range(1, own + 1)), *(f"note {at}" for at in range(len(older)))]


def test_a_place_that_was_given_is_given_to_nobody_else() -> None:
    """Not even where its entry is not to be seen: another writer's, that is not committed yet, is not."""
    begin()
    note("first")
    (first,) = STORE.read(lambda conn: actions.journal(conn, "a"))[2:]
    ours = (actions.steps.c.action_id == "a") & (actions.steps.c.seq == first.seq)
    STORE.write(lambda conn: conn.execute(actions.steps.delete().where(ours)) and None)
    note("second")
    (second,) = STORE.read(lambda conn: actions.journal(conn, "a"))[2:]
    assert second.seq > first.seq


@pytest.mark.parametrize("state", ["pending", "running", "undoing"])
def test_nothing_is_noted_of_an_action_that_is_open(state: str) -> None:
    """Its conductor counts the entries itself."""
    begin(state=state)
    assert not note("early")
    assert names() == ["own 1", "own 2"]


def test_nothing_is_noted_of_an_action_that_is_gone() -> None:
    STORE.reset()
    assert not note("late")
