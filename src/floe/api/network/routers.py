"""`/v2.0/routers`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Extension, Fields, Member, Resource, Use, Wire, constant
from floe.api.kit.shape import Always
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import flag, ident, listed, malformed, pair
from floe.api.network.dialect import NEUTRON
from floe.api.network.ports import fixed_ips
from floe.cloud import router_interfaces, routers
from floe.cloud.router_interfaces import Joined
from floe.core.routers import Gateway, Router

_GATEWAY = frozenset({"network_id", "enable_snat", "external_fixed_ips", "qos_policy_id"})
_ROUTE = pair("destination", "nexthop")
_routes = listed(_ROUTE, distinct=False)


def _gateway(value: Any, name: str) -> Gateway | None:
    """Read how a router is to lead out; null and an empty object are: not at all."""
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or not value.keys() <= _GATEWAY:
        raise malformed(f"Invalid input for {name}: it must be an object of {', '.join(sorted(_GATEWAY))}.")
    if "network_id" not in value:
        raise malformed(f"Invalid input for {name}: network_id is missing.")
    if value.get("qos_policy_id") is not None:
        raise malformed(f"Invalid input for {name}: there are no QoS policies; leave qos_policy_id out.")
    snat = None if value.get("enable_snat") is None else flag(value["enable_snat"], "enable_snat")
    chosen = value.get("external_fixed_ips")
    return Gateway(
        network_id=ident(value["network_id"], "network_id"),
        snat=snat,
        fixed_ips=None if chosen is None else fixed_ips(chosen, "external_fixed_ips"),
    )


def _shown_gateway(router: Router) -> dict[str, Any] | None:
    if router.gateway_network_id is None:
        return None
    return {
        "network_id": router.gateway_network_id,
        "enable_snat": router.snat,
        "external_fixed_ips": [{"subnet_id": subnet, "ip_address": address} for subnet, address in router.gateway_ips],
    }


def _shown_routes(router: Router) -> list[dict[str, str]]:
    return [{"destination": destination, "nexthop": nexthop} for destination, nexthop in router.routes]


def _no_hints(value: Any, name: str) -> list[str]:
    if value:
        raise malformed(f"Invalid input for {name}: a router is in the zones of the guests it serves; leave it out.")
    return []


def _given_routes(value: Any, name: str) -> Any:
    """Read `{"router": {"routes": [...]}}`, whose inner object this is."""
    if not isinstance(value, dict) or set(value) != {"routes"}:
        raise malformed(f"Invalid input for {name}: it must be an object with routes, and nothing else.")
    return _routes(value["routes"], "routes")


def _joined(router_id: str, joined: Joined) -> dict[str, Any]:
    return {
        "id": router_id,
        "project_id": joined.project_id,
        "tenant_id": joined.project_id,
        "port_id": joined.port_id,
        "network_id": joined.network_id,
        "subnet_id": joined.subnet_id,
        "subnet_ids": [joined.subnet_id],
    }


def _kind(name: str) -> Wire[Router]:
    return Wire(name, use=Use.WRITE | Use.FILTER, convert=flag, shown=Always(False), only="admin", constant=False)


_INTERFACE: Fields[Router] = Fields(
    Wire("subnet_id", use=Use.CREATE, check=ident), Wire("port_id", use=Use.CREATE, check=ident)
)
_ROUTES: Fields[Router] = Fields(Wire("router", "routes", Use.CREATE, check=_given_routes, required=True))

ROUTER: Resource[Router] = Resource(
    name="router",
    plural="routers",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        DESCRIPTION,
        *OWNER,
        Wire("admin_state_up", "up", Use.ALL, flag),
        constant("status", "ACTIVE", Use.FILTER),
        Wire("external_gateway_info", "gateway", Use.WRITE, check=_gateway, shown=_shown_gateway),
        Wire("routes", use=Use.UPDATE, check=_routes, shown=_shown_routes),
        _kind("distributed"),
        _kind("ha"),
        constant("availability_zone_hints", [], Use.CREATE, check=_no_hints),
        Wire("availability_zones", shown=lambda router: list(router.zones)),
        TAGS,
        *REVISED,
    ),
    create=routers.create,
    find=routers.find,
    show=routers.show,
    update=routers.update,
    delete=routers.delete,
    retag=routers.retag,
    members=(
        Member(method="PUT", name="add_router_interface", takes=_INTERFACE, act=router_interfaces.add, shown=_joined),
        Member(
            method="PUT", name="remove_router_interface", takes=_INTERFACE, act=router_interfaces.remove, shown=_joined
        ),
        Member(method="PUT", name="add_extraroutes", takes=_ROUTES, act=routers.add_routes),
        Member(method="PUT", name="remove_extraroutes", takes=_ROUTES, act=routers.remove_routes),
    ),
    extension=Extension("router", "Neutron L3 Router", "Routers between networks and to the outside."),
)
