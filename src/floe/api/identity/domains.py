"""Domains."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.api.identity.filters import Filters, called, flag
from floe.api.identity.replies import ShortName, ShortText, Tags, with_link, with_properties
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import domains, identity
from floe.core.domains import Domain

SHAPE: Shape[Domain] = Shape(
    [
        Shown("id", lambda domain: domain.id),
        Shown("name", lambda domain: domain.name),
        Shown("description", lambda domain: domain.description),
        Shown("enabled", lambda domain: domain.enabled),
        Shown("tags", lambda domain: list(domain.tags)),
        Shown("options", lambda _domain: {}),
    ]
)
_FIELDS = (
    Field("description", ShortText),
    Field("enabled", bool),
    Field("tags", Tags),
    Field("options", at_most(dict[str, Any])),
    Field("is_domain", Literal[True]),
    Field("parent_id", None),
)
_NULLABLE = ("parent_id",)
_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
_CREATE = Body(
    "domain", [Field("name", ShortName, required=True), Field("explicit_domain_id", _Hex), *_FIELDS], strict=False
)
_UPDATE = Body("domain", [Field("name", ShortName), *_FIELDS], strict=False)
_FILTERS = Filters(called(64), flag("enabled"))


def shown(call: Call, domain: Domain) -> dict[str, Any]:
    """Return a domain as it is on the wire."""
    return with_link(call, f"/v3/domains/{domain.id}", {**domain.properties, **SHAPE.show(domain)})


async def index(call: Call) -> Reply:
    """List domains by name and whether they are enabled."""
    found = await domains.find(call.cloud, call.context)
    return await _FILTERS.listed(call, "domains", "/v3/domains", (shown(call, domain) for domain in found))


async def show(call: Call) -> Reply:
    """Show a domain."""
    return Reply(200, {"domain": shown(call, await domains.show(call.cloud, call.context, call.params["domain_id"]))})


async def create(call: Call) -> Reply:
    """Make a domain."""
    fields = _fields(await with_properties(call, _CREATE, *_NULLABLE))
    domain_id = fields.pop("explicit_domain_id", None)
    return Reply(201, {"domain": shown(call, await domains.create(call.cloud, fields, domain_id))})


async def update(call: Call) -> Reply:
    """Change a domain."""
    fields = _fields(await with_properties(call, _UPDATE, *_NULLABLE, own_id=call.params["domain_id"]))
    return Reply(200, {"domain": shown(call, await domains.update(call.cloud, call.params["domain_id"], fields))})


async def delete(call: Call) -> Reply:
    """Remove a disabled domain."""
    await domains.delete(call.cloud, call.params["domain_id"])
    return Reply(204)


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what of a domain as a project, which it is in Keystone, is always the same."""
    return {name: value for name, value in fields.items() if name not in {"is_domain", "parent_id"}}


ROUTES = (
    Route("GET", "/v3/domains", index, "identity:list_domains"),
    Route("POST", "/v3/domains", create, "identity:create_domain"),
    Route("GET", "/v3/domains/{domain_id}", show, "identity:get_domain"),
    Route("PATCH", "/v3/domains/{domain_id}", update, "identity:update_domain"),
    Route("DELETE", "/v3/domains/{domain_id}", delete, "identity:delete_domain"),
)
POLICIES: Policies = {
    "identity:list_domains": authenticated,
    "identity:get_domain": authenticated,
    "identity:create_domain": identity.administers_cloud,
    "identity:update_domain": identity.administers_cloud,
    "identity:delete_domain": identity.administers_cloud,
}
