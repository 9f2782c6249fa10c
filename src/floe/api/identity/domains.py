"""Domains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.api.identity.dialect import keystone
from floe.api.identity.filters import Filters, called, flag
from floe.api.identity.replies import ShortName, ShortText, Tags
from floe.api.kit.body import at_most
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.cloud import domains, identity
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.domains import Domain
from floe.core.listing import Listing

_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


async def _create(cloud: Cloud, _context: Context, asked: list[dict[str, Any]]) -> list[Domain]:
    return [await domains.create(cloud, item, item.pop("explicit_domain_id", None)) for item in asked]


async def _find(cloud: Cloud, context: Context, _listing: Listing) -> list[Domain]:
    return await domains.find(cloud, context)


async def _update(cloud: Cloud, _context: Context, ident: str, asked: Mapping[str, Any], _seen: int | None) -> Domain:
    return await domains.update(cloud, ident, asked)


async def _delete(cloud: Cloud, _context: Context, ident: str, _seen: int | None) -> None:
    await domains.delete(cloud, ident)


DOMAIN: Resource[Domain] = Resource(
    name="domain",
    plural="domains",
    dialect=keystone(Filters(called(64), flag("enabled")), "parent_id", writes=identity.administers_cloud),
    fields=Fields(
        Wire("id"),
        Wire("name", use=Use.WRITE, type=ShortName, required=True),
        Wire("description", use=Use.WRITE, type=ShortText),
        Wire("enabled", use=Use.WRITE, type=bool),
        Wire("tags", use=Use.WRITE, type=Tags),
        Wire("explicit_domain_id", use=Use.CREATE, type=_Hex, shown=False),
        constant("options", {}, Use.WRITE, type=at_most(dict[str, Any])),
        # In Keystone a domain is a project, of which these are always the same.
        constant("is_domain", True, Use.WRITE, type=Literal[True], shown=False),
        constant("parent_id", None, Use.WRITE, type=None, shown=False),
    ),
    create=_create,
    find=_find,
    show=domains.show,
    update=_update,
    delete=_delete,
)
ROUTES = DOMAIN.routes
POLICIES = DOMAIN.policies
