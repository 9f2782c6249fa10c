"""Lists as Neutron gives them: filters, `fields`, sorting, and pages both ways with links."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from operator import attrgetter
from typing import Any, TypeVar
from urllib.parse import urlencode

from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import MAX_LIMIT
from floe.api.kit.resource import VARIES, Fields, Use
from floe.api.kit.shape import meant
from floe.api.kit.values import whole
from floe.api.network.converters import flag, malformed
from floe.core.errors import Invalid
from floe.core.listing import Listing

T = TypeVar("T")

_WINDOW = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"})
_UNSAID = (None,)


def listing_of(
    call: Call,
    fields: Fields[T],
    holds: Collection[str] = (),
    besides: Mapping[str, Callable[[list[str]], Any]] | None = None,
) -> Listing | None:
    """Read the query string; None where nothing can be such as is asked for.

    Raises Invalid for an unknown filter, or one by what the caller (of whom `holds` is true) does not see. Parameters
    `besides` are no filters on a field: each has its own way of being read.
    """
    besides = besides or {}
    found: dict[str, list[Any]] = {}
    fixed: dict[str, bool] = {}
    said: dict[str, list[str]] = {}
    for name, text in call.query:
        if name in _WINDOW or name in besides:
            said.setdefault(name, []).append(text)
            continue
        wire = fields.by_name.get(name)
        if wire is None or Use.FILTER not in wire.use or not meant(wire.only, holds):
            raise malformed(f"{name[:200]!r} is invalid attribute for filtering; use {fields.named(Use.FILTER)}.")
        value = wire.read_filter(text)
        if wire.constant is VARIES:
            found.setdefault(wire.field, []).append(value)
        else:
            fixed[name] = fixed.get(name, False) or value == wire.constant
    (limit, marker, reverse) = (said.get(name, _UNSAID)[-1] for name in ("limit", "marker", "page_reverse"))
    listing = Listing(
        filters=found,
        sort=_sort(said.get("sort_key", ()), said.get("sort_dir", ()), fields),
        limit=_limit(limit),
        marker=marker or None,
        also={name: besides[name](texts) for name, texts in said.items() if name in besides},
        reverse=reverse is not None and flag(reverse, "page_reverse"),
    )
    return listing if all(fixed.values()) else None


def list_reply(
    call: Call,
    collection: str,
    things: Sequence[T],
    show: Callable[[Sequence[T], frozenset[str]], Iterator[Any]],
    listing: Listing | None,
    *,
    ident: Callable[[T], str] = attrgetter("id"),
) -> Reply:
    """Return the page, its things as `show` has them with the `fields` asked for, with links to its neighbours.

    Where no limit was asked for there are links only if there may be more than fits, as with Neutron's own maximum; a
    page that would be too large ends early.
    """

    def more(taken: int) -> dict[str, Any]:
        full = taken < len(things) or (listing is not None and taken == listing.limit)
        if listing is None or not things or not (full or call.one("limit") not in {None, "0"}):
            return {}
        links = []
        if full or listing.reverse:
            links.append({"rel": "next", "href": _link(call, ident(things[taken - 1]))})
        if listing.marker is not None and (full or not listing.reverse):
            links.append({"rel": "previous", "href": _link(call, ident(things[0]), reverse=True)})
        return {f"{collection}_links": links} if links else {}

    return Reply(body={collection: show(things, _fields(call))}, more=more)


def narrowed(things: Sequence[dict[str, Any]], listing: Listing, ident: str = "id") -> list[dict[str, Any]]:
    """Return the page of things that are in memory alone, by their names on the wire."""
    found = list(things)
    for name, wanted in listing.filters.items():
        found = [thing for thing in found if thing[name] in wanted]
    for name, ascending in reversed(listing.sort or ((ident, True),)):
        found.sort(key=partial(_text, name), reverse=ascending == listing.reverse)
    if listing.marker is not None:
        at = next((index for index, thing in enumerate(found) if thing[ident] == listing.marker), None)
        if at is None:
            raise Invalid(f"Invalid input for marker: there is nothing with {ident} {listing.marker!r} in this list.")
        found = found[at + 1 :]
    page = found[: listing.limit]
    return page[::-1] if listing.reverse else page


def chosen(call: Call, thing: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a thing that the client asked for, all if it named none."""
    return cut(thing, _fields(call))


def cut(thing: dict[str, Any], fields: frozenset[str]) -> dict[str, Any]:
    """Return those of a thing's fields, all if none is named."""
    return thing if not fields else {name: value for name, value in thing.items() if name in fields}


def _fields(call: Call) -> frozenset[str]:
    return frozenset(call.many("fields")) - {""}


def _text(name: str, thing: dict[str, Any]) -> str:
    return str(thing[name])


def _sort(named: Sequence[str], directed: Sequence[str], fields: Fields[T]) -> tuple[tuple[str, bool], ...]:
    """Read the order asked for: a key without a direction ascends, and the same key once more changes nothing."""
    keys, directions = list(filter(None, named)), list(filter(None, directed))
    if len(keys) < len(directions):
        raise malformed("The number of sort_keys and sort_dirs must be same.")
    found: dict[str, bool] = {}
    for key, direction in zip_longest(keys, directions, fillvalue="asc"):
        wire = fields.by_name.get(key)
        if wire is None or Use.SORT not in wire.use:
            raise malformed(f"{key[:200]!r} is invalid attribute for sort_key; use {fields.named(Use.SORT)}.")
        if direction not in {"asc", "desc"}:
            raise malformed(f"{direction[:200]!r} is invalid value for sort_dir, valid value is 'asc' and 'desc'.")
        if wire.constant is VARIES:
            found.setdefault(wire.field, direction == "asc")
    return tuple(found.items())


def _limit(text: str | None) -> int:
    """Read a limit; where there is none, or 0, and for larger ones, a page is as long as pages are."""
    if text is None:
        return MAX_LIMIT
    asked = whole(
        text.strip(), "limit", high=MAX_LIMIT, cut=True, fault=lambda name, wrong: f"Invalid input for {name}: {wrong}."
    )
    return asked or MAX_LIMIT


def _link(call: Call, marker: str, *, reverse: bool = False) -> str:
    pairs = [(key, value) for key, value in call.query if key not in {"marker", "page_reverse"}]
    pairs.append(("marker", marker))
    if reverse:
        pairs.append(("page_reverse", "True"))
    return f"{call.url(call.route.path.format(**call.params))}?{urlencode(pairs)}"
