"""Which limits hold for a project: its own, else those of the default class, else the built-in ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import msgspec

from floe.cloud.cloud import Cloud
from floe.core import quotas as rules
from floe.core.errors import Invalid
from floe.core.quotas import DEFAULTS
from floe.store import quotas as rows
from floe.store.engine import Connection

DEFAULT_CLASS = "class:default"


def defaults(conn: Connection) -> dict[str, int]:
    """Return the limits of a project for which nothing was set."""
    return {**DEFAULTS, **rows.get(conn, DEFAULT_CLASS)}


def limits(conn: Connection, project_id: str) -> dict[str, int]:
    """Return the limits of a project, for every resource."""
    return {**DEFAULTS, **rows.layers(conn, DEFAULT_CLASS, project_id)}


class Room(msgspec.Struct, frozen=True):
    """What a project may have, and what it has, by resource: read once, for all that a request asks for."""

    limits: Mapping[str, int]
    used: Counter[str]

    def times(self, resource: str, each: int, most: int) -> int:
        """Return how often, up to `most`, there is room for `each` more."""
        limit = self.limits[resource]
        return most if limit < 0 or not each else min(most, (limit - self.used[resource]) // each)

    def demand(self, asked: Mapping[str, int]) -> None:
        """Raise OverQuota unless there is room for what is asked, by resource."""
        rules.demand(self.limits, {name: (amount, self.used[name]) for name, amount in asked.items()})


def room(conn: Connection, project_id: str) -> Room:
    """Return what a project may have and has."""
    limits, used = rows.room(conn, DEFAULT_CLASS, project_id)
    return Room({**DEFAULTS, **limits}, used)


async def change(
    cloud: Cloud, project_id: str, asked: Mapping[str, int], refusal: Callable[[str, int, int], Invalid] | None
) -> dict[str, int]:
    """Set limits of a project, and return all of its.

    For one under what is used raises what `refusal` makes of (resource, limit, used), unless that may be.
    """
    now = cloud.clock.now()

    def apply(conn: Connection) -> dict[str, int]:
        used = room(conn, project_id).used
        for resource, limit in asked.items():
            if refusal is not None and 0 <= limit < used[resource]:
                raise refusal(resource, limit, used[resource])
        rows.put(conn, project_id, asked, now)
        return limits(conn, project_id)

    return await cloud.db.write(apply)


def demand(conn: Connection, project_id: str, asked: Mapping[str, int]) -> None:
    """Raise OverQuota unless a project's quota has room for what is asked, by resource; in the write that adds it."""
    room(conn, project_id).demand(asked)
