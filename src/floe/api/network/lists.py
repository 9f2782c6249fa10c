"""Lists as Neutron gives them: filters on every field, `fields`, sorting, and pages both ways with links."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from floe.api.kit import values
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import page_of
from floe.core.errors import Invalid
from floe.core.listing import Listing

Convert = Callable[[str], Any]
Filters = Mapping[str, tuple[str, Convert]]
"""Wire name -> (field of the core, how its text is read; ValueError for what is no such value)."""

_WINDOW = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on", "t", "y"}), frozenset({"false", "0", "no", "off", "f", "n"})


def flag(text: str) -> bool:
    """Read a boolean of a query string."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("a boolean (true or false)")


def whole(text: str) -> int:
    """Read a whole number of a query string."""
    try:
        return values.whole(text, "", -(2**63), 2**63 - 1)
    except Invalid:
        raise ValueError("a whole number") from None


def lower(text: str) -> str:
    """Read a text whose case does not matter."""
    return text.lower()


def common(*names: str) -> dict[str, tuple[str, Convert]]:
    """Return the filters that all things have, and those of text fields that are named alike inside."""
    return {
        "id": ("id", str),
        "project_id": ("project_id", str),
        "tenant_id": ("project_id", str),
        "name": ("name", str),
        "description": ("description", str),
        "revision_number": ("revision", whole),
        **{name: (name, str) for name in names},
    }


def listing_of(call: Call, filters: Filters, *, besides: frozenset[str] = frozenset()) -> Listing:
    """Read the query string. Raises Invalid for an unknown filter (those `besides` are read elsewhere)."""
    found: dict[str, list[Any]] = {}
    for name, text in call.query:
        if name in _WINDOW or name in besides:
            continue
        if name not in filters:
            raise Invalid(f"Invalid input for operation: {name!r} is not a filter here; use {_names(filters)}.")
        field, convert = filters[name]
        try:
            found.setdefault(field, []).append(convert(text))
        except ValueError as error:
            raise Invalid(f"Invalid input for {name}: {text!r} is not {error}.") from None
    page = page_of(call, frozenset(filters))
    reverse = call.one("page_reverse")
    try:
        backwards = reverse is not None and flag(reverse)
    except ValueError as error:
        raise Invalid(f"Invalid input for page_reverse: {reverse!r} is not {error}.") from None
    return Listing(
        filters=found,
        sort=tuple((filters[key][0], ascending) for key, ascending in page.sort),
        limit=page.limit if page.asked and page.limit > 0 else None,
        marker=page.marker or None,
        reverse=backwards,
    )


def list_reply(call: Call, collection: str, things: Sequence[dict[str, Any]], listing: Listing) -> Reply:
    """Return the page, cut to the `fields` asked for, with links to its neighbours."""
    body: dict[str, Any] = {collection: [chosen(call, thing) for thing in things]}
    if listing.limit is not None and things:
        links = []
        full = len(things) == listing.limit
        if full or listing.reverse:
            links.append({"rel": "next", "href": _link(call, things[-1]["id"])})
        if listing.marker is not None and (full or not listing.reverse):
            links.append({"rel": "previous", "href": _link(call, things[0]["id"], reverse=True)})
        if links:
            body[f"{collection}_links"] = links
    return Reply(body=body)


def chosen(call: Call, thing: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a thing that the client asked for, all if it named none."""
    fields = frozenset(call.many("fields")) - {""}
    return thing if not fields else {name: value for name, value in thing.items() if name in fields}


def _names(filters: Filters) -> str:
    return ", ".join(sorted(filters))


def _link(call: Call, marker: str, *, reverse: bool = False) -> str:
    pairs = [(key, value) for key, value in call.query if key not in {"marker", "page_reverse"}]
    pairs.append(("marker", marker))
    if reverse:
        pairs.append(("page_reverse", "True"))
    return f"{call.url(call.route.path)}?{urlencode(pairs)}"
