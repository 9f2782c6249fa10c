"""/flavors/{flavor_id}/os-extra_specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply, plain_json
from floe.api.kit.policy import admin, project_reader
from floe.api.kit.routing import Route
from floe.cloud import flavors as cloud
from floe.core.errors import Invalid, NotFound
from floe.core.extra_specs import check_known

_Specs = at_most(dict[str, Annotated[str, Meta(max_length=255)] | int | float], 256)
_ALL = Body(None, (Field("extra_specs", _Specs, required=True),))


async def index(call: Call) -> Reply:
    """GET: all extra specs."""
    flavor = await cloud.show(call.cloud, call.context, call.params["flavor_id"])
    return Reply(200, {"extra_specs": flavor.extra_specs})


async def show(call: Call) -> Reply:
    """GET {key}."""
    flavor = await cloud.show(call.cloud, call.context, call.params["flavor_id"])
    key = call.params["key"]
    if key not in flavor.extra_specs:
        raise NotFound("extra spec", key, message=f"Flavor {flavor.flavor_id} has no extra specs with key {key}.")
    return Reply(200, {key: flavor.extra_specs[key]})


async def create(call: Call) -> Reply:
    """POST: add and replace extra specs."""
    specs = {key: str(value) for key, value in _ALL.read(await call.raw(), call.version)["extra_specs"].items()}
    await _set(call, specs)
    return Reply(200, {"extra_specs": specs})


async def update(call: Call) -> Reply:
    """PUT {key}: one extra spec; the body is `{key: value}`."""
    key = call.params["key"]
    body = plain_json(await call.raw())
    if not isinstance(body, dict) or list(body) != [key]:
        raise Invalid(f"Request body and URI mismatch: the body must have the one key {key!r}.")
    value = body[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Invalid(f"Invalid input for field/attribute {key}: its value must be text or a number.")
    await _set(call, {key: str(value)})
    return Reply(200, {key: str(value)})


async def _set(call: Call, specs: Mapping[str, str]) -> None:
    if call.version >= (2, 86):
        check_known(specs)
    await cloud.set_extra_specs(call.cloud, call.context, call.params["flavor_id"], specs)


async def delete(call: Call) -> Reply:
    """DELETE {key}."""
    await cloud.delete_extra_spec(call.cloud, call.context, call.params["flavor_id"], call.params["key"])
    return Reply(200)


_PATH = "/v2.1/flavors/{flavor_id}/os-extra_specs"

ROUTES = (
    Route("GET", _PATH, index, "os_compute_api:os-flavor-extra-specs:index", query=ONCE_OPEN),
    Route("POST", _PATH, create, "os_compute_api:os-flavor-extra-specs:create"),
    Route("GET", _PATH + "/{key}", show, "os_compute_api:os-flavor-extra-specs:show", query=ONCE_OPEN),
    Route("PUT", _PATH + "/{key}", update, "os_compute_api:os-flavor-extra-specs:update"),
    Route("DELETE", _PATH + "/{key}", delete, "os_compute_api:os-flavor-extra-specs:delete"),
)

POLICIES = {
    "os_compute_api:os-flavor-extra-specs:index": project_reader,
    "os_compute_api:os-flavor-extra-specs:show": project_reader,
    "os_compute_api:os-flavor-extra-specs:create": admin,
    "os_compute_api:os-flavor-extra-specs:update": admin,
    "os_compute_api:os-flavor-extra-specs:delete": admin,
}
