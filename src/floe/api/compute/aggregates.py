"""/os-aggregates."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from floe.api.compute.dialect import KEPT, ONCE_OPEN, Nova, under
from floe.api.compute.fields import HostName, printable
from floe.api.kit.body import Body, Field, ItemKey, Name, Uuid, at_most
from floe.api.kit.call import Call, Reply, Route
from floe.api.kit.policy import admin
from floe.api.kit.resource import Fields, Member, Resource, Use, Wire, constant
from floe.api.kit.shape import Of
from floe.api.kit.values import MOST, whole
from floe.cloud import aggregates
from floe.core.aggregates import Aggregate, zone_name
from floe.core.clock import iso_micro
from floe.core.errors import Invalid
from floe.core.listing import Listing

_Text = Annotated[str, Meta(min_length=1, max_length=255)]
_Changes = at_most(dict[ItemKey, Annotated[str, Meta(max_length=255)] | None], 1024)
_CALLS = ("index", "create", "show", "update", "delete", "add_host", "remove_host", "set_metadata")


class _Image(Struct, forbid_unknown_fields=True):
    id: Uuid


_CACHE = Body(None, (Field("cache", Annotated[list[_Image], Meta(min_length=1, max_length=64)], required=True),))


def _named(_call: Call, text: str) -> str:
    return str(whole(text, "id", low=-MOST))


def _stripped(name: str, field: str) -> str:
    if not name.strip():
        raise Invalid(f"Invalid input for field/attribute {field}: {name[:80]!r} is nothing but white space.")
    return printable(name.strip(), field)


def _zone(name: str | None, _field: str) -> str | None:
    return None if name is None else zone_name(name)


def _takes(name: str, kind: Any) -> Fields[Aggregate]:
    return Fields(Wire(name, use=Use.CREATE, type=kind, required=True))


AGGREGATE: Resource[Aggregate] = Resource(
    name="aggregate",
    plural="aggregates",
    dialect=Nova(
        path="os-aggregates",
        ident="aggregate_id",
        may=under("os_compute_api:os-aggregates", **dict.fromkeys(_CALLS, admin)),
        listing=lambda _call: Listing(),
        query=ONCE_OPEN,
        deleted=200,
        named=_named,
    ),
    fields=Fields(
        Wire("id"),
        Wire("uuid", since=(2, 41)),
        Wire("name", use=Use.CREATE, type=Name, check=printable, required=True),
        Wire("name", use=Use.UPDATE, type=_Text, check=_stripped, shown=False),
        Wire("availability_zone", "zone", Use.WRITE, type=_Text | None, check=_zone),
        Wire("hosts", only=KEPT),
        Wire("metadata", only=KEPT),
        Wire("created_at", shown=Of("created_at", iso_micro)),
        Wire("updated_at", shown=Of("updated_at", iso_micro)),
        constant("deleted_at", None),
        constant("deleted", False),
    ),
    create=aggregates.create,
    find=aggregates.find,
    show=aggregates.show,
    update=aggregates.update,
    delete=aggregates.delete,
    members=(
        Member(method="POST", name="add_host", takes=_takes("host", HostName), act=aggregates.add_host),
        Member(method="POST", name="remove_host", takes=_takes("host", HostName), act=aggregates.remove_host),
        Member(method="POST", name="set_metadata", takes=_takes("metadata", _Changes), act=aggregates.set_metadata),
    ),
)


async def images(call: Call) -> Reply:
    """POST {aggregate_id}/images, since 2.81: refused, since no host here fetches an image before it needs it."""
    asked = [image.id for image in _CACHE.read(await call.raw(), call.version)["cache"]]
    if len(set(asked)) < len(asked):
        raise Invalid("Duplicate images in request.")
    await aggregates.show(call.cloud, call.context, _named(call, call.params["aggregate_id"]))
    raise Invalid("Images cannot be cached ahead: a host here fetches an image when its first server needs it.")


_IMAGES = "compute:aggregates:images"
ROUTES = (
    *AGGREGATE.routes,
    Route("POST", "/v2.1/os-aggregates/{aggregate_id}/images", images, _IMAGES, since=(2, 81)),
)
POLICIES = {**AGGREGATE.policies, _IMAGES: admin}
