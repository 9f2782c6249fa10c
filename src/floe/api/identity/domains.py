"""Domains."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from floe.api.identity.dialect import Keystone, each, unseen
from floe.api.identity.filters import Filters, called, flag
from floe.api.identity.replies import ShortName, ShortText, Tags
from floe.api.kit.body import at_most
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.cloud import domains, identity
from floe.core.domains import Domain

_Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]


DOMAIN: Resource[Domain] = Resource(
    name="domain",
    plural="domains",
    dialect=Keystone(
        filters=Filters(called(64), flag("enabled")), nullable=("parent_id",), writes=identity.administers_cloud
    ),
    fields=Fields(
        Wire("id"),
        Wire("name", use=Use.WRITE, type=ShortName, required=True),
        Wire("description", use=Use.WRITE, type=ShortText),
        Wire("enabled", use=Use.WRITE, type=bool),
        Wire("tags", use=Use.WRITE, type=Tags),
        Wire("explicit_domain_id", "id", use=Use.CREATE, type=_Hex, shown=False),
        constant("options", {}, Use.WRITE, type=at_most(dict[str, Any])),
        # In Keystone a domain is a project, of which these are always the same.
        constant("is_domain", True, Use.WRITE, type=Literal[True], shown=False),
        constant("parent_id", None, Use.WRITE, type=None, shown=False),
    ),
    create=each(domains.DOMAINS.create),
    find=domains.find,
    show=domains.show,
    update=unseen(domains.DOMAINS.update),
    delete=unseen(domains.delete),
)
ROUTES = DOMAIN.routes
POLICIES = DOMAIN.policies
