"""A server's metadata: what the user notes on it, and the guest may read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from floe.cloud import guest_metadata, quotas, servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.new_servers import check_metadata
from floe.core.servers import Server
from floe.store import servers as rows
from floe.store.engine import Connection

Items = Mapping[str, str]


async def get(cloud: Cloud, context: Context, server_id: str) -> Items:
    """Return all items. Raises NotFound."""
    return (await servers.find(cloud, context, server_id)).metadata


async def item(cloud: Cloud, context: Context, server_id: str, key: str) -> str:
    """Return one item. Raises NotFound."""
    return _item(await get(cloud, context, server_id), server_id, key)


async def merge(cloud: Cloud, context: Context, server_id: str, items: Items) -> Items:
    """Add items or replace those of the same key. Raises NotFound, Conflict when locked, OverQuota."""
    return await _edit(cloud, context, server_id, lambda old: {**old, **items})


async def replace(cloud: Cloud, context: Context, server_id: str, items: Items) -> Items:
    """Make these the server's items. Raises NotFound, Conflict when locked, OverQuota."""
    return await _edit(cloud, context, server_id, lambda _old: items)


async def delete(cloud: Cloud, context: Context, server_id: str, key: str) -> None:
    """Remove one item. Raises NotFound, Conflict when locked."""

    def without(old: Items) -> Items:
        _item(old, server_id, key)
        return {name: value for name, value in old.items() if name != key}

    await _edit(cloud, context, server_id, without)


def _item(items: Items, server_id: str, key: str) -> str:
    if key not in items:
        raise NotFound("metadata item", key, message=f"Server {server_id} has no metadata item {key!r}.")
    return items[key]


async def _edit(cloud: Cloud, context: Context, server_id: str, change: Callable[[Items], Items]) -> Items:
    now = cloud.clock.now()

    def apply(conn: Connection) -> tuple[Server, str]:
        old = servers.changeable(conn, context, server_id)
        items = change(old.metadata)
        check_metadata(items, quotas.limits(conn, old.project_id, context.user_id))
        rows.change(conn, server_id, metadata=items, updated_at=now)
        return servers.visible(conn, context, server_id), servers.detail(conn, context, server_id, now).zone

    server, zone = await cloud.db.write(apply)
    await guest_metadata.tell(cloud, server, zone)
    return server.metadata
