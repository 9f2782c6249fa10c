"""The journal of one action in memory: what is written of it, and what is still to be written. Pure but for the clock.

An entry that is `begun` says what was about to happen; a replay asks for each name in turn and gets what was recorded.
Parts of a step, told of by its host, and recoveries are beside that: they are for the trace, and no replay reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.core import entries
from floe.core.actions import Step
from floe.core.clock import Clock
from floe.core.entries import BEGUN, DONE
from floe.core.step_times import StepTime

_Part = tuple[str, str, str]


class Unwritten(msgspec.Struct, frozen=True):
    """What the next transaction writes beside its own entry."""

    changed: Mapping[int, Step]
    parts: Mapping[_Part, Step]
    told: Sequence[Step]
    returned: Sequence[Step]
    """Entries as they are written, of steps that returned something."""

    def with_own(self, made: Sequence[Step], *, last: bool) -> list[Step]:
        """Return all entries that the transaction writes; `made` are its own.

        With the last one it is forgotten what steps returned: that was for whoever had to go on with the action. What
        failed in them stays.
        """
        entries = [*self.changed.values(), *self.parts.values(), *self.told, *made]
        if not last:
            return entries
        entries = [*(step for step in self.returned if step.seq not in self.changed), *entries]
        return [
            replace(step, output=None) if step.state == DONE and step.output is not None else step for step in entries
        ]


class Journal:
    """The entries of an action. `renamed` gives the names that steps had when an earlier version wrote of them."""

    def __init__(
        self, action_id: str, found: Sequence[Step], clock: Clock, renamed: Mapping[str, str] | None = None
    ) -> None:
        self._action_id, self._clock = action_id, clock
        names = renamed or {}
        if names:
            found = [replace(step, name=names.get(step.name, step.name)) for step in found]
        self.steps = [step for step in found if step.parent is None]
        self._seq = max((step.seq for step in found), default=0)
        self._cursor: dict[str, int] = {}
        self._changed: dict[int, Step] = {}
        self._parts: dict[_Part, Step] = {
            (step.parent, step.name, step.host or ""): step for step in found if step.parent
        }
        self._stored_parts = {step.seq for step in self._parts.values()}
        self._told: list[Step] = []

    def find(self, name: str) -> Step | None:
        """Return the entry that the next step of that name finds, counting the steps of each name."""
        same = [step for step in self.steps if step.name == name]
        at = self._cursor.get(name, 0)
        if at >= len(same):
            return None
        if same[at].state != BEGUN:
            self._cursor[name] = at + 1
        return same[at]

    def latest(self, name: str) -> Step | None:
        """Return the entry of that name that was found, or finished, last."""
        at = self._cursor.get(name, 0)
        return [step for step in self.steps if step.name == name][at - 1] if at else None

    def begun(self) -> Step | None:
        """Return the step that is under way."""
        return next((step for step in reversed(self.steps) if step.state == BEGUN), None)

    def entry(
        self,
        offset: int,
        name: str,
        state: str,
        started: datetime,
        *,
        host: str | None = None,
        remark: str = "",
        output: Any = None,
        finished: datetime | None = None,
    ) -> Step:
        """Return a new entry, the `offset`th from now."""
        return Step(
            action_id=self._action_id,
            seq=self._seq + offset,
            name=name,
            state=state,
            host=host,
            remark=remark,
            output=msgspec.to_builtins(output),
            started_at=started,
            finished_at=finished,
        )

    def part(self, offset: int, parent: Step, part: StepTime, zone: Any) -> Step:
        """Return an entry for a part of one that is new itself."""
        return entries.part_of(self._action_id, self._seq + offset, parent, part, zone)

    def finish(self, step: Step, state: str, output: Any, *, remark: str = "") -> None:
        """Note how a step ended; written with whatever is written next."""
        self._cursor[step.name] = self._cursor.get(step.name, 0) + 1
        plain = msgspec.to_builtins(output)
        self.replace(replace(step, state=state, output=plain, remark=remark, finished_at=self._clock.now()))

    def replace(self, step: Step) -> None:
        """Note that an entry is different now."""
        for index, old in enumerate(self.steps):
            if old.seq == step.seq:
                self.steps[index] = step
        self._changed[step.seq] = step

    def live(self, parent: Step, part: StepTime, *, state: str = DONE) -> None:
        """Keep one entry per part of a step; it may be told of while it runs, and again at the end."""
        key = (parent.name, part.name, parent.host or "")
        known = self._parts.get(key)
        step = entries.part_of(self._action_id, self._seq + 1, parent, part, self._clock.now().tzinfo, state=state)
        if known is None:
            self._seq += 1
            self._parts[key] = step
        elif state != BEGUN or (known.state == BEGUN and step.remark != known.remark):
            step = replace(step, seq=known.seq)
            self._parts[key] = step
            if known.seq in self._stored_parts:
                self._changed[known.seq] = step

    def recovered(self, remark: str, step: Step | None = None) -> None:
        """Tell of a recovery."""
        self._seq += 1
        under = step or self.begun()
        self._told.append(entries.recovery(self._action_id, self._seq, remark, self._clock.now(), parent=under))

    @property
    def is_behind(self) -> bool:
        """Whether there is something of it that whoever reads the database does not see yet."""
        return bool(self._changed or self._told) or any(
            step.seq not in self._stored_parts for step in self._parts.values()
        )

    def unwritten(self) -> Unwritten:
        """Return what is to be written now; more may come while it is."""
        parts = {key: step for key, step in self._parts.items() if step.seq not in self._stored_parts}
        returned = [step for step in self.steps if step.state == DONE and step.output is not None]
        return Unwritten(dict(self._changed), parts, list(self._told), returned)

    def wrote(self, made: Sequence[Step], unwritten: Unwritten) -> None:
        """Take note of what is in the database now: new entries, and what was unwritten."""
        for seq, step in unwritten.changed.items():
            if self._changed.get(seq) is step:
                del self._changed[seq]
        for key, step in unwritten.parts.items():
            self._stored_parts.add(step.seq)
            if self._parts[key] is not step:  # it ended while its beginning was written
                self._changed[step.seq] = self._parts[key]
        del self._told[: len(unwritten.told)]
        self._seq = max([self._seq, *(step.seq for step in made)])
        for step in made:
            if step.parent is None:
                self.steps.append(step)
                self._cursor[step.name] = self._cursor.get(step.name, 0) + (step.state != BEGUN)
