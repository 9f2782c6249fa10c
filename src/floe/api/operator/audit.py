"""/v1/audit: what is not as it must be, in the rows and on the hosts, and the mending of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import operator
from floe.cloud import audit_repair, audits
from floe.cloud.audit import Violation

MOST = 1000
"""Of each list in a reply; `count` says how many violations there are in all."""
MOST_TEXT = 500
"""Characters of a violation's text."""


async def show(call: Call) -> Reply:
    """GET /v1/audit: look twice, and tell what is found."""
    found = await audits.run(call.cloud)
    return Reply(200, {"violations": _shown(found), "count": len(found)})


async def repair(call: Call) -> Reply:
    """POST /v1/audit/repair: mend what is safe; `violations` are those that remain."""
    made = await audit_repair.repair(call.cloud)
    body = {
        "done": list(made.done[:MOST]),
        "mended": _shown(made.mended),
        "violations": _shown(made.left),
        "count": len(made.left),
    }
    return Reply(200, body)


def _shown(found: Sequence[Violation]) -> list[dict[str, Any]]:
    return [{"rule": item.rule, "subject": item.subject, "text": item.text[:MOST_TEXT]} for item in found[:MOST]]


ROUTES = (
    Route("GET", "/v1/audit", show, "floe:audit:show"),
    Route("POST", "/v1/audit/repair", repair, "floe:audit:repair"),
)
POLICIES = {route.policy: operator for route in ROUTES}
