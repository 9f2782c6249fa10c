"""/os-instance_usage_audit_log: of which hosts a month's usage was announced; which here is of none.

In Nova a host that is told to announces each server that it had in the month before, as a notification, and keeps
how many there were. There are no notifications here (/os-simple-tenant-usage tells what was used), so what is told is
what Nova tells of hosts that have not done it: which those are, and that they announced nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin
from floe.api.kit.routing import Route
from floe.cloud import hosts
from floe.core.clock import month_before
from floe.core.errors import Invalid

_WRITTEN = "%Y-%m-%d %H:%M:%S"


async def index(call: Call) -> Reply:
    """GET: the month that ended last."""
    return Reply(200, {"instance_usage_audit_logs": await _log(call, call.cloud.clock.now())})


async def show(call: Call) -> Reply:
    """GET {before}: the month that had ended by then."""
    return Reply(200, {"instance_usage_audit_log": await _log(call, _moment(call.params["before"]))})


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, _WRITTEN + (".%f" if "." in text else "")).replace(tzinfo=UTC)
    except ValueError:
        raise Invalid(f"Invalid timestamp for date {text[:80]}: write it like 2030-01-31 12:00:00.") from None


async def _log(call: Call, before: datetime) -> dict[str, Any]:
    begin, end = month_before(before)
    names = [each.host.name for each in await hosts.listed(call.cloud)]
    return {
        "period_beginning": begin.isoformat(" ")[:19],
        "period_ending": end.isoformat(" ")[:19],
        "num_hosts": len(names),
        "num_hosts_done": 0,
        "num_hosts_running": 0,
        "num_hosts_not_run": len(names),
        "hosts_not_run": names,
        "total_instances": 0,
        "total_errors": 0,
        "overall_status": f"{f'0 of {len(names)}' if names else 'ALL'} hosts done. 0 errors.",
        "log": {},
    }


_PATH = "/v2.1/os-instance_usage_audit_log"
_RULE = "os_compute_api:os-instance-usage-audit-log:"

ROUTES = (
    Route("GET", _PATH, index, f"{_RULE}list", query=ONCE_OPEN),
    Route("GET", _PATH + "/{before}", show, f"{_RULE}show", query=ONCE_OPEN),
)

POLICIES = {f"{_RULE}list": admin, f"{_RULE}show": admin}
