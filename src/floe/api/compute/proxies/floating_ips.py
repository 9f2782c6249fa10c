"""/os-floating-ips and /os-floating-ip-pools."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.compute.proxies.window import UNTIL
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import authenticated, project_member, project_reader
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.cloud import floating_ip_pools, floating_ips
from floe.cloud.floating_ip_pools import Pooled
from floe.core.errors import NotFound, OverQuota
from floe.core.networks import NoRoom

_NEW = Body(None, (Field("pool", Annotated[str, Meta(max_length=255)] | None),))


async def index(call: Call) -> Reply:
    """GET: those of the project."""
    found = await floating_ip_pools.find(call.cloud, call.context)
    return Reply(200, {"floating_ips": (_shown(each) for each in found)})


async def show(call: Call) -> Reply:
    """GET {floating_id}."""
    ident = call.params["floating_id"]
    try:
        found = await floating_ip_pools.show(call.cloud, call.context, ident)
    except NotFound as error:
        raise _not_found(ident) from error
    return Reply(200, {"floating_ip": _shown(found)})


async def create(call: Call) -> Reply:
    """POST: one of a pool, if the body names any."""
    raw = await call.raw()
    pool = _NEW.read(raw, call.version).get("pool") if raw not in {b"", b"null"} else None
    try:
        made = await floating_ip_pools.create(call.cloud, call.context, pool or None)
    except NoRoom as error:
        where = f" in pool {pool}" if pool else ""
        raise OverQuota(f"IP allocation over quota{where}. {error.message}") from error
    return Reply(200, {"floating_ip": _shown(made)})


async def delete(call: Call) -> Reply:
    """DELETE {floating_id}: give it back, whatever it leads to."""
    ident = call.params["floating_id"]
    try:
        await floating_ips.delete(call.cloud, call.context, ident)
    except NotFound as error:
        raise _not_found(ident) from error
    return Reply(202)


async def pools(call: Call) -> Reply:
    """GET os-floating-ip-pools: the external networks, by name."""
    found = await floating_ip_pools.pools(call.cloud, call.context)
    return Reply(200, {"floating_ip_pools": ({"name": name} for name in found)})


def _shown(found: Pooled) -> dict[str, Any]:
    return {
        "id": found.floating.id,
        "ip": found.floating.address,
        "pool": found.pool,
        "fixed_ip": found.floating.fixed_address,
        "instance_id": found.device_id,
    }


def _not_found(ident: str) -> NotFound:
    return NotFound("floating ip", ident, message=f"Floating IP not found for ID {ident}")


_ALL = "/v2.1/os-floating-ips"
_ONE = _ALL + "/{floating_id}"
_RULE, _POOLS = "os_compute_api:os-floating-ips", "os_compute_api:os-floating-ip-pools"

ROUTES = (
    Route("GET", _ALL, index, f"{_RULE}:list", until=UNTIL, query=OPEN_QUERY),
    Route("POST", _ALL, create, f"{_RULE}:create", until=UNTIL),
    Route("GET", _ONE, show, f"{_RULE}:show", until=UNTIL, query=OPEN_QUERY),
    Route("DELETE", _ONE, delete, f"{_RULE}:delete", until=UNTIL),
    Route("GET", "/v2.1/os-floating-ip-pools", pools, _POOLS, until=UNTIL, query=OPEN_QUERY),
)

POLICIES = {
    f"{_RULE}:list": project_reader,
    f"{_RULE}:show": project_reader,
    f"{_RULE}:create": project_member,
    f"{_RULE}:delete": project_member,
    _POOLS: authenticated,
}
