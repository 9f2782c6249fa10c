"""What a list of images asks for: filters, order and page, read from the query string."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from floe.api.image.fields import STATUSES, VISIBILITIES
from floe.api.kit.call import Call
from floe.api.kit.paging import Page, page_of
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
_LISTABLE = frozenset({"id", "name", "status", "container_format", "disk_format"})
"""Filters that take `in:a,b`."""
_NUMBERS = {
    "size_min": ("size", "gte"),
    "size_max": ("size", "lte"),
    "min_disk": ("min_disk", "eq"),
    "min_ram": ("min_ram", "eq"),
}
_FLAGS = {"protected": "protected", "os_hidden": "hidden"}
_MOMENTS = frozenset({"created_at", "updated_at"})
_SECOND = timedelta(seconds=1)
_LAST = datetime.max.replace(tzinfo=UTC)
_MAX_FILTERS = 64
_MAX_VALUES = 500

Condition = tuple[str, str, Any]


def wanted_of(call: Call) -> tuple[Wanted, Page]:
    """Read a list's query. Raises Invalid for values that no image can have."""
    if len(call.query) > _MAX_FILTERS:
        raise Invalid(f"A list takes at most {_MAX_FILTERS} query parameters; these are {len(call.query)}.")
    conditions: list[Condition] = []
    properties: dict[str, str] = {}
    visibility: str | None = None
    member_status = ACCEPTED
    for name, value in call.query:
        if name in _PAGING or name == "tag":
            continue
        if name == "visibility":
            visibility = _choice(name, value, (*VISIBILITIES, "all"))
        elif name == "member_status":
            member_status = _choice(name, value, (ACCEPTED, PENDING, REJECTED, "all"))
        elif (found := _conditions(name, value)) is not None:
            conditions += found
        else:
            properties[name] = value
    if not any(name == "hidden" for name, _, _ in conditions):
        conditions.append(("hidden", "eq", False))
    page = page_of(call, SORT_KEYS, sort_param=True)
    wanted = Wanted(
        project_id=None,
        visibility=visibility,
        member_status=member_status,
        conditions=tuple(conditions),
        tags=tuple(call.many("tag")),
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
    if name in _LISTABLE:
        return _among(name, value)
    if name in _EQUAL:
        return [(_EQUAL[name], "eq", value)]
    if name in _NUMBERS:
        column, operator = _NUMBERS[name]
        return [(column, operator, whole(value, name, high=2**63 - 1))]
    if name in _FLAGS:
        return [(_FLAGS[name], "eq", _choice(name, value.lower(), ("true", "false")) == "true")]
    if name in _MOMENTS:
        return _when(name, value)
    if name == "os_hash_algo":
        return [("sha512", "neq", "")] if value == HASH_ALGORITHM else [("id", "in", [])]
    return None


def _among(name: str, value: str) -> list[Condition]:
    if not value.startswith("in:"):
        values = [value]
    else:
        try:
            (values,) = csv.reader([value[3:]], strict=True, skipinitialspace=True)
        except (csv.Error, ValueError) as error:
            raise Invalid(f"{name}={value[:80]!r} is no list: write in:a,b and quote what holds a comma.") from error
        if len(values) > _MAX_VALUES:
            raise Invalid(f"{name}=in: takes at most {_MAX_VALUES} values; these are {len(values)}.")
    if name == "status":
        for each in values:
            _choice(name, each, STATUSES)
    return [(name, "eq", values[0])] if len(values) == 1 else [(name, "in", values)]


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


def _order(call: Call, page: Page) -> tuple[tuple[str, bool], ...]:
    """Return the whole order: what was asked, downwards where nothing was said, then newest first, then by id."""
    if call.one("sort"):
        said = [":" in item for item in (call.one("sort") or "").split(",")]
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
