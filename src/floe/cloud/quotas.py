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
from floe.store import user_quotas
from floe.store.audit_quotas import time_of_limit
from floe.store.engine import Connection

DEFAULT_CLASS = "class:default"


def defaults(conn: Connection) -> dict[str, int]:
    """Return the limits of a project for which nothing was set."""
    return {**DEFAULTS, **rows.get(conn, DEFAULT_CLASS)}


def limits(conn: Connection, project_id: str, user_id: str | None = None) -> dict[str, int]:
    """Return the limits of a project, for every resource; or those of one of its users."""
    found = {**DEFAULTS, **rows.layers(conn, DEFAULT_CLASS, project_id)}
    return found if user_id is None else rules.lower(found, user_quotas.get(conn, project_id, user_id))


class Room(msgspec.Struct, frozen=True):
    """What a project may have, and what it has, by resource: read once, for all that a request asks for.

    `own` are the limits of the user who asks, if there are any, and `own_used` what that one has of what is limited.
    """

    limits: Mapping[str, int]
    used: Counter[str]
    own: Mapping[str, int] = msgspec.field(default_factory=dict)
    own_used: Counter[str] = msgspec.field(default_factory=Counter)
    quota_owner: str | None = None
    """Whom what the user makes is counted for besides the project."""

    @property
    def lower(self) -> Mapping[str, int]:
        """The limits of whoever asks."""
        return rules.lower(self.limits, self.own)

    def times(self, resource: str, each: int, most: int) -> int:
        """Return how often, up to `most`, there is room for `each` more."""
        for limit, used in ((self.limits[resource], self.used), (self.own.get(resource, -1), self.own_used)):
            if limit >= 0 and each:
                most = min(most, (limit - used[resource]) // each)
        return most

    def demand(self, asked: Mapping[str, int]) -> None:
        """Raise OverQuota unless there is room for what is asked, by resource."""
        rules.demand(self.limits, {name: (amount, self.used[name]) for name, amount in asked.items()})
        own = {name: (amount, self.own_used[name]) for name, amount in asked.items() if name in self.own}
        rules.demand(self.own, own, of=" of this user")


def room(conn: Connection, project_id: str) -> Room:
    """Return what a project may have and has."""
    limits, used = rows.room(conn, DEFAULT_CLASS, project_id)
    return Room({**DEFAULTS, **limits}, used)


def room_of_user(conn: Connection, project_id: str, user_id: str) -> Room:
    """Return what a user may have and has within a project, and what the project may and has."""
    found = rows.room_of_user(conn, DEFAULT_CLASS, project_id, user_id)
    whose = user_quotas.owner(project_id, user_id) if found.own else None
    return Room({**DEFAULTS, **found.limits}, found.used, found.own, found.own_used, whose)


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
        rows.put(conn, project_id, asked, time_of_limit(conn, project_id, now))
        return limits(conn, project_id)

    return await cloud.db.write(apply)


def demand(conn: Connection, project_id: str, asked: Mapping[str, int]) -> None:
    """Raise OverQuota unless a project's quota has room for what is asked, by resource; in the write that adds it."""
    room(conn, project_id).demand(asked)
