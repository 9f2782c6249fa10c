"""How a bug is planted from outside, for as long as its context lasts.

It comes in through a seam: a part of a world that is handed to the product (`Parts`), or a public function that another
one is put in the place of, which takes what that takes. What is private to a module may change with every release, and
a bug that was planted there would be none any more, and nobody would know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from floe.cloud.cloud import Cloud
from floe.conductor.flow import Flow
from floe.conductor.saga import Again, Each, Node, OnHost, Saga
from floe.core.actions import Step
from floe.simulation.parts import Parts
from floe.simulation.shape import Plan

Memory = dict[Any, Any]
"""What a planted bug remembers outside of the database, in one run."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something else in the place of a public name, made anew for each run."""

    where: Any
    name: str
    make: Callable[[Memory], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """All that one bug changes."""

    changes: tuple[Change, ...] = ()
    parts: Parts = field(default_factory=Parts)

    @contextmanager
    def there(self) -> Iterator[Parts]:
        """Have it there; give the parts that a world is to be made with."""
        patches = [patch.object(change.where, change.name, change.make({})) for change in self.changes]
        for each in patches:
            each.start()
        try:
            yield self.parts
        finally:
            for each in patches:
                each.stop()


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug: a name, what is wrong, and what plants it."""

    name: str
    text: str
    plant: Plant
    needs: str = ""
    """What has to happen in a run for it to matter: an `Event`, by its name, or name and operation; empty: nothing."""

    def matters(self, plan: Plan) -> bool:
        """Say whether a run may show it at all."""
        names = ({event.what, f"{event.what} {event.args.get('operation')}"} for event in plan.events)
        return not self.needs or any(self.needs in each for each in names)


def patched(*changes: tuple[Any, str, Any]) -> Plant:
    """Return what puts public functions in the places of others: (where, name, function)."""
    return Plant(changes=tuple(Change(where, name, partial(_the_same, value)) for where, name, value in changes))


def remembering(*bugs: tuple[Any, str, Callable[[Memory], Any]]) -> Plant:
    """Return what puts functions in the places of others, each with a new memory for each run."""
    return Plant(changes=tuple(Change(*bug) for bug in bugs))


def through(**parts: Any) -> Plant:
    """Return what makes a world with other parts."""
    return Plant(parts=Parts(**parts))


def altered(change: Callable[[Cloud, Saga], Saga]) -> Plant:
    """Return what gives conductors other plans than theirs."""
    return through(plan=change)


def both(*plants: Plant) -> Plant:
    """Return what plants several."""
    parts = Parts()
    for plant in plants:
        parts = plant.parts.over(parts)
    return Plant(changes=tuple(change for plant in plants for change in plant.changes), parts=parts)


def with_steps(saga: Saga, change: Callable[[Node], Node]) -> Saga:
    """Return a saga with other steps."""

    def changed(node: Node) -> Node:
        inner = replace(node, steps=tuple(map(changed, node.steps))) if isinstance(node, Again | Each) else node
        return change(inner)

    return replace(saga, steps=tuple(map(changed, saga.steps)))


def with_undo(saga: Saga, undo: Callable[[OnHost, Flow, Step], Awaitable[Any]]) -> Saga:
    """Return a saga whose steps are undone otherwise."""

    def changed(node: Node) -> Node:
        if isinstance(node, OnHost) and node.undo is not None:
            return replace(node, undo=partial(undo, node))
        return node

    return with_steps(saga, changed)


class _Otherwise:
    def __init__(self, part: Any, calls: dict[str, Any]) -> None:
        self._part, self._calls = part, calls

    def __getattr__(self, name: str) -> Any:
        return self._calls.get(name) or getattr(self._part, name)


def otherwise(part: Any, **calls: Callable[..., Any]) -> Any:
    """Return a part that does these things otherwise, and all others as it did."""
    return _Otherwise(part, calls)


BY_ITSELF = "a planted bug failed by itself"
"""The rule that an error breaks which comes of what was planted, and not of the mistake that it stands for."""


def failed_by_itself(error: BaseException) -> bool:
    """Whether an error was raised right in what was planted."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and Path(trace.tb_frame.f_code.co_filename).name.startswith("planted")


def _the_same(value: Any, _memory: Memory) -> Any:
    return value
