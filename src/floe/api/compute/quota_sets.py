"""/os-quota-sets and /os-quota-class-sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from floe.api.compute.fields import Flag, flag
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin, authenticated, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.values import whole
from floe.cloud import compute_quotas as cloud
from floe.core.errors import Forbidden, Invalid
from floe.core.versions import Version

_ALWAYS = ("instances", "cores", "ram", "metadata_items", "key_pairs", "server_groups", "server_group_members")
_FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_NETWORK = {"security_groups": "security_group", "security_group_rules": "security_group_rule"}
"""Shown and set below 2.36; what they count is the network API's business, whose quotas they are."""
_FIXED = {"fixed_ips": -1, "floating_ips": 0}
"""Shown below 2.36 too: fixed IPs have no limit, floating IPs do not exist; as that, and no other, they may be sent."""

_LIMIT = int | str
_FIELDS = (
    *(Field(name, _LIMIT) for name in _ALWAYS),
    *(Field(name, _LIMIT, until=(2, 56)) for name in _FILES),
)
UPDATE = Body(
    "quota_set",
    (*_FIELDS, *(Field(name, _LIMIT, until=(2, 35)) for name in (*_NETWORK, *_FIXED)), Field("force", Flag)),
)
UPDATE_CLASS = Body(
    "quota_class_set", (*_FIELDS, *(Field(name, _LIMIT, until=(2, 49)) for name in (*_NETWORK, *_FIXED)))
)


async def show(call: Call) -> Reply:
    """GET {project_id}."""
    project = _project(call)
    found = await cloud.usage(call.cloud, project)
    return Reply(200, {"quota_set": {"id": project, **_shown(found.limits, call.version)}})


async def show_detail(call: Call) -> Reply:
    """GET {project_id}/detail: with what is used; nothing is ever reserved."""
    project = _project(call)
    found = await cloud.usage(call.cloud, project)
    shown: dict[str, Any] = {"id": project}
    for name, limit in _shown(found.limits, call.version).items():
        shown[name] = {"limit": limit, "in_use": found.used.get(_NETWORK.get(name, name), 0), "reserved": 0}
    return Reply(200, {"quota_set": shown})


async def show_defaults(call: Call) -> Reply:
    """GET {project_id}/defaults."""
    limits = await cloud.defaults(call.cloud)
    return Reply(200, {"quota_set": {"id": call.params["project_id"], **_shown(limits, call.version)}})


async def update(call: Call) -> Reply:
    """PUT {project_id}."""
    project = _project(call)
    body = UPDATE.read(await call.raw(), call.version)
    force = flag(body.pop("force", False), "force")
    found = await cloud.change(call.cloud, project, _limits(body), force=force)
    return Reply(200, {"quota_set": _shown(found.limits, call.version)})


async def delete(call: Call) -> Reply:
    """DELETE {project_id}: back to the defaults."""
    await cloud.reset(call.cloud, _project(call))
    return Reply(202)


async def show_class(call: Call) -> Reply:
    """GET os-quota-class-sets/default."""
    limits = await cloud.defaults(call.cloud)
    return Reply(200, {"quota_class_set": {"id": _class(call), **_of_class(limits, call.version)}})


async def update_class(call: Call) -> Reply:
    """PUT os-quota-class-sets/default."""
    _class(call)
    body = UPDATE_CLASS.read(await call.raw(), call.version)
    limits = await cloud.change_defaults(call.cloud, _limits(body))
    return Reply(200, {"quota_class_set": _of_class(limits, call.version)})


def _project(call: Call) -> str:
    if call.one("user_id"):
        raise Invalid("user_id is not supported: quotas here are of projects, not of single users.")
    project = call.params["project_id"]
    if not call.context.is_admin and not call.context.owns(project):
        raise Forbidden(f"Only administrators may see the quota of another project ({project!r}).")
    if not project.replace("-", "").isalnum():
        raise Invalid(f"{project[:80]!r} is no id of a project.")
    return project


def _class(call: Call) -> str:
    name = call.params["name"]
    if name != "default":
        raise Invalid(f"There is no quota class {name[:80]!r}; the only one is 'default'.")
    return name


def _shown(limits: Mapping[str, int], version: Version) -> dict[str, int]:
    shown = {name: limits[name] for name in _ALWAYS}
    if version <= (2, 56):
        shown |= {name: limits[name] for name in _FILES}
    if version <= (2, 35):
        shown |= _network(limits)
    return shown


def _network(limits: Mapping[str, int]) -> dict[str, int]:
    """Return the limits of networks as they once were here."""
    found = {name: limits[resource] for name, resource in _NETWORK.items()}
    return {**_FIXED, **found}


def _of_class(limits: Mapping[str, int], version: Version) -> dict[str, int]:
    """Return the limits of a class; below 2.50 those of server groups are left out, from then on those of networks."""
    shown = _shown(limits, version)
    if version < (2, 50):
        shown.pop("server_groups")
        shown.pop("server_group_members")
        shown |= _network(limits)
    return shown


def _limits(body: Mapping[str, Any]) -> dict[str, int]:
    found = {name: whole(value, name, -1) for name, value in body.items()}
    for name in _FIXED.keys() & found.keys():
        if found.pop(name) != _FIXED[name]:
            raise Invalid(
                f"Invalid input for field/attribute {name}: its quota is always {_FIXED[name]} here; "
                "set the quota of port, with the network API, to limit addresses."
            )
    return {_NETWORK.get(name, name): limit for name, limit in found.items()}


_PATH = "/v2.1/os-quota-sets/{project_id}"
_CLASS = "/v2.1/os-quota-class-sets/{name}"
_QUERY = Query(Param("user_id", many=True), closed=(2, 75))

ROUTES = (
    Route("GET", _PATH, show, "os_compute_api:os-quota-sets:show", query=_QUERY),
    Route("GET", _PATH + "/detail", show_detail, "os_compute_api:os-quota-sets:detail", query=_QUERY),
    Route("GET", _PATH + "/defaults", show_defaults, "os_compute_api:os-quota-sets:defaults", query=OPEN_QUERY),
    Route("PUT", _PATH, update, "os_compute_api:os-quota-sets:update", query=_QUERY),
    Route("DELETE", _PATH, delete, "os_compute_api:os-quota-sets:delete", query=_QUERY),
    Route("GET", _CLASS, show_class, "os_compute_api:os-quota-class-sets:show", query=OPEN_QUERY),
    Route("PUT", _CLASS, update_class, "os_compute_api:os-quota-class-sets:update"),
)

POLICIES = {
    "os_compute_api:os-quota-sets:show": project_reader,
    "os_compute_api:os-quota-sets:detail": project_reader,
    "os_compute_api:os-quota-sets:defaults": authenticated,
    "os_compute_api:os-quota-sets:update": admin,
    "os_compute_api:os-quota-sets:delete": admin,
    "os_compute_api:os-quota-class-sets:show": admin,
    "os_compute_api:os-quota-class-sets:update": admin,
}
