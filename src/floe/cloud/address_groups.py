"""Address groups of a project: sets of addresses that rules of security groups name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from floe.cloud import host_networks, network_room
from floe.cloud.cloud import Cloud
from floe.core.address_groups import AddressGroup, in_order
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.store import security_groups
from floe.store.address_groups import ROWS
from floe.store.engine import Connection

OWNED = network_room.Owned("address group", ROWS, new=AddressGroup)
find, show, retag, update = OWNED.find, OWNED.show, OWNED.retag, OWNED.update


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[AddressGroup]:
    """Make groups (name, description, addresses, project_id), all of them or none. Raises Invalid, NoRoom."""
    new = [{**item, "addresses": in_order(item.get("addresses", ()))} for item in asked]
    return await OWNED.create(cloud, context, new)


async def delete(cloud: Cloud, context: Context, group_id: str, seen: int | None = None) -> None:
    """Remove a group that no rule names. Raises NotFound, Outdated, Conflict."""

    def check(conn: Connection, _group: AddressGroup) -> None:
        if security_groups.names_addresses(conn, group_id):
            raise Conflict(
                f"Address group {group_id} is in use on one or more security group rules.",
                reason="address_group_in_use",
            )

    await OWNED.delete(cloud, context, group_id, seen, check)


async def add(cloud: Cloud, context: Context, group_id: str, asked: Mapping[str, Any]) -> AddressGroup:
    """Put `addresses` into a group. Raises NotFound; Invalid if one is there already, or for too many."""

    def added(there: frozenset[str], more: frozenset[str]) -> frozenset[str]:
        if twice := there & more:
            raise Invalid(
                f"Addresses {_said(twice)} already exist in the address group {group_id}.",
                reason="address_in_group",
            )
        return there | more

    return await _change(cloud, context, group_id, asked, added)


async def remove(cloud: Cloud, context: Context, group_id: str, asked: Mapping[str, Any]) -> AddressGroup:
    """Take `addresses` out of a group. Raises NotFound, also if one is not there."""

    def left(there: frozenset[str], less: frozenset[str]) -> frozenset[str]:
        if missing := less - there:
            message = f"Addresses {_said(missing)} not found in the address group {group_id}."
            raise NotFound("address", message=message)
        return there - less

    return await _change(cloud, context, group_id, asked, left)


async def _change(
    cloud: Cloud,
    context: Context,
    group_id: str,
    asked: Mapping[str, Any],
    change: Callable[[frozenset[str], frozenset[str]], frozenset[str]],
) -> AddressGroup:
    now = cloud.clock.now()

    def write(conn: Connection) -> tuple[AddressGroup, bool]:
        group = OWNED.own(conn, context, group_id)
        after = in_order(change(frozenset(group.addresses), frozenset(asked["addresses"])))
        touched = after != group.addresses and host_networks.touch_addresses(conn, group_id)
        return OWNED.change(conn, context, group, {"addresses": after}, now), touched

    changed, touched = await cloud.db.write(write)
    if touched:
        await cloud.network_nudge()
    return changed


def _said(addresses: frozenset[str]) -> str:
    shown = in_order(addresses)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
