"""Who sees and owns things of the network surface, and how many of them a project may have."""

from __future__ import annotations

from floe.cloud import quotas
from floe.core.context import Context
from floe.core.errors import Invalid, OverQuota
from floe.core.networks import NoRoom
from floe.store.engine import Connection


def scope(context: Context) -> str | None:
    """Return the project whose things the caller sees; None is everybody's. Without a project: nobody's."""
    return None if context.is_admin else context.project_id or ""


def owner(context: Context, asked: str | None) -> str:
    """Return the project that a new thing is for. Raises Invalid when the caller may not choose that one."""
    project_id = asked or context.project_id
    if project_id is None:
        raise Invalid(
            "Invalid input for project_id: a token without a project has to name the project.", reason="malformed"
        )
    if project_id != context.project_id and not context.is_admin:
        raise Invalid(
            f"Invalid input for project_id: only an administrator may name another project ({project_id!r}).",
            reason="malformed",
        )
    return project_id


def demand(conn: Connection, project_id: str, resource: str) -> None:
    """Raise NoRoom unless the project's quota has room for one more of a resource."""
    try:
        quotas.demand(conn, project_id, {resource: 1})
    except OverQuota as error:
        raise NoRoom(error.message) from error
