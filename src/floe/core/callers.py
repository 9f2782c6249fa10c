"""For whom a task works: what gives callers turns reads it here, instead of every function handing it on."""

from __future__ import annotations

from contextvars import ContextVar

Caller = tuple[str, str]
"""A project and a user of it, or what stands for them: ("", "") is the cloud itself."""

CALLER: ContextVar[Caller] = ContextVar("floe_caller", default=("", ""))
"""Of this task and of those that it starts; set where a request becomes known to be somebody's."""
