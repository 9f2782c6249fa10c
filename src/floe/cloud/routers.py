"""Routers of a project: what they join, and how they lead out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from floe.cloud import gateways, host_networks, network_room
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid
from floe.core.ports import GATEWAY_OWNER, INTERFACE_OWNER
from floe.core.routers import Route, Router, check_hops, check_number, read_routes
from floe.store import ports, routers
from floe.store.engine import Connection
from floe.store.routers import ROWS

OWNED = network_room.Owned("router", ROWS)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Router]:
    """Make routers (name, description, up, gateway, project_id), all of them or none.

    Administrators may say that they are not `distributed` and not `ha`. Raises Invalid, NotFound, Forbidden, Conflict,
    NoRoom.
    """
    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> list[Router]:
        return [make_in(conn, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]

    return await cloud.db.write(make)


def make_in(conn: Connection, context: Context, item: Mapping[str, Any], router_id: str, now: datetime) -> Router:
    """Make one router, on the caller's connection."""
    _check_kind(context, item)
    project_id = network_room.owner(context, item.get("project_id"))
    network_room.demand(conn, project_id, "router")
    router = Router(
        id=router_id,
        project_id=project_id,
        name=item.get("name") or "",
        description=item.get("description") or "",
        up=item.get("up", True),
        created_at=now,
        updated_at=now,
    )
    routers.insert(conn, router)
    if item.get("gateway") is not None:
        gateways.change(conn, context, router, item["gateway"], now)
    return OWNED.get(conn, context, router_id)


async def update(
    cloud: Cloud, context: Context, router_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> Router:
    """Change a router (name, description, up, gateway, routes), if it is at the revision `seen`.

    A gateway of None is none. Raises NotFound, Forbidden, Invalid, Conflict, Outdated.
    """
    changes: dict[str, Any] = {key: asked[key] for key in ("name", "description", "up") if key in asked}
    _check_kind(context, asked)
    if "routes" in asked:
        changes["routes"] = read_routes(asked["routes"])

    def change(conn: Connection, router: Router, now: datetime) -> None:
        if "gateway" in asked:
            router = gateways.change(conn, context, router, asked["gateway"], now)
        if "routes" in asked:
            _check_routes(conn, router, changes["routes"])
        OWNED.change(conn, context, router, changes, now)

    return await _write(cloud, context, router_id, change, seen)


async def delete(cloud: Cloud, context: Context, router_id: str, seen: int | None = None) -> None:
    """Remove a router that joins no network. Raises NotFound, Forbidden, Conflict, Outdated."""
    await cloud.db.write(lambda conn: delete_in(conn, context, router_id, seen))


def delete_in(conn: Connection, context: Context, router_id: str, seen: int | None = None) -> None:
    """Remove a router as `delete` does, on the caller's connection."""
    OWNED.own(conn, context, router_id, seen)
    if routers.port_of(conn, router_id, INTERFACE_OWNER):
        raise Conflict(f"Router {router_id} still has ports", reason="router_in_use")
    ports.delete(conn, *routers.port_of(conn, router_id, GATEWAY_OWNER))
    routers.delete(conn, router_id)


async def add_routes(cloud: Cloud, context: Context, router_id: str, asked: Mapping[str, Any]) -> Router:
    """Give a router further routes; those that it has stay. Raises NotFound, Forbidden, Invalid, Conflict."""
    return await _reroute(cloud, context, router_id, asked, lambda there, more: (*there, *more))


async def remove_routes(cloud: Cloud, context: Context, router_id: str, asked: Mapping[str, Any]) -> Router:
    """Take routes away, as far as they are there. Raises NotFound, Forbidden, Invalid."""

    def left(there: tuple[Route, ...], less: tuple[Route, ...]) -> tuple[Route, ...]:
        return tuple(route for route in there if route not in less)

    return await _reroute(cloud, context, router_id, asked, left)


async def _reroute(
    cloud: Cloud,
    context: Context,
    router_id: str,
    asked: Mapping[str, Any],
    changed: Callable[[tuple[Route, ...], tuple[Route, ...]], tuple[Route, ...]],
) -> Router:
    given = read_routes(asked.get("routes") or ())

    def change(conn: Connection, router: Router, now: datetime) -> None:
        routes = tuple(dict.fromkeys(changed(router.routes, given)))
        check_number(routes)
        _check_routes(conn, router, routes)
        OWNED.change(conn, context, router, {"routes": routes}, now)

    return await _write(cloud, context, router_id, change)


async def _write(
    cloud: Cloud,
    context: Context,
    router_id: str,
    change: Callable[[Connection, Router, datetime], None],
    seen: int | None = None,
) -> Router:
    """Change a router in one transaction, and have the hosts told that it is on."""
    now = cloud.clock.now()

    def write(conn: Connection) -> tuple[Router, bool]:
        router = OWNED.own(conn, context, router_id, seen)
        change(conn, router, now)
        changed = OWNED.get(conn, context, router_id)
        return changed, changed != router and host_networks.touch_router(conn, router_id)

    changed, touched = await cloud.db.write(write)
    if touched:
        await cloud.network_nudge()
    return changed


def _check_kind(context: Context, asked: Mapping[str, Any]) -> None:
    """Refuse another kind of router than there is; the kind is an administrator's to name."""
    for key in ("distributed", "ha"):
        if key in asked and not context.is_admin:
            raise Forbidden(f"Only an administrator may choose {key} of a router.")
        if asked.get(key):
            raise Invalid(
                f"Invalid input for {key}: a router is on each host that has guests behind it, the same on all; it must"
                " be false."
            )


def _check_routes(conn: Connection, router: Router, routes: Sequence[Route]) -> None:
    if not routes:
        return
    there = routers.interfaces(conn, [router.id])
    check_hops(routes, {interface.cidr for interface in there}, [interface.address for interface in there])
