"""/os-server-groups."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from floe.api.compute.fields import printable
from floe.api.kit.body import Body, Field, Name
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import MAX_LIMIT
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, Query, counted
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.kit.values import MOST, Count, whole
from floe.cloud import server_groups as cloud
from floe.cloud.server_groups import GroupDetail
from floe.core.errors import Invalid
from floe.core.server_groups import ANTI_AFFINITY

_Hard = Literal["affinity", "anti-affinity"]
_Any = Literal["affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]
_One = Meta(min_length=1, max_length=1)


class _Rules(Struct, forbid_unknown_fields=True):
    max_server_per_host: Count | None = None


CREATE = Body(
    "server_group",
    (
        Field("name", Name, required=True),
        Field("policies", Annotated[list[_Hard], _One], required=True, until=(2, 14)),
        Field("policies", Annotated[list[_Any], _One], required=True, since=(2, 15), until=(2, 63)),
        Field("policy", _Any, required=True, since=(2, 64)),
        Field("rules", _Rules, since=(2, 64)),
    ),
)


def _rules(detail: GroupDetail) -> dict[str, Any]:
    most = detail.group.max_per_host
    return {} if most is None else {"max_server_per_host": most}


SHAPE: Shape[GroupDetail] = Shape(
    (
        Shown("id", lambda d: d.group.id),
        Shown("name", lambda d: d.group.name),
        Shown("policies", lambda d: [d.group.policy], until=(2, 63)),
        # Nova never filled it; clients below 2.64 expect the key.
        Shown("metadata", lambda _d: {}, until=(2, 63)),
        Shown("policy", lambda d: d.group.policy, since=(2, 64)),
        Shown("rules", _rules, since=(2, 64)),
        Shown("members", lambda d: d.members),
        Shown("project_id", lambda d: d.group.project_id, since=(2, 13)),
        Shown("user_id", lambda d: d.group.user_id, since=(2, 13)),
    )
)


async def create(call: Call) -> Reply:
    """POST."""
    body = CREATE.read(await call.raw(), call.version)
    policy = body["policy"] if "policy" in body else body["policies"][0]
    rules = body.get("rules")
    most = None if rules is None or rules.max_server_per_host is None else rules.max_server_per_host
    if most is not None:
        if policy != ANTI_AFFINITY:
            raise Invalid(
                f"Only anti-affinity policy supports rules: max_server_per_host with {policy!r} means nothing."
            )
        most = whole(most, "max_server_per_host", 1)
    name = printable(body["name"], "name")
    made = await cloud.create(call.cloud, call.context, name, policy, most)
    return Reply(200, {"server_group": SHAPE.show(made, call.version)})


async def index(call: Call) -> Reply:
    """GET: the project's groups; with `all_projects` everybody's, for administrators (others are shown their own)."""
    everybodys = call.one("all_projects") is not None and call.context.is_admin
    found = await cloud.listed(
        call.cloud,
        call.context,
        everybodys=everybodys,
        limit=_whole(call, "limit", MAX_LIMIT),
        offset=_whole(call, "offset", 0),
    )
    return Reply(200, {"server_groups": (SHAPE.show(each, call.version) for each in found)})


async def show(call: Call) -> Reply:
    """GET {group_id}."""
    found = await cloud.get(call.cloud, call.context, call.params["group_id"])
    return Reply(200, {"server_group": SHAPE.show(found, call.version)})


async def delete(call: Call) -> Reply:
    """DELETE {group_id}."""
    await cloud.delete(call.cloud, call.context, call.params["group_id"])
    return Reply(204)


def _whole(call: Call, name: str, default: int) -> int:
    text = call.one(name)
    return default if text is None else whole(text, name, high=MAX_LIMIT if name == "limit" else MOST, cut=True)


_GROUP = "/v2.1/os-server-groups/{group_id}"
_QUERY = Query(
    Param("all_projects", many=True),
    Param("limit", many=True, check=counted),
    Param("offset", many=True, check=counted),
    closed=(2, 75),
)

ROUTES = (
    Route("GET", "/v2.1/os-server-groups", index, "os_compute_api:os-server-groups:index", query=_QUERY),
    Route("POST", "/v2.1/os-server-groups", create, "os_compute_api:os-server-groups:create"),
    Route("GET", _GROUP, show, "os_compute_api:os-server-groups:show", query=OPEN_QUERY),
    Route("DELETE", _GROUP, delete, "os_compute_api:os-server-groups:delete"),
)

POLICIES = {
    "os_compute_api:os-server-groups:index": project_reader,
    "os_compute_api:os-server-groups:create": project_member,
    "os_compute_api:os-server-groups:show": project_reader,
    "os_compute_api:os-server-groups:delete": project_member,
}
