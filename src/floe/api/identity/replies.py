"""What all replies of the identity surface have in common: links, lists and filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import next_link, page_of
from floe.core.errors import Invalid

ShortName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\S")]
LongName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Text = Annotated[str, Meta(max_length=65535)] | None
Ident = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]


def with_link(call: Call, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the link to itself that every object of this surface has."""
    return {**fields, "links": {"self": call.url(path)}}


def listed(call: Call, key: str, path: str, objects: Sequence[Mapping[str, Any]]) -> Reply:
    """Answer with a list, cut to the page the caller asks for by `limit` and `marker`."""
    page = page_of(call)
    objects = list(objects)
    if page.marker is not None:
        ids = [item["id"] for item in objects]
        if page.marker not in ids:
            raise Invalid(f"marker {page.marker!r} is not the id of anything in this list.")
        objects = objects[ids.index(page.marker) + 1 :]
    onward = None
    if page.asked and len(objects) > page.limit:
        objects = objects[: page.limit]
        onward = next_link(call, path, objects[-1]["id"]) if objects else None
    return Reply(200, {key: objects, "links": {"next": onward, "self": call.url(path), "previous": None}})


def flag(call: Call, name: str) -> bool | None:
    """Return a filter that is true or false; a bare `?name` is true, and without it there is none."""
    text = call.one(name)
    if text is None:
        return None
    return text.lower() not in {"0", "false", "no", "off"}


def changes(read: Mapping[str, Any], *nullable: str) -> dict[str, Any]:
    """Return a body's fields as the core names them. Raises Invalid for resource options, of which there are none.

    A null means an empty text, but for the fields named in `nullable`, where it means nothing set.
    """
    fields = dict(read)
    options = fields.pop("options", None)
    if options:
        raise Invalid(f"options: this cloud knows no resource options (asked for: {', '.join(sorted(options))}).")
    for name, value in fields.items():
        if value is None and name not in nullable:
            fields[name] = ""
    return fields
