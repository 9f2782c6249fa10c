"""/v1/purge: forget what was over before a moment, a part of it with each call."""

from __future__ import annotations

import asyncio

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import operator
from floe.api.kit.values import moment
from floe.cloud import history
from floe.core.clock import iso_micro

PURGE = Body("purge", [Field("before", str, required=True), Field("dry_run", bool)])
_SLICES = 25
"""Slices of one call: it is answered within a second or two, and its caller can show how far it is."""


async def purge(call: Call) -> Reply:
    """POST /v1/purge: `rows` by table went (with `dry_run`: would go); ask again until it is `finished`."""
    asked = PURGE.read(await call.raw())
    before = history.demand_past(call.cloud, moment(asked["before"], "before"))
    if asked.get("dry_run"):
        made = await history.trial(call.cloud, before)
    else:
        made = await history.purge(call.cloud, before, pause=asyncio.sleep, slices=_SLICES)
    return Reply(200, {"purge": {"before": iso_micro(before), "rows": made.rows, "finished": made.finished}})


ROUTES = (Route("POST", "/v1/purge", purge, "floe:purge"),)
POLICIES = {route.policy: operator for route in ROUTES}
