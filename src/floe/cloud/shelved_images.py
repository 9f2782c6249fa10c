"""The images that shelved servers are kept in: made with a shelve, gone with its end, or with the server."""

from __future__ import annotations

from datetime import datetime

from floe.cloud import unmade_images
from floe.core.actions import Action
from floe.core.context import Context
from floe.core.servers import Server
from floe.store import images, shelved_servers
from floe.store.engine import Connection


def remove(conn: Connection, action: Action, now: datetime, action_id: str) -> str:
    """Have a server be shelved no more, and delete the image that it was kept in; return what to say of that.

    One that its user protects stays, as their own. An action of that id sees to the bytes.
    """
    kept = shelved_servers.get(conn, action.subject_id)
    if kept is None:
        return ""
    shelved_servers.delete(conn, action.subject_id)
    image = images.get(conn, kept.image_id)
    if image is None:
        return ""
    if image.protected:
        return f"image {image.id} is protected, and stays"
    unmade_images.remove(conn, image, action, now, action_id)
    return f"image {image.id} is deleted"


def let_go(conn: Connection, context: Context, server: Server, now: datetime, action_id: str) -> None:
    """Delete the image of a server that is itself deleted."""
    by = Action(
        id=action_id,
        kind="delete",
        subject_id=server.id,
        project_id=context.project_id or server.project_id,
        user_id=context.user_id,
        request_id=context.request_id,
        created_at=now,
    )
    remove(conn, by, now, action_id)
