"""Entries of an action's journal, as the runner writes them. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from floe.core.actions import Step
from floe.core.step_times import StepTime

BEGUN, DONE, UNDONE, FAILED = "begun", "done", "undone", "failed"
RECOVERED = "recovered"
"""The name of entries that tell of a recovery: what died, and what was done again or taken back because of it."""


def part_of(action_id: str, seq: int, parent: Step, part: StepTime, zone: Any, *, state: str = DONE) -> Step:
    """Return the entry of a part of a step; one that is `begun` has no end yet. `zone` is the clock's time zone."""
    started = datetime.fromtimestamp(part.started, zone)
    return Step(
        action_id=action_id,
        seq=seq,
        name=part.name,
        state=state,
        parent=parent.name,
        host=parent.host,
        remark=part.remark,
        started_at=started,
        finished_at=None if state == BEGUN else started + timedelta(seconds=part.seconds),
    )


def recovery(
    action_id: str, seq: int, remark: str, now: datetime, *, parent: Step | None = None, host: str | None = None
) -> Step:
    """Return the entry that tells of a recovery; replay passes over it."""
    return Step(
        action_id=action_id,
        seq=seq,
        name=RECOVERED,
        state=DONE,
        parent=parent.name if parent else RECOVERED,
        host=parent.host if parent else host,
        remark=remark,
        started_at=now,
        finished_at=now,
    )


def place(step: Step) -> str:
    """Say which step it is, for a remark."""
    return f"{step.name} on {step.host}" if step.host else step.name
