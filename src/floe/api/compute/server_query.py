"""The filters of a list of servers, read from its query string."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from floe.api.compute.fields import flag
from floe.api.compute.server_status import states_of
from floe.api.kit.call import Call
from floe.api.kit.paging import Page, page_of, span, window
from floe.api.kit.query import Param, Query, query_fault
from floe.api.kit.values import moment, whole
from floe.cloud.servers import SORT_KEYS
from floe.core.errors import Forbidden, Invalid
from floe.core.server_filters import ServerFilter, address_range, like_pattern, regular_expression
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
    "reservation_id": ("reservation_id", lambda text, _: text, (2, 1)),
    "host": ("host", lambda text, _: text, None),
    "node": ("host", lambda text, _: text, None),
    "hostname": ("hostname", lambda text, _: text, None),
    "access_ip_v4": ("access_ipv4", lambda text, _: text, None),
    "access_ip_v6": ("access_ipv6", lambda text, _: text, None),
    "root_device_name": ("root_device", lambda text, _: text, None),
    "user_id": ("user_id", lambda text, _: text, (2, 83)),
    "key_name": ("key_name", lambda text, _: text, (2, 83)),
    "vm_state": ("vm_state", lambda text, _: text, (2, 83)),
    "task_state": ("task_state", lambda text, _: text, (2, 83)),
    "launch_index": ("launch_index", whole, None),
    "power_state": ("power_state", whole, (2, 83)),
    "config_drive": ("config_drive", lambda text, name: bool(text) and flag(text, name), (2, 83)),
    "locked": ("locked", flag, (2, 73)),
    "created_at": ("created_at", moment, (2, 83)),
    "launched_at": ("launched_at", moment, (2, 83)),
    "terminated_at": ("terminated_at", moment, (2, 83)),
}
"""Query parameter -> field, how to read it, and since when everybody may use it (None: administrators alone)."""

# fmt: off
_OTHER = (
    "name", "display_name", "description", "display_description", "status", "ip", "ip6", "availability_zone",
    "all_tenants", "project_id", "tenant_id", "deleted", "soft_deleted", "sort_key", "sort_dir",
    "progress", "kernel_id", "ramdisk_id", "auto_disk_config", "locked_by", *_INTERNAL,
)
# fmt: on

QUERY = Query(
    *window(),
    *(Param(name, since=(2, 73) if name == "locked" else (0, 0), many=True) for name in _EQUAL),
    *(Param(name, many=True) for name in _OTHER),
    Param("changes-since", many=True, check=moment),
    Param("changes-before", since=(2, 66), many=True, check=moment),
    *(Param(name, since=(2, 26), many=True) for name in ("tags", "tags-any", "not-tags", "not-tags-any")),
    Param("_", suffix=".*", many=True),
    closed=(2, 75),
)

_ADMIN_ONLY_SORT = frozenset({"host", "node", "locked_by"})


def server_page(call: Call) -> Page:
    """Read which page of servers is asked for; sorting is downwards unless said otherwise."""
    known = SORT_KEYS if call.context.is_admin else SORT_KEYS - _ADMIN_ONLY_SORT
    if call.version < (2, 73):
        known -= {"locked"}
    page = page_of(call, known)
    if page.sort and not call.many("sort_dir"):
        return Page(page.limit, page.marker, tuple((key, False) for key, _ in page.sort), page.asked)
    return page


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
    like: dict[str, str] = {}
    regular: dict[str, str] = {}
    if (named := call.one("name")) is not None:
        _by_text(named, "name", like, regular)
    if admin and (text := call.one("description", call.one("display_description"))) is not None:
        _by_text(text, "description", like, regular)
    if (admin or call.version >= (2, 83)) and (zone := call.one("availability_zone")):
        equal["zone"] = zone
    after, before = span(call)
    deleted, states = _states(call, changed=after is not None or before is not None)
    ip, ip6 = call.one("ip"), call.one("ip6")
    return ServerFilter(
        project_id=_project(call),
        like=like,
        regular=regular,
        equal=equal,
        states=states,
        changed_since=after,
        changed_before=before,
        deleted=deleted,
        tags=_tags(call, "tags"),
        any_tags=_tags(call, "tags-any"),
        not_tags=_tags(call, "not-tags"),
        not_any_tags=_tags(call, "not-tags-any"),
        addresses=address_range(ip) if ip else None,
        # No network here has IPv6, so no server has such an address.
        nothing=bool(ip6) and (admin or call.version >= (2, 5)),
    )


def _by_text(text: str, name: str, like: dict[str, str], regular: dict[str, str]) -> None:
    """Add a condition on a text as the database answers it fastest."""
    try:
        like[name] = like_pattern(text, name)
    except Invalid:
        regular[name] = regular_expression(text, name)


def _refuse_internal(call: Call) -> None:
    for name, _ in call.query:
        if name in _INTERNAL or name.startswith("_"):
            raise Invalid(query_fault(name[:80], "servers cannot be filtered by it"))


def _states(call: Call, *, changed: bool) -> tuple[bool | None, Any]:
    """Return whether gone servers are wanted, and the states that the `status` filters mean."""
    admin = call.context.is_admin
    asked = [text for text in call.many("status") if text]
    deleted: bool | None = None if changed else False
    if admin and (text := call.one("deleted")) is not None:
        deleted = flag(text, "deleted") if text else False
    if not asked:
        return deleted, None
    if any(text.upper() == "DELETED" for text in asked):
        if not admin:
            raise Forbidden("Only administrators may list deleted servers.")
        deleted = None
    return deleted, states_of(asked)


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
    return tuple(dict.fromkeys(tag for text in call.many(name) for tag in text.split(",") if tag))
