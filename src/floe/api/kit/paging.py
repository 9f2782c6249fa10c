"""Pages of a list: limit, marker, sorting, and the links to what follows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from floe.api.kit.call import Call
from floe.api.kit.encoding import More
from floe.api.kit.query import Param, counted, items
from floe.api.kit.values import moment, whole
from floe.core.errors import Invalid
from floe.core.versions import Version

MAX_LIMIT = 1000


class Page(msgspec.Struct, frozen=True):
    """What a client asks for: at most `limit` items after the one with id `marker`, sorted by (key, ascending)."""

    limit: int = MAX_LIMIT
    marker: str | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    asked: bool = False
    """Whether the client named a limit itself."""


def window(since: Version = (0, 0), until: Version = (9999, 9999), *, many: bool = True) -> tuple[Param, Param]:
    """Return the parameters that name a page; where each may stand more than once, the last counts."""
    return (
        Param("limit", since, until, many=many, check=counted),
        Param("marker", since, until, many=many),
    )


def window_of(call: Call, sort: tuple[tuple[str, bool], ...] = ()) -> Page:
    """Read `limit` (over 1000 it means 1000) and `marker`. Raises Invalid."""
    text = call.one("limit")
    limit = MAX_LIMIT if text is None else whole(text, "limit", high=MAX_LIMIT, cut=True)
    return Page(limit, call.one("marker"), sort, text is not None)


def page_of(call: Call, sort_keys: frozenset[str] = frozenset(), *, first: str = "", sort_param: bool = False) -> Page:
    """Read `limit`, `marker`, `sort_key` and `sort_dir` (with `sort_param`, also `sort=key:dir,key:dir`).

    A direction alone is that of the key `first`, and a key named again means nothing more. Raises Invalid for what is
    no number, no known key or no direction.
    """
    keys, directions = call.many("sort_key"), call.many("sort_dir")
    if sort_param and call.one("sort"):
        pairs = [item.partition(":") for item in items(call.one("sort") or "", "sort")]
        keys = [key for key, _, _ in pairs]
        directions = [direction or "asc" for _, _, direction in pairs]
    if directions and first and not keys:
        keys = [first]
    sort: dict[str, bool] = {}
    for index, key in enumerate(keys):
        if key not in sort_keys:
            raise Invalid(f"sort_key {key!r} is not known; use one of: {', '.join(sorted(sort_keys))}.")
        direction = directions[index] if index < len(directions) else (directions[-1] if directions else "asc")
        if direction not in {"asc", "desc"}:
            raise Invalid(f"sort_dir must be asc or desc (it is {direction!r}).")
        sort.setdefault(key, direction == "asc")
    return window_of(call, tuple(sort.items()))


def span(call: Call) -> tuple[datetime | None, datetime | None]:
    """Read `changes-since` and `changes-before`. Raises Invalid, also when the second is the earlier one."""
    after, before = call.one("changes-since"), call.one("changes-before")
    first = moment(after, "changes-since") if after is not None else None
    last = moment(before, "changes-before") if before is not None else None
    if first is not None and last is not None and last < first:
        raise Invalid(f"changes-since ({after}) must not be later than changes-before ({before}).")
    return first, last


def linked(call: Call, path: str, page: Page, name: str, idents: Sequence[str]) -> More:
    """Return the `more` of a list of these things: a link to what follows a page that is full, or was cut short."""

    def more(taken: int) -> dict[str, Any]:
        full = taken < len(idents) or (page.limit > 0 and taken == page.limit)
        return {name: [{"rel": "next", "href": next_link(call, path, idents[taken - 1])}]} if taken and full else {}

    return more


def next_link(call: Call, path: str, marker: str) -> str:
    """Return the absolute URL of the page after `marker`, with all else the client asked for."""
    pairs = [(key, value) for key, value in call.query if key != "marker"]
    return f"{call.url(path)}?{urlencode([*pairs, ('marker', marker)])}"
