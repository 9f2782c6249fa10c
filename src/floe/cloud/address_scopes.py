"""Address scopes of a project: which of its subnet pools routers may join without NAT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from floe.cloud import network_room
from floe.cloud.cloud import Cloud
from floe.core.address_scopes import AddressScope
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid
from floe.store import subnetpools
from floe.store.address_scopes import ROWS
from floe.store.engine import Connection

OWNED = network_room.Owned("address scope", ROWS, new=AddressScope)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[AddressScope]:
    """Make scopes (name, ip_version, shared, project_id), all of them or none. Raises Invalid, Forbidden, NoRoom."""
    for item in asked:
        _may_share(context, item.get("shared", False))
    return await OWNED.create(cloud, context, asked)


async def update(
    cloud: Cloud, context: Context, scope_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> AddressScope:
    """Change a scope (name, shared). Raises NotFound, Forbidden, Invalid, Outdated."""
    now = cloud.clock.now()

    def write(conn: Connection) -> AddressScope:
        scope = OWNED.own(conn, context, scope_id, seen)
        _may_share(context, asked.get("shared", scope.shared) and not scope.shared)
        if scope.shared and not asked.get("shared", True):
            raise Invalid(
                f"Unable to update address scope {scope_id} : Shared address scope can't be unshared.",
                reason="stays_shared",
            )
        return OWNED.change(conn, context, scope, asked, now)

    return await cloud.db.write(write)


async def delete(cloud: Cloud, context: Context, scope_id: str, seen: int | None = None) -> None:
    """Remove a scope that no subnet pool is of. Raises NotFound, Forbidden, Conflict, Outdated."""

    def check(conn: Connection, _scope: AddressScope) -> None:
        if subnetpools.of_scope(conn, scope_id):
            raise Conflict(
                f"Unable to complete operation on address scope {scope_id}. There are one or more subnet pools in use"
                " on the address scope.",
                reason="address_scope_in_use",
            )

    await OWNED.delete(cloud, context, scope_id, seen, check)


def _may_share(context: Context, shared: bool) -> None:
    if shared and not context.is_admin:
        raise Forbidden("Only an administrator may share an address scope with all projects.")
