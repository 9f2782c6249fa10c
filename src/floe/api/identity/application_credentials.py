"""Application credentials."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.identity.dialect import Keystone, each, unseen
from floe.api.identity.filters import Filters, text
from floe.api.identity.replies import LongName, Text
from floe.api.kit.body import at_most
from floe.api.kit.policy import authenticated
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.kit.values import moment
from floe.cloud import application_credentials
from floe.cloud.application_credentials import Detail
from floe.core.clock import iso_micro
from floe.core.errors import Invalid
from floe.core.tokens import Named

_Secret = Annotated[str, Meta(min_length=1, max_length=1024)] | None
_NEW = Use.CREATE


class _Role(msgspec.Struct, forbid_unknown_fields=True):
    id: str | None = None
    name: str | None = None


def _flag(value: bool | None, _name: str) -> bool:
    return bool(value)


def _moment(value: str | None, name: str) -> Any:
    return None if value is None else moment(value, name)


def _no_rules(rules: list[Any], name: str) -> None:
    if rules:
        raise Invalid(f"{name}: credentials for some requests only are not offered; leave it out.")


def _roles(roles: list[_Role], _name: str) -> list[Named] | None:
    if any((role.id is None) == (role.name is None) for role in roles):
        raise Invalid("roles: each must have either an id or a name.")
    return [Named(id=role.id, name=role.name) for role in roles] or None


def _shown_roles(detail: Detail) -> list[dict[str, Any]]:
    return [{"id": role.id, "name": role.name, "domain_id": None} for role in detail.roles]


CREDENTIAL: Resource[Detail] = Resource(
    name="application_credential",
    plural="application_credentials",
    dialect=Keystone(filters=Filters(text("name")), writes=authenticated, of_user=True),
    fields=Fields(
        Wire("id"),
        Wire("name", use=_NEW, type=LongName, required=True, shown="credential.name"),
        Wire("description", use=_NEW, type=Text, shown="credential.description"),
        Wire("user_id", shown="credential.user_id"),
        Wire("project_id", use=_NEW, type=str | None, shown="credential.project_id"),
        constant("system", None),
        Wire(
            "expires_at", use=_NEW, type=str | None, check=_moment,
            shown=lambda detail: iso_micro(detail.credential.expires_at),
        ),
        Wire("unrestricted", use=_NEW, type=bool | None, check=_flag, shown="credential.unrestricted"),
        Wire("roles", use=_NEW, type=at_most(list[_Role]), check=_roles, shown=_shown_roles),
        # Only the reply to a create has it.
        Wire("secret", use=_NEW, type=_Secret, sparse=True),
        constant("access_rules", None, _NEW, type=at_most(list[Any]), check=_no_rules, shown=False),
    ),
    create=each(application_credentials.create),
    find=application_credentials.find,
    show=application_credentials.show,
    delete=unseen(application_credentials.delete),
)  # fmt: skip
ROUTES = CREDENTIAL.routes
POLICIES = CREDENTIAL.policies
