"""A server's tags: short words to find it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from floe.cloud import servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid, NotFound
from floe.store import servers as rows
from floe.store.engine import Connection

MAX_TAGS = 50


async def get(cloud: Cloud, context: Context, server_id: str) -> list[str]:
    """Return a server's tags, sorted. Raises NotFound."""

    def look(conn: Connection) -> list[str]:
        servers.visible(conn, context, server_id)
        return rows.tags(conn, server_id)

    return await cloud.db.read(look)


async def replace(cloud: Cloud, context: Context, server_id: str, tags: Sequence[str]) -> list[str]:
    """Make these the server's tags. Raises NotFound, Invalid for too many."""
    return await _edit(cloud, context, server_id, lambda _old: set(tags))


async def add(cloud: Cloud, context: Context, server_id: str, tag: str) -> bool:
    """Add a tag; False if it was there. Raises NotFound, Invalid for too many."""
    before: list[bool] = []

    def with_it(old: set[str]) -> set[str]:
        before.append(tag in old)
        return old | {tag}

    await _edit(cloud, context, server_id, with_it)
    return not before[0]


async def delete(cloud: Cloud, context: Context, server_id: str, tag: str) -> None:
    """Remove a tag. Raises NotFound."""

    def without(old: set[str]) -> set[str]:
        if tag not in old:
            raise NotFound("tag", tag, message=f"Server {server_id} has no tag {tag!r}.")
        return old - {tag}

    await _edit(cloud, context, server_id, without)


async def _edit(cloud: Cloud, context: Context, server_id: str, change: Callable[[set[str]], set[str]]) -> list[str]:
    now = cloud.clock.now()

    def apply(conn: Connection) -> list[str]:
        servers.visible(conn, context, server_id)
        tags = change(set(rows.tags(conn, server_id)))
        if len(tags) > MAX_TAGS:
            raise Invalid(f"A server can have {MAX_TAGS} tags at most (these would be {len(tags)}).")
        rows.set_tags(conn, server_id, tags)
        rows.change(conn, server_id, updated_at=now)
        return sorted(tags)

    return await cloud.db.write(apply)
