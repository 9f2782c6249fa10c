"""What was done with servers and images: their actions, and the steps of each, which are what recovery runs on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from floe.cloud import images, servers
from floe.cloud.cloud import Cloud
from floe.core.actions import IMAGE, Action, Step
from floe.core.context import Context
from floe.core.errors import Invalid, NotFound
from floe.core.servers import Server
from floe.store import actions as rows
from floe.store.engine import Connection


class ActionDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An action of a server, with its steps in the order in which they began."""

    action: Action
    server: Server
    steps: Sequence[Step] = ()


class Traced(msgspec.Struct, frozen=True):
    """An action with its steps, whatever it is of."""

    action: Action
    steps: Sequence[Step]


async def listed(
    cloud: Cloud,
    context: Context,
    server_id: str,
    *,
    deleted: bool = True,
    since: datetime | None = None,
    before: datetime | None = None,
    limit: int | None = None,
    marker: str | None = None,
) -> tuple[list[ActionDetail], bool]:
    """Return a server's actions, the latest first, after the one of request `marker`; and whether there are more.

    `since` and `before` bound when they were last changed. Raises NotFound, Invalid for an unknown marker.
    """

    def read(conn: Connection) -> tuple[list[ActionDetail], bool]:
        server = servers.visible(conn, context, server_id, deleted=deleted)
        after = None if marker is None else _of_request(conn, server_id, marker)
        if marker is not None and after is None:
            raise Invalid(f"Invalid input for query parameter marker: no action of request {marker!r} was found.")
        most = None if limit is None else limit + 1
        found = rows.find(conn, server.id, changed_since=since, changed_before=before, after=after, limit=most)
        more = limit is not None and len(found) > limit
        return [ActionDetail(action=item, server=server) for item in found[:limit]], more

    return await cloud.db.read(read)


async def get(cloud: Cloud, context: Context, server_id: str, request_id: str, *, deleted: bool = True) -> ActionDetail:
    """Return the action that a request began, with its steps. Raises NotFound."""

    def read(conn: Connection) -> ActionDetail:
        server = servers.visible(conn, context, server_id, deleted=deleted)
        action = _of_request(conn, server.id, request_id)
        if action is not None:
            return ActionDetail(action=action, server=server, steps=_steps(conn, action))
        text = f"Action for request_id {request_id} on instance {server_id} not found."
        raise NotFound("action", request_id, message=text)

    return await cloud.db.read(read)


async def history(cloud: Cloud, context: Context, server_id: str, *, most: int) -> list[Traced]:
    """Return the latest actions of a server, the oldest of them first, each with its steps. Raises NotFound."""

    def read(conn: Connection) -> list[Traced]:
        server = servers.visible(conn, context, server_id, deleted=True)
        latest = rows.find(conn, server.id, limit=most)
        return [Traced(action, _steps(conn, action)) for action in reversed(latest)]

    return await cloud.db.read(read)


async def history_of_image(cloud: Cloud, context: Context, image_id: str, *, most: int) -> list[Traced]:
    """Return the latest actions that the caller's project began on an image, the oldest first, each with its steps.

    They stay to be seen when the image is deleted. Raises NotFound for one that is no image that the caller may see.
    """

    def read(conn: Connection) -> list[Traced]:
        mine: dict[str, Any] = {} if context.is_admin else {"project_id": context.project_id or ""}
        found = rows.find(conn, image_id, subject=IMAGE, limit=most, **mine)
        if not found:
            images.visible(conn, context, image_id)
        return [Traced(action, _steps(conn, action)) for action in reversed(found)]

    return await cloud.db.read(read)


def _steps(conn: Connection, action: Action) -> list[Step]:
    return sorted(rows.journal(conn, action.id), key=lambda step: (step.started_at, step.seq))


def _of_request(conn: Connection, server_id: str, request_id: str) -> Action | None:
    return next(iter(rows.find(conn, server_id, request_id=request_id, limit=1)), None)
