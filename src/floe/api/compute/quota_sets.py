"""/os-quota-sets and /os-quota-class-sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.compute.fields import Flag, flag, printable
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import admin, authenticated, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, Query
from floe.api.kit.resource import Fields, Use, Wire
from floe.api.kit.routing import Route
from floe.api.kit.values import whole
from floe.cloud import compute_quotas as cloud
from floe.cloud import quota_classes
from floe.cloud.compute_quotas import Usage
from floe.core.errors import Forbidden, Invalid
from floe.core.versions import Version

_ALWAYS = ("instances", "cores", "ram", "metadata_items", "key_pairs")
_GROUPS = ("server_groups", "server_group_members")
"""Not shown of a class below 2.50."""
_FILES = ("injected_files", "injected_file_content_bytes", "injected_file_path_bytes")
_NETWORK = {
    "fixed_ips": "fixed_ips",
    "floating_ips": "floatingip",
    "security_groups": "security_group",
    "security_group_rules": "security_group_rule",
}
"""Shown and set below 2.36, of a class below 2.50; what they count is the network API's business: fixed IPs, of which
a project has as many as its ports, nobody counts, as in Nova where Neutron has the networks."""
_EVER: Version = (9999, 9999)
_NAME_LENGTH = 255
"""Characters of a class's name, as in Nova."""


def _limit(value: int | str, name: str) -> int:
    return whole(value, name, -1)


def _of(name: str, to: str = "", until: Version = _EVER, since: Version = (0, 0), *, shown: bool = True) -> Wire[Any]:
    """Return a limit, which is shown from all limits by name."""
    found = itemgetter(to or name) if shown else False
    return Wire(name, to, Use.UPDATE, type=int | str, check=_limit, shown=found, until=until, since=since)


def _network(until: Version) -> Iterator[Wire[Any]]:
    for name, resource in _NETWORK.items():
        yield _of(name, resource, until)


_FILE_LIMITS = [_of(name, until=(2, 56)) for name in _FILES]
QUOTA_SET: Fields[Mapping[str, int]] = Fields(
    *map(_of, (*_ALWAYS, *_GROUPS)),
    *_FILE_LIMITS,
    *_network((2, 35)),
    Wire("force", use=Use.UPDATE, type=Flag, check=flag, shown=False),
)
QUOTA_CLASS: Fields[Mapping[str, int]] = Fields(
    *map(_of, _ALWAYS),
    *(_of(name, since=(2, 50)) for name in _GROUPS),
    *(_of(name, until=(2, 49), shown=False) for name in _GROUPS),
    *_FILE_LIMITS,
    *_network((2, 49)),
)
_UPDATE = QUOTA_SET.body("quota_set", Use.UPDATE)
_UPDATE_CLASS = QUOTA_CLASS.body("quota_class_set", Use.UPDATE)


async def show(call: Call) -> Reply:
    """GET {project_id}."""
    project = _project(call)
    found = await _usage(call, project)
    return Reply(200, {"quota_set": {"id": project, **QUOTA_SET.shape.show(found.limits, call.version)}})


async def show_detail(call: Call) -> Reply:
    """GET {project_id}/detail: with what is used; nothing is ever reserved."""
    project = _project(call)
    found = await _usage(call, project)
    shown: dict[str, Any] = {"id": project}
    for name, limit in QUOTA_SET.shape.show(found.limits, call.version).items():
        shown[name] = {"limit": limit, "in_use": found.used.get(_NETWORK.get(name, name), 0), "reserved": 0}
    return Reply(200, {"quota_set": shown})


async def show_defaults(call: Call) -> Reply:
    """GET {project_id}/defaults."""
    limits = await cloud.defaults(call.cloud)
    return Reply(200, {"quota_set": {"id": call.params["project_id"], **QUOTA_SET.shape.show(limits, call.version)}})


async def update(call: Call) -> Reply:
    """PUT {project_id}."""
    project = _project(call)
    asked = QUOTA_SET.read(_UPDATE.read(await call.raw(), call.version), call.version, Use.UPDATE)
    force = asked.pop("force", False)
    if (user := _user(call)) is not None:
        limits = await cloud.change_of_user(call.cloud, project, user, asked, force=force)
    else:
        limits = await cloud.change(call.cloud, project, asked, force=force)
    return Reply(200, {"quota_set": QUOTA_SET.shape.show(limits, call.version)})


async def delete(call: Call) -> Reply:
    """DELETE {project_id}: back to the defaults; of a user, to the project's."""
    project = _project(call)
    if (user := _user(call)) is not None:
        await cloud.reset_of_user(call.cloud, project, user)
    else:
        await cloud.reset(call.cloud, project)
    return Reply(202)


async def show_class(call: Call) -> Reply:
    """GET os-quota-class-sets/{name}: of any name, as there is nothing that a class is but its limits."""
    name = _class(call)
    limits = await quota_classes.limits(call.cloud, name)
    return Reply(200, {"quota_class_set": {"id": name, **QUOTA_CLASS.shape.show(limits, call.version)}})


async def update_class(call: Call) -> Reply:
    """PUT os-quota-class-sets/{name}."""
    asked = QUOTA_CLASS.read(_UPDATE_CLASS.read(await call.raw(), call.version), call.version, Use.UPDATE)
    limits = await quota_classes.change(call.cloud, _class(call), asked)
    return Reply(200, {"quota_class_set": QUOTA_CLASS.shape.show(limits, call.version)})


def _project(call: Call) -> str:
    project = call.params["project_id"]
    if not call.context.is_admin and not call.context.owns(project):
        raise Forbidden(f"Only administrators may see the quota of another project ({project!r}).")
    if not project.replace("-", "").isalnum():
        raise Invalid(f"{project[:80]!r} is no id of a project.")
    return project


async def _usage(call: Call, project: str) -> Usage:
    user = _user(call)
    return await (cloud.usage(call.cloud, project) if user is None else cloud.usage_of_user(call.cloud, project, user))


def _user(call: Call) -> str | None:
    """Return the user whose quota within the project is meant, if it is not that of the project. Raises Invalid."""
    user = call.one("user_id")
    if user and not (user.replace("-", "").isalnum() and user.isascii() and len(user) <= 64):
        raise Invalid(f"{user[:80]!r} is no id of a user.")
    return user or None


def _class(call: Call) -> str:
    """Return the name of a class. Raises Invalid."""
    name = printable(call.params["name"], "quota_class_name")
    if len(name) > _NAME_LENGTH:
        raise Invalid(f"quota_class_name has {len(name)} characters, more than {_NAME_LENGTH}.")
    return name


_PATH = "/v2.1/os-quota-sets/{project_id}"
_CLASS = "/v2.1/os-quota-class-sets/{name}"
_QUERY = Query(Param("user_id", many=True), closed=(2, 75))

ROUTES = (
    Route("GET", _PATH, show, "os_compute_api:os-quota-sets:show", query=_QUERY),
    Route("GET", _PATH + "/detail", show_detail, "os_compute_api:os-quota-sets:detail", query=_QUERY),
    Route("GET", _PATH + "/defaults", show_defaults, "os_compute_api:os-quota-sets:defaults", query=OPEN_QUERY),
    Route("PUT", _PATH, update, "os_compute_api:os-quota-sets:update", query=_QUERY),
    Route("DELETE", _PATH, delete, "os_compute_api:os-quota-sets:delete", query=_QUERY),
    Route("GET", _CLASS, show_class, "os_compute_api:os-quota-class-sets:show", query=ONCE_OPEN),
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
