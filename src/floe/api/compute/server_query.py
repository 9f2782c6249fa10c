"""The filters of a list of servers, read from its query string."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from msgspec.structs import replace

from floe.api.compute.fields import flag, is_true
from floe.api.compute.server_status import KNOWN, states_of
from floe.api.kit.call import Call
from floe.api.kit.paging import Page, span, window, window_of
from floe.api.kit.query import Param, Query, items, query_fault
from floe.api.kit.values import moment, whole
from floe.cloud.servers import SORT_KEYS
from floe.core.errors import Forbidden, Invalid
from floe.core.patterns import translated
from floe.core.server_filters import ServerFilter
from floe.core.servers import SOFT_DELETED
from floe.core.versions import Version

# fmt: off
_INTERNAL = (
    "block_device_mapping", "services", "metadata", "system_metadata", "info_cache", "security_groups", "pci_devices",
)
# fmt: on
"""Of administrators these are refused, as is what begins with `_`; of others they are left out, as in Nova."""

_EQUAL: dict[str, tuple[str, Callable[[str, str], Any], Version | None]] = {
    "uuid": ("id", lambda text, _: text, None),
    "image": ("image_id", lambda text, _: text, (2, 1)),
    "flavor": ("flavor_id", lambda text, _: text, (2, 1)),
    "image_ref": ("image_id", lambda text, _: text, None),
    "host": ("host", lambda text, _: text, None),
    "user_id": ("user_id", lambda text, _: text, (2, 83)),
    "vm_state": ("vm_state", lambda text, _: text, (2, 83)),
    "task_state": ("task_state", lambda text, _: text, (2, 83)),
    "launch_index": ("launch_index", whole, None),
    "power_state": ("power_state", whole, (2, 83)),
    "config_drive": ("config_drive", flag, (2, 83)),
    "locked": ("locked", flag, (2, 73)),
    "created_at": ("created_at", moment, (2, 83)),
    "launched_at": ("launched_at", moment, (2, 83)),
    "terminated_at": ("terminated_at", moment, (2, 83)),
}
"""Query parameter -> field, how to read it, and since when everybody may use it (None: administrators alone)."""

_SEARCH: dict[str, tuple[str, Version | None]] = {
    "name": ("name", (2, 1)),
    "display_name": ("name", None),
    "description": ("description", None),
    "display_description": ("description", None),
    "reservation_id": ("reservation_id", (2, 1)),
    "hostname": ("hostname", (2, 90)),
    "availability_zone": ("zone", (2, 83)),
    "key_name": ("key_name", (2, 83)),
    "progress": ("progress", (2, 83)),
    "node": ("host", None),
    "locked_by": ("locked_by", None),
    "root_device_name": ("root_device", None),
    "access_ip_v4": ("access_ipv4", None),
    "access_ip_v6": ("access_ipv6", None),
    "auto_disk_config": ("disk_config", None),
    "kernel_id": ("kernel", None),
    "ramdisk_id": ("kernel", None),
}
"""Query parameter -> field in which a regular expression is searched for, and since when everybody may use it."""

# fmt: off
_OTHER = (
    "status", "all_tenants", "project_id", "tenant_id", "deleted", "soft_deleted", "sort_key", "sort_dir", *_INTERNAL,
)
# fmt: on

_NEVER_EMPTY = frozenset({"flavor", "power_state", "config_drive", "created_at", "launched_at", "terminated_at"})


def _filled(text: str, name: str) -> None:
    """Refuse an empty text, which as a filter would mean all."""
    if not text:
        raise Invalid(query_fault(name, "it is empty"))


QUERY = Query(
    *window(),
    *(Param(name, many=True, check=_filled) for name in _EQUAL if name in _NEVER_EMPTY),
    *(Param(name, many=True) for name in _EQUAL if name not in {*_NEVER_EMPTY, "locked"}),
    Param("locked", since=(2, 73), many=True),
    *(Param(name, many=True, check=translated) for name in (*_SEARCH, "ip", "ip6")),
    *(Param(name, many=True) for name in _OTHER),
    Param("changes-since", many=True, check=moment),
    Param("changes-before", since=(2, 66), many=True, check=moment),
    *(Param(name, (2, 26), many=True, check=_filled) for name in ("tags", "tags-any", "not-tags", "not-tags-any")),
    Param("_", suffix=".*", many=True),
    closed=(2, 75),
)

_ADMIN_ONLY_SORT = frozenset({"host", "node"})
_SAME_OF_ALL = frozenset({"kernel_id", "ramdisk_id"})
_ONCE_SORT_KEYS = frozenset(
    {
        "architecture",
        "cell_name",
        "cleaned",
        "default_ephemeral_device",
        "default_swap_device",
        "deleted",
        "deleted_at",
        "disable_terminate",
        "ephemeral_gb",
        "ephemeral_key_uuid",
        "id",
        "key_data",
        "launched_on",
        "memory_mb",
        "os_type",
        "reservation_id",
        "root_gb",
        "shutdown_terminate",
        "user_data",
        "vcpus",
        "vm_mode",
    }
)
"""Taken and ignored below 2.75, as is `locked` below 2.73."""


def server_page(call: Call) -> Page:
    """Read which page of servers is asked for: as in Nova, the first direction is that of keys without one.

    Raises Invalid, Forbidden for what only administrators may sort by.
    """
    keys = [text.strip() for text in call.many("sort_key")] or ["created_at"]
    directions = [text.strip() for text in call.many("sort_dir")] or ["desc"]
    if len(directions) > len(keys):
        raise Invalid(f"There are more directions to sort in ({len(directions)}) than keys to sort by ({len(keys)}).")
    sort: dict[str, bool] = {}
    for key, direction in zip_longest(keys, directions, fillvalue=directions[0]):
        if direction not in {"asc", "desc"}:
            raise Invalid(f"sort_dir must be asc or desc (it is {direction[:80]!r}).")
        if _sorts(call, key):
            sort.setdefault(key, direction == "asc")
    return replace(window_of(call), sort=tuple(sort.items()))


def _sorts(call: Call, key: str) -> bool:
    """Say whether a key has an effect at all."""
    ignored = _SAME_OF_ALL if call.version >= (2, 75) else _SAME_OF_ALL | _ONCE_SORT_KEYS
    if key in ignored or (key == "locked" and call.version < (2, 73)):
        return False
    if key not in SORT_KEYS:
        raise Invalid(f"sort_key {key[:80]!r} is not known; use one of: {', '.join(sorted(SORT_KEYS | _SAME_OF_ALL))}.")
    if key in _ADMIN_ONLY_SORT and not call.context.is_admin:
        raise Forbidden(f"Only administrators can sort servers by {key}.")
    return True


def server_filter(call: Call) -> ServerFilter:
    """Read the filters. What a caller may not use is left out, as in Nova. Raises Invalid, Forbidden."""
    admin = call.context.is_admin
    if admin:
        _refuse_internal(call)
    equal: dict[str, Any] = {}
    for name, (column, read, since) in _EQUAL.items():
        values = call.many(name) if admin or (since is not None and call.version >= since) else []
        if values:
            found = tuple(read(text, name) for text in values)
            equal[column] = found[0] if len(found) == 1 else found
    after, before = span(call)
    deleted, states = _states(call, changed=after is not None or before is not None)
    soft_deleted = call.context.is_admin and _soft_deleted(call, deleted=deleted, states=states)
    return ServerFilter(
        project_id=_project(call),
        search=_search(call),
        equal=equal,
        states=states,
        changed_since=after,
        changed_before=before,
        deleted=deleted,
        soft_deleted=soft_deleted,
        tags=_tags(call, "tags"),
        any_tags=_tags(call, "tags-any"),
        not_tags=_tags(call, "not-tags"),
        not_any_tags=_tags(call, "not-tags-any"),
        address=call.one("ip"),
        address6=call.one("ip6") if admin or call.version >= (2, 5) else None,
    )


def _search(call: Call) -> tuple[tuple[str, str], ...]:
    found = []
    for name, (field, since) in _SEARCH.items():
        text = call.one(name)
        if text is not None and (call.context.is_admin or (since is not None and call.version >= since)):
            found.append((field, text))
    return tuple(found)


def _refuse_internal(call: Call) -> None:
    for name, _ in call.query:
        if name in _INTERNAL or name.startswith("_"):
            raise Invalid(query_fault(name[:80], "servers cannot be filtered by it"))


def _states(call: Call, *, changed: bool) -> tuple[bool | None, Any]:
    """Return whether gone servers are wanted, and the states that the `status` filters mean."""
    admin = call.context.is_admin
    asked = call.many("status")
    deleted: bool | None = None if changed else False
    if admin and (text := call.one("deleted")) is not None:
        deleted = is_true(text)
    if not asked:
        return deleted, None
    known = {text.upper() for text in asked} & KNOWN
    if not known and call.version >= (2, 38):
        raise Invalid(f"Invalid status value: {asked[0][:80]!r} is none of {', '.join(sorted(KNOWN))}.")
    if known == {"DELETED"}:
        if not admin:
            raise Forbidden("Only administrators may list deleted servers.")
        deleted = True
    return deleted, states_of(asked)


def _soft_deleted(call: Call, *, deleted: bool | None, states: Any) -> bool:
    """Say whether an administrator asks for soft-deleted servers too: as in Nova, and by their status."""
    if (text := call.one("soft_deleted")) is not None:
        return is_true(text)
    return bool(deleted) or any(state == SOFT_DELETED for state, _ in states or ())


def _project(call: Call) -> str | None:
    """Return the project whose servers are wanted; None means those of all."""
    context = call.context
    everybody = call.one("all_tenants")
    wide = everybody is not None and (everybody == "" or flag(everybody, "all_tenants"))
    if wide and not context.is_admin:
        raise Forbidden("Policy does not allow os_compute_api:servers:index:get_all_tenants to be performed.")
    named = call.one("project_id") or call.one("tenant_id")
    if context.is_admin:
        # As in Nova, a project is asked for together with all_tenants, and ignored without.
        if wide or context.project_id is None:
            return named or None
        return context.project_id
    return context.project_id or ""


def _tags(call: Call, name: str) -> tuple[str, ...]:
    if call.version < (2, 26):
        return ()
    return tuple(dict.fromkeys(tag for tag in items(",".join(call.many(name)), name) if tag))
