"""What a list of images asks for: filters, order and page, read from the query string."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from floe.api.image.fields import VISIBILITIES
from floe.api.kit.call import Call
from floe.api.kit.paging import Page, page_of
from floe.api.kit.query import few, items
from floe.api.kit.values import moment, whole
from floe.cloud.images import Wanted
from floe.core.errors import Invalid
from floe.core.images import ACCEPTED, HASH_ALGORITHM, PENDING, REJECTED

PATH = "/v2/images"
SORT_KEYS = frozenset(
    {
        *("id", "name", "status", "visibility", "owner", "disk_format", "container_format", "size"),
        *("min_disk", "min_ram", "created_at", "updated_at"),
    }
)
_PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})
_EQUAL = {"owner": "owner", "checksum": "checksum", "os_hash_value": "sha512"}
_OPERABLE = frozenset({"id", "name", "status", "container_format", "disk_format"})
"""Filters that take `eq:a` and `in:a,b`."""
_NUMBERS = {
    f"{name}{end}": (name, operator)
    for name in ("size", "virtual_size", "min_disk", "min_ram")
    for end, operator in (("", "eq"), ("_min", "gte"), ("_max", "lte"))
}
_IGNORED = frozenset({"deleted"})
"""Deleted images are in no list, whatever is asked for."""
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"(?:,|\Z)|([^",]*)(?:,|\Z)')
_ESCAPED = re.compile(r"\\(.)")
_MOMENTS = frozenset({"created_at", "updated_at"})
_SECOND = timedelta(seconds=1)
_LAST = datetime.max.replace(tzinfo=UTC)

Condition = tuple[str, str, Any]


def wanted_of(call: Call) -> tuple[Wanted, Page]:
    """Read a list's query. Raises Invalid for values that no image can have."""
    conditions: list[Condition] = []
    properties: dict[str, str] = {}
    visibility: str | None = None
    member_status = ACCEPTED
    for name, value in call.query:
        if name in _PAGING or name in _IGNORED or name == "tag":
            continue
        if name == "visibility":
            visibility = _choice(name, value, (*VISIBILITIES, "all"))
        elif name == "member_status":
            member_status = _choice(name, value, (ACCEPTED, PENDING, REJECTED, "all"))
        elif name == "changes-since":
            raise Invalid("changes-since is no filter of this API; updated_at=gte:YYYY-MM-DDThh:mm:ss is.")
        elif (found := _conditions(name, value)) is not None:
            conditions += found
        else:
            properties[name] = value
    if not any(name == "hidden" for name, _, _ in conditions):
        conditions.append(("hidden", "eq", False))
    _demand_sort(call)
    page = page_of(call, SORT_KEYS, first="created_at", sort_param=True)
    wanted = Wanted(
        project_id=None,
        visibility=visibility,
        member_status=member_status,
        conditions=tuple(conditions),
        tags=tuple(dict.fromkeys(tag.strip() for tag in call.many("tag"))),
        properties=properties,
        sort=_order(call, page),
        limit=page.limit,
    )
    return wanted, page


def link(call: Call, marker: str | None = None) -> str:
    """Return the address of a page of this list, as the image API writes it: below its own root."""
    pairs = [(name, value) for name, value in call.query if name != "marker"]
    if marker is not None:
        pairs.append(("marker", marker))
    return f"{PATH}?{urlencode(pairs)}" if pairs else PATH


def _conditions(name: str, value: str) -> list[Condition] | None:
    """Return what a filter on a base property means, None if it is on no base property."""
    if name in _OPERABLE:
        return _among(name, value)
    if name in _EQUAL:
        return [(_EQUAL[name], "eq", value)]
    if name in _NUMBERS:
        column, operator = _NUMBERS[name]
        return [(column, operator, whole(value, name, low=1 - 2**63, high=2**63 - 1))]
    if name == "protected":
        return [(name, "eq", _choice(name, value, ("true", "false")) == "true")]
    if name == "os_hidden":
        return [("hidden", "eq", _choice(name, value.lower(), ("true", "false")) == "true")]
    if name in _MOMENTS:
        return _when(name, value)
    if name == "os_hash_algo":
        return [("sha512", "neq", "")] if value == HASH_ALGORITHM else [("id", "in", [])]
    return None


def _among(name: str, value: str) -> list[Condition]:
    """Read `a`, `eq:a` or `in:a,b`. What stands before a colon is an operator, but in a time."""
    operator, colon, rest = value.partition(":")
    if not colon or _is_moment(value):
        return [(name, "eq", value)]
    if operator == "eq":
        return [(name, "eq", rest)]
    if operator != "in":
        raise Invalid(
            f"{name}={value[:80]!r} has the unknown operator {operator[:80]!r}; known are eq and in,"
            f" and {name}=eq:VALUE takes a value with a colon."
        )
    return [(name, "in", few(_split(name, rest), name))]


def _split(name: str, text: str) -> list[str]:
    """Split a list at its commas; a value in double quotes may hold commas, and quotes after a backslash."""
    values, at = [], 0
    while at < len(text):
        found = _QUOTED.match(text, at)
        if found is None:
            raise Invalid(f"{name}=in:{text[:80]!r} is no list: write in:a,b and quote what holds a comma.")
        values.append(_ESCAPED.sub(r"\1", found[1]) if found[1] is not None else found[2])
        at = found.end()
    return values


def _is_moment(text: str) -> bool:
    try:
        moment(text, "")
    except Invalid:
        return False
    return True


def _when(name: str, value: str) -> list[Condition]:
    """Compare a time in whole seconds, which is how it is shown."""
    operator, _, text = value.partition(":")
    if operator not in {"eq", "neq", "gt", "gte", "lt", "lte"}:
        operator, text = "eq", value
    start = moment(text, name, fault=_no_moment).replace(microsecond=0)
    after = start + min(_SECOND, _LAST - start)
    conditions: dict[str, list[Condition]] = {
        "eq": [(name, "gte", start), (name, "lt", after)],
        "neq": [(name, "outside", (start, after))],
        "gt": [(name, "gte", after)],
        "gte": [(name, "gte", start)],
        "lt": [(name, "lt", start)],
        "lte": [(name, "lt", after)],
    }
    return conditions[operator]


def _no_moment(name: str, wrong: str) -> str:
    return f"{name} must be like [eq|neq|gt|gte|lt|lte]:YYYY-MM-DDThh:mm:ss: {wrong}."


def _demand_sort(call: Call) -> None:
    """Raise Invalid for the two ways of sorting at once, and for directions that do not go with the keys."""
    keys, directions = call.many("sort_key"), call.many("sort_dir")
    if call.one("sort") is not None and (keys or directions):
        raise Invalid("sort cannot be combined with sort_key and sort_dir: they say the same.")
    if len(directions) > 1 and len(directions) != len(keys):
        raise Invalid(f"sort_dir is given {len(directions)} times and sort_key {len(keys)}; give one for each, or one.")


def _order(call: Call, page: Page) -> tuple[tuple[str, bool], ...]:
    """Return the whole order: what was asked, downwards where nothing was said, then newest first, then by id."""
    if call.one("sort"):
        said = [":" in item for item in items(call.one("sort") or "", "sort")]
    else:
        said = [bool(call.many("sort_dir"))] * len(page.sort)
    order = {key: upwards and said[index] for index, (key, upwards) in enumerate(page.sort)}
    last = next(reversed(order.values()), False)
    for key in ("created_at", "id"):
        order.setdefault(key, last)
    return tuple(order.items())


def _choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise Invalid(f"{name} must be one of {', '.join(choices)} (it is {value[:80]!r}).")
    return value
