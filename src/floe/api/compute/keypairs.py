"""/os-keypairs."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta

from floe.api.compute.dialect import Nova, paged, under
from floe.api.kit.body import Name
from floe.api.kit.call import Call
from floe.api.kit.paging import MAX_LIMIT, window
from floe.api.kit.policy import authenticated
from floe.api.kit.query import Param, Query
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.kit.shape import Of
from floe.cloud import keypairs
from floe.core.clock import iso_micro
from floe.core.errors import Invalid
from floe.core.keypairs import Keypair, KeypairName
from floe.core.listing import Listing

_Key = Annotated[str, Meta(max_length=16384)]
_PAGES: tuple[int, int] = (2, 35)
_USER = Param("user_id", since=(2, 10), many=True)


def _name(name: str, _field: str, also: str = "") -> str:
    if not re.fullmatch(rf"[a-zA-Z0-9 {also}_-]+", name):
        others = "".join(f", '{each}'" for each in also)
        raise Invalid(
            f"Keypair data is invalid: name {name[:80]!r} may have letters, digits, spaces, '-', '_'{others} only."
        )
    return name


def _listing(call: Call) -> Listing:
    user_id = call.one("user_id")
    if call.version < _PAGES:
        return Listing(limit=MAX_LIMIT, also={"user_id": user_id})
    return paged(call, user_id=user_id)


KEYPAIR: Resource[Keypair] = Resource(
    name="keypair",
    plural="keypairs",
    dialect=Nova(
        path="os-keypairs",
        ident="name",
        key="name",
        may=under(
            "os_compute_api:os-keypairs",
            **dict.fromkeys(("index", "create", "show", "delete"), authenticated),
        ),
        listing=_listing,
        query=Query(_USER, *window(_PAGES), closed=(2, 75)),
        one_query=Query(_USER, closed=(2, 75)),
        named=lambda call, name: KeypairName(call.one("user_id"), name),
        created=lambda version: 201 if version >= (2, 2) else 200,
        deleted=lambda version: 204 if version >= (2, 2) else 202,
        links_since=_PAGES,
        wrapped=True,
    ),
    fields=Fields(
        Wire("name", use=Use.CREATE, type=Name, check=_name, required=True, until=(2, 91)),
        Wire(
            "name", use=Use.CREATE, type=Name, check=lambda name, field: _name(name, field, "@."),
            required=True, since=(2, 92),
        ),
        Wire("public_key", use=Use.CREATE, type=_Key, until=(2, 91)),
        Wire("public_key", use=Use.CREATE, type=_Key, required=True, since=(2, 92)),
        Wire("fingerprint"),
        Wire("type", use=Use.CREATE, type=Literal["ssh", "x509"], since=(2, 2)),
        Wire("private_key", only="create", sparse=True),
        Wire("user_id", only=frozenset({"create", "show"})),
        Wire("user_id", use=Use.CREATE, type=Annotated[str, Meta(max_length=255)], shown=False, since=(2, 10)),
        Wire("id", only="show"),
        Wire("created_at", only="show", shown=Of("created_at", iso_micro)),
        # A deleted keypair is gone, so what is shown never was deleted; nor can one be changed.
        constant("deleted", False, only="show"),
        constant("deleted_at", None, only="show"),
        constant("updated_at", None, only="show"),
    ),
    create=keypairs.create,
    find=keypairs.find,
    show=keypairs.show,
    delete=keypairs.delete,
)  # fmt: skip
ROUTES = KEYPAIR.routes
POLICIES = KEYPAIR.policies
