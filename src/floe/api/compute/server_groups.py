"""/os-server-groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from floe.api.compute.dialect import Nova, under
from floe.api.compute.fields import printable
from floe.api.kit.body import Name
from floe.api.kit.call import Call
from floe.api.kit.paging import MAX_LIMIT
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.query import Param, Query, counted
from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.kit.values import MOST, Count, whole
from floe.cloud import server_groups
from floe.cloud.server_groups import GroupDetail
from floe.core.listing import Listing

_Hard = Literal["affinity", "anti-affinity"]
_Any = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
_One = Meta(min_length=1, max_length=1)


class _Rules(Struct, forbid_unknown_fields=True):
    max_server_per_host: Count | None = None


def _most(rules: _Rules, _name: str) -> int | None:
    most = rules.max_server_per_host
    return None if most is None else whole(most, "max_server_per_host", 1)


def _rules(detail: GroupDetail) -> dict[str, Any]:
    most = detail.group.max_per_host
    return {} if most is None else {"max_server_per_host": most}


def _only(policies: list[str], _name: str) -> str:
    return policies[0]


def _policies(detail: GroupDetail) -> list[str]:
    return [detail.group.policy]


def _whole(call: Call, name: str, default: int) -> int:
    text = call.one(name)
    return default if text is None else whole(text, name, high=MAX_LIMIT if name == "limit" else MOST, cut=True)


def _listing(call: Call) -> Listing:
    return Listing(
        limit=_whole(call, "limit", MAX_LIMIT),
        offset=_whole(call, "offset", 0),
        also={"everybodys": call.one("all_projects") is not None},
    )


SERVER_GROUP: Resource[GroupDetail] = Resource(
    name="server_group",
    plural="server_groups",
    dialect=Nova(
        path="os-server-groups",
        ident="group_id",
        may=under(
            "os_compute_api:os-server-groups",
            index=project_reader, create=project_member, show=project_reader, delete=project_member,
        ),
        listing=_listing,
        query=Query(
            Param("all_projects", many=True),
            Param("limit", many=True, check=counted),
            Param("offset", many=True, check=counted),
            closed=(2, 75),
        ),
    ),
    fields=Fields(
        Wire("id", shown="group.id"),
        Wire("name", use=Use.CREATE, type=Name, check=printable, required=True, shown="group.name"),
        Wire(
            "policies", "policy", Use.CREATE, type=Annotated[list[_Hard], _One], check=_only,
            required=True, shown=_policies, until=(2, 14),
        ),
        Wire(
            "policies", "policy", Use.CREATE, type=Annotated[list[_Any], _One], check=_only,
            required=True, shown=_policies, since=(2, 15), until=(2, 63),
        ),
        # Nova never filled it; clients below 2.64 expect the key.
        constant("metadata", {}, until=(2, 63)),
        Wire("policy", use=Use.CREATE, type=_Any, required=True, shown="group.policy", since=(2, 64)),
        Wire("rules", "max_per_host", Use.CREATE, type=_Rules, check=_most, shown=_rules, since=(2, 64)),
        Wire("members"),
        Wire("project_id", shown="group.project_id", since=(2, 13)),
        Wire("user_id", shown="group.user_id", since=(2, 13)),
    ),
    create=server_groups.create,
    find=server_groups.find,
    show=server_groups.show,
    delete=server_groups.delete,
)  # fmt: skip
ROUTES = SERVER_GROUP.routes
POLICIES = SERVER_GROUP.policies
