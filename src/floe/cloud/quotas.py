"""Which limits hold for a project: its own, else those of the default class, else the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping

from floe.core import quotas as rules
from floe.core.quotas import DEFAULTS
from floe.store import quota_usages
from floe.store import quotas as rows
from floe.store.engine import Connection

DEFAULT_CLASS = "class:default"


def defaults(conn: Connection) -> dict[str, int]:
    """Return the limits of a project for which nothing was set."""
    return {**DEFAULTS, **rows.get(conn, DEFAULT_CLASS)}


def limits(conn: Connection, project_id: str) -> dict[str, int]:
    """Return the limits of a project, for every resource."""
    return {**DEFAULTS, **rows.layers(conn, DEFAULT_CLASS, project_id)}


def demand(conn: Connection, project_id: str, asked: Mapping[str, int]) -> None:
    """Raise OverQuota unless a project's quota has room for what is asked, by resource; in the write that adds it."""
    used = quota_usages.of(conn, project_id)
    rules.demand(limits(conn, project_id), {name: (amount, used[name]) for name, amount in asked.items()})
