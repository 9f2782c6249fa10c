"""What a server's guest posted for its users to read: see `core.guest_passwords`."""

from __future__ import annotations

from floe.cloud import guest_metadata, servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.guest_passwords import believable, is_there
from floe.core.messages import PasswordPosted
from floe.core.servers import BUILDING, Server
from floe.store import hosts
from floe.store import servers as rows
from floe.store.engine import Connection


async def show(cloud: Cloud, context: Context, server_id: str) -> str:
    """Return a server's password, "" where its guest posted none. Raises NotFound."""
    return (await servers.find(cloud, context, server_id)).password or ""


async def clear(cloud: Cloud, context: Context, server_id: str) -> None:
    """Forget a server's password, so that its guest may post another. Raises NotFound."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> tuple[Server, str]:
        server = servers.visible(conn, context, server_id)
        if is_there(server.password_turn):
            rows.change(conn, server_id, password=None, password_turn=server.password_turn + 1, updated_at=now)
            server = servers.visible(conn, context, server_id)
        return server, _zone(conn, server.host)

    server, zone = await cloud.db.write(apply)
    if server.password_turn:
        await guest_metadata.tell(cloud, server, zone)


async def posted(cloud: Cloud, event: PasswordPosted) -> None:
    """Take what a host says of a guest, if the row does not know better, and tell it what the row says."""
    if not believable(event.password, event.turn):
        raise Invalid("That is no password of a guest.")
    now = cloud.clock.now()

    def look(conn: Connection) -> tuple[Server | None, str]:
        return rows.get(conn, event.server_id), _zone(conn, event.host)

    def take(conn: Connection) -> Server | None:
        rows.take_password(conn, event.server_id, event.host, event.password, event.turn, now)
        return rows.get(conn, event.server_id)

    server, zone = await cloud.db.read(look)
    if server is not None and server.host == event.host and server.password_turn < event.turn:
        server = await cloud.db.write(take)
    if server is not None and server.host == event.host and server.vm_state != BUILDING:
        await guest_metadata.tell(cloud, server, zone)


def _zone(conn: Connection, host: str | None) -> str:
    known = None if host is None else hosts.get(conn, host)
    return "" if known is None else known.zone
