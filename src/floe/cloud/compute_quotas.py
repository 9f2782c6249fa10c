"""Compute quotas of projects: what is allowed, what is used, and changing it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from floe.cloud import quotas
from floe.cloud.cloud import Cloud
from floe.core.errors import Invalid
from floe.core.quotas import COMPUTE, DEFAULTS
from floe.store import quota_usages, user_quotas
from floe.store import quotas as rows
from floe.store.audit_quotas import time_of_limit
from floe.store.engine import Connection


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """A project's limits, and how much of those that are counted for a project is used."""

    limits: Mapping[str, int]
    used: Mapping[str, int]


async def usage(cloud: Cloud, project_id: str) -> Usage:
    """Return a project's limits, those of the network API too, and its use."""

    def look(conn: Connection) -> Usage:
        limits = quotas.limits(conn, project_id)
        return Usage(limits={name: limits[name] for name in DEFAULTS}, used=quota_usages.of(conn, project_id))

    return await cloud.db.read(look)


async def usage_of_user(cloud: Cloud, project_id: str, user_id: str) -> Usage:
    """Return the limits of a user within a project, and what that one has there."""

    def look(conn: Connection) -> Usage:
        limits = quotas.limits(conn, project_id, user_id)
        keys = {"key_pairs": quota_usages.of(conn, user_id)["key_pairs"]}
        used = {**user_quotas.used(conn, project_id, user_id), **keys}
        return Usage(limits={name: limits[name] for name in DEFAULTS}, used=used)

    return await cloud.db.scan(look)


async def change_of_user(
    cloud: Cloud, project_id: str, user_id: str, asked: Mapping[str, int], *, force: bool
) -> Mapping[str, int]:
    """Set limits of a user within a project, and return all of that one's.

    Raises Invalid for one above the project's, for one below what the user has unless forced, and for what is
    counted of projects alone.
    """
    now = cloud.clock.now()

    def apply(conn: Connection) -> Mapping[str, int]:
        most, used = quotas.limits(conn, project_id), user_quotas.used(conn, project_id, user_id)
        for resource, limit in asked.items():
            if resource not in COMPUTE:
                raise Invalid(f"The quota of {resource} is the whole project's; no user has one of their own.")
            if most[resource] >= 0 and not 0 <= limit <= most[resource]:
                raise Invalid(f"Quota limit {limit} for {resource} must be less than or equal to {most[resource]}.")
            if not force and 0 <= limit < used.get(resource, 0):
                raise _too_small(resource, limit, used[resource])
        user_quotas.put(conn, project_id, user_id, asked, time_of_limit(conn, project_id, now))
        return quotas.limits(conn, project_id, user_id)

    return await cloud.db.write(apply)


async def reset_of_user(cloud: Cloud, project_id: str, user_id: str) -> None:
    """Let the project's limits alone hold for a user."""
    await cloud.db.write(lambda conn: user_quotas.delete(conn, project_id, user_id))


async def defaults(cloud: Cloud) -> Mapping[str, int]:
    """Return the limits of a project for which nothing was set."""
    return await cloud.db.read(quotas.defaults)


async def change(cloud: Cloud, project_id: str, limits: Mapping[str, int], *, force: bool) -> Mapping[str, int]:
    """Set limits of a project, and return all of its. Raises Invalid for one below what is used, unless forced."""
    return await quotas.change(cloud, project_id, limits, None if force else _too_small)


def _too_small(resource: str, limit: int, used: int) -> Invalid:
    return Invalid(
        f"Quota limit {limit} for {resource} must be at least {used}, which is already used; "
        "set force to true to set it all the same."
    )


async def change_defaults(cloud: Cloud, limits: Mapping[str, int]) -> Mapping[str, int]:
    """Set limits of every project that has none of its own."""
    now = cloud.clock.now()
    await cloud.db.write(lambda conn: rows.put(conn, quotas.DEFAULT_CLASS, limits, now))
    return await defaults(cloud)


async def reset(cloud: Cloud, project_id: str) -> None:
    """Let a project have the default compute limits again."""
    await cloud.db.write(lambda conn: rows.delete(conn, project_id, frozenset(COMPUTE)))
