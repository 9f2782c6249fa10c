"""Quota classes: the default one, whose limits hold for every project, and others, which hold for nobody."""

from __future__ import annotations

from collections.abc import Mapping

from floe.cloud import compute_quotas
from floe.cloud.cloud import Cloud
from floe.core.errors import OverQuota
from floe.core.quotas import DEFAULTS
from floe.store import quota_classes as rows
from floe.store.engine import Connection

DEFAULT = "default"
MOST = 1000
"""Classes besides the default one: no call removes one."""


async def limits(cloud: Cloud, name: str) -> Mapping[str, int]:
    """Return the limits of a class; of one that nobody has set any of, the built-in ones."""
    if name == DEFAULT:
        return await compute_quotas.defaults(cloud)
    return await cloud.db.read(lambda conn: {**DEFAULTS, **rows.get(conn, name)})


async def change(cloud: Cloud, name: str, asked: Mapping[str, int]) -> Mapping[str, int]:
    """Set limits of a class, and return all of its. Raises OverQuota for one class too many."""
    if name == DEFAULT:
        return await compute_quotas.change_defaults(cloud, asked)

    def apply(conn: Connection) -> Mapping[str, int]:
        known = rows.get(conn, name)
        if asked and not known and rows.count(conn) >= MOST:
            raise OverQuota(f"There are {MOST} quota classes already, which is the most: set limits of one of them.")
        rows.put(conn, name, asked)
        return {**DEFAULTS, **known, **asked}

    return await cloud.db.write(apply)
