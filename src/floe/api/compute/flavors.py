"""Flavors: the sizes on offer, and which projects may use those that are not public."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.compute.dialect import Nova, paged, under
from floe.api.compute.fields import Flag, flag, multiline, printable
from floe.api.kit.body import Name, either
from floe.api.kit.call import Call
from floe.api.kit.paging import window
from floe.api.kit.policy import admin, authenticated, in_project, project_reader
from floe.api.kit.query import Param, Query
from floe.api.kit.resource import Fields, Member, Resource, Use, Values, Wire
from floe.api.kit.values import MOST, Count, Digits, whole
from floe.cloud import flavors
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.patterns import translated
from floe.core.servers import ServerFlavor

_Id = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9_.-]([a-zA-Z0-9_. -]*[a-zA-Z0-9_.-])?\Z")]
_Description = Annotated[str, Meta(max_length=65535)] | None
_Swap = int | either(Digits, "")
_Factor = float | Annotated[str, Meta(pattern=r"^[0-9]+(\.[0-9]+)?\Z", max_length=20)]
_Project = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9-]+\Z")]

_FULL = frozenset({"detail", "show", "create", "update"})
_NEW = Use.CREATE
_FACTORS_UNTIL = (2, 101)
"""The last microversion with factors of bandwidth and flavors that are disabled, of which Floe does neither."""
_SORT_KEYS = {
    "flavorid": "id",
    "name": "name",
    "memory_mb": "memory_mib",
    "vcpus": "vcpus",
    "root_gb": "root_gib",
    "ephemeral_gb": "ephemeral_gib",
    "swap": "swap_mib",
    "disabled": "disabled",
    "is_public": "public",
    "rxtx_factor": "rxtx_factor",
}
_LATER_SORT_KEYS = {key: to for key, to in _SORT_KEYS.items() if key != "rxtx_factor"}
_reads_specs = in_project(project_reader)


def _ident(value: str | float | None, _name: str) -> str:
    """Return the id asked for, nothing where one is to be made."""
    return "" if value in {None, "auto"} else str(value)


def _some(value: int | str, name: str) -> int:
    return whole(value, name, 1)


def _swap(value: int | str, name: str) -> int:
    return whole(value or 0, name)


def _factor(value: float | str, _name: str) -> float:
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 3.4e38:
        raise Invalid(f"Invalid input for field/attribute rxtx_factor: {value!r} is no number greater than 0.")
    return factor


def _text(value: str | None, name: str) -> str | None:
    return None if value is None else multiline(value, name)


def _listing(call: Call) -> Listing:
    # What is no filter of anybody costs the list its statement, which is kept compiled.
    least = {"min_root_gib": _least(call, "minDisk"), "min_memory_mib": _least(call, "minRam")}
    public = _public(call.one("is_public")) if call.context.is_admin else True
    also: dict[str, Any] = {name: value for name, value in least.items() if value > 0}
    if (name := call.one("name")) is not None:
        also["name"] = name
    keys = _SORT_KEYS if call.version <= _FACTORS_UNTIL else _LATER_SORT_KEYS
    return paged(call, keys, "flavorid", public=public, **also)


def _public(text: str | None) -> bool | None:
    if text is None:
        return True
    return None if text.lower() == "none" else flag(text, "is_public")


def _least(call: Call, name: str) -> int:
    text = call.one(name)
    return 0 if text is None else whole(text, name, -MOST, cut=True)


def _holds(call: Call, what: str) -> frozenset[str]:
    """Extra specs are for those who may read them by their own call too, and never in the short list."""
    return frozenset({"specs"}) if what != "index" and _reads_specs(call.context) else frozenset()


def _access(flavor_id: str, projects: list[str]) -> Values:
    return {"flavor_access": [{"flavor_id": flavor_id, "tenant_id": project} for project in projects]}


_TENANT: Fields[Any] = Fields(Wire("tenant", "project_id", _NEW, type=_Project, required=True))
_GRANTED: Fields[Any] = Fields(
    Wire("tenant", "project_id_of_any", _NEW, type=_Project, required=True, until=(2, 6)),
    Wire("tenant", "project_id", _NEW, type=_Project, required=True, since=(2, 7)),
)
"""Below 2.7 public flavors are granted too, which changes nothing."""
_ACCESS = "os_compute_api:os-flavor-access"
FLAVOR: Resource[ServerFlavor] = Resource(
    name="flavor",
    plural="flavors",
    dialect=Nova(
        path="flavors",
        ident="flavor_id",
        key="flavor_id",
        may={
            **dict.fromkeys(("index", "detail", "show"), ("os_compute_api:flavors", authenticated)),
            **under("os_compute_api:os-flavor-manage", create=admin, update=admin, delete=admin),
            "os-flavor-access": (_ACCESS, admin),
            "addTenantAccess": (f"{_ACCESS}:add_tenant_access", admin),
            "removeTenantAccess": (f"{_ACCESS}:remove_tenant_access", admin),
        },
        listing=_listing,
        query=Query(
            *window(),
            *(Param(name, many=True) for name in ("is_public", "minDisk", "minRam", "sort_key", "sort_dir")),
            Param("name", since=(2, 102), many=True, check=translated),
            closed=(2, 75),
        ),
        deleted=202,
        links_since=(0, 0),
        linked=True,
        holds=_holds,
    ),
    fields=Fields(
        Wire("id", "flavor_id", _NEW, type=_Id | int | float | None, check=_ident),
        Wire("name", use=_NEW, type=Name, check=printable, required=True),
        Wire("ram", "memory_mib", _NEW, type=Count, check=_some, required=True, only=_FULL),
        Wire("vcpus", use=_NEW, type=Count, check=_some, required=True, only=_FULL),
        Wire("disk", "root_gib", _NEW, type=Count, check=whole, required=True, only=_FULL),
        Wire(
            "swap", "swap_mib", _NEW, type=_Swap, check=_swap, only=_FULL,
            shown=lambda flavor: flavor.swap_mib or "", until=(2, 74),
        ),
        Wire("swap", "swap_mib", _NEW, type=_Swap, check=_swap, only=_FULL, since=(2, 75)),
        Wire("OS-FLV-EXT-DATA:ephemeral", "ephemeral_gib", _NEW, type=Count, check=whole, only=_FULL),
        Wire("OS-FLV-DISABLED:disabled", "disabled", only=_FULL, until=_FACTORS_UNTIL),
        Wire("os-flavor-access:is_public", "public", _NEW, type=Flag, check=flag, only=_FULL),
        Wire("rxtx_factor", use=_NEW, type=_Factor, check=_factor, only=_FULL, until=_FACTORS_UNTIL),
        Wire("description", use=_NEW, type=_Description, check=_text, since=(2, 55)),
        Wire(
            "description", use=Use.UPDATE, type=_Description, check=_text, shown=False, required=True, since=(2, 55)
        ),
        Wire("extra_specs", only="specs", since=(2, 61)),
    ),
    create=flavors.create,
    find=flavors.find,
    show=flavors.show,
    update=flavors.update,
    delete=flavors.delete,
    members=(
        Member(method="GET", name="os-flavor-access", takes=Fields(), act=flavors.access, shown=_access),
        Member(method="POST", name="addTenantAccess", takes=_GRANTED, act=flavors.grant, shown=_access),
        Member(method="POST", name="removeTenantAccess", takes=_TENANT, act=flavors.revoke, shown=_access),
    ),
)  # fmt: skip
ROUTES = FLAVOR.routes
POLICIES = FLAVOR.policies
