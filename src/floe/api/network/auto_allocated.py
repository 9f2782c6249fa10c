"""`/v2.0/auto-allocated-topology`."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.network.rules import writer
from floe.cloud import auto_allocated
from floe.core.errors import Invalid

_DRY_RUN = "dry-run"
_OWN = "None"
"""What clients write for the project of their token."""


async def show(call: Call) -> Reply:
    """Show a project's, made now if it is not there; with `fields=dry-run`, say only whether it could be made."""
    fields, project_id = call.many("fields"), _project(call)
    if _DRY_RUN in fields:
        owner = await auto_allocated.check(call.cloud, call.context, project_id)
        return _reply(f"{_DRY_RUN}=pass", owner)
    if any(fields):
        raise Invalid(
            f"Bad auto_allocate request: Unrecognized field (fields={','.join(fields)[:80]}; {_DRY_RUN} is known).",
            reason="bad_auto_allocate_request",
        )
    found = await auto_allocated.show(call.cloud, call.context, project_id)
    return _reply(found.network_id, found.project_id)


async def delete(call: Call) -> Reply:
    """Remove a project's; where there is none, nothing is to be removed."""
    await auto_allocated.delete(call.cloud, call.context, _project(call))
    return Reply(204)


def _project(call: Call) -> str | None:
    named = call.params["project_id"]
    return None if named == _OWN else named


def _reply(ident: str, project_id: str) -> Reply:
    shown: dict[str, Any] = {"id": ident, "project_id": project_id, "tenant_id": project_id}
    return Reply(body={"auto_allocated_topology": shown})


_ONE = "/v2.0/auto-allocated-topology/{project_id}"
ROUTES = (
    Route("GET", _ONE, show, "get_auto_allocated_topology"),
    Route("DELETE", _ONE, delete, "delete_auto_allocated_topology"),
)
POLICIES: policy.Policies = {
    "get_auto_allocated_topology": policy.in_project(policy.project_reader),
    "delete_auto_allocated_topology": writer,
}
