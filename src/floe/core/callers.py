"""For whom a task works: what gives callers turns reads it here, instead of every function handing it on."""

from __future__ import annotations

from contextvars import ContextVar

Caller = tuple[str, str]
"""A project and a user of it, or what stands for them; both are empty while nobody knows whose a request is."""

_CLOUD = "the cloud"
"""In the place of a user."""

CALLER: ContextVar[Caller] = ContextVar("floe_caller", default=("", ""))
"""Of this task and of those that it starts; set where a request becomes known to be somebody's."""


def work_for_the_cloud(project_id: str | None = None) -> None:
    """Say that this task, and what it starts, goes on with what was let in: it still has its project's turn.

    Of which project that was is known already, or is said here.
    """
    CALLER.set((CALLER.get()[0] if project_id is None else project_id, _CLOUD))


def is_of_the_cloud(caller: Caller) -> bool:
    """Whether work is the cloud's own, which bounds itself: refused a step, what it had begun would fail."""
    return caller[1] == _CLOUD
