"""Whether a process has the keys of its cloud: what one seals, and the tokens it gives, the others have to open."""

from __future__ import annotations

import hashlib

from floe.cloud.cloud import Cloud
from floe.core.errors import Conflict
from floe.store import probes
from floe.store.engine import Connection

_KEY = "key "


async def demand_known(cloud: Cloud) -> None:
    """Keep fingerprints of this process's keys. Raises Conflict when the cloud has others, and none of them."""
    marks = [_KEY + hashlib.sha256(key).hexdigest()[:40] for key in cloud.token_keys()]
    now = cloud.clock.now()

    def work(conn: Connection) -> None:
        known = probes.named(conn, _KEY)
        if known and known.isdisjoint(marks):
            raise Conflict(
                "none of the token_keys in this process's secrets.json is one of this cloud's: copy that file from "
                "another API or conductor of it (mode 600), and start again."
            )
        for mark in marks:
            if mark not in known:
                probes.put(conn, mark, now)

    await cloud.db.write(work)
