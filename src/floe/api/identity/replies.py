"""What all replies of the identity surface have in common: links and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.kit.body import Body
from floe.api.kit.call import Call
from floe.api.kit.values import field_fault
from floe.core.errors import Invalid

ShortName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\S")]
LongName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Text = Annotated[str, Meta(max_length=65535)] | None
ShortText = Annotated[str, Meta(max_length=255)] | None
Ident = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+\Z")]


MAX_PROPERTIES = 16 << 10
"""Bytes, as JSON, of the attributes that clients may keep with one thing."""
_READ_ONLY = frozenset({"id", "links", "password_expires_at"})
"""What clients may send back as they read it; only the cloud sets it."""
_OURS = frozenset({"domain_id", "extra"})
_TRIMMED = frozenset({"domain", "project", "user", "group"})
"""Whose names lose white space at both ends, as in Keystone."""
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^,/]*\Z")]], Meta(max_length=80)]


def with_link(call: Call, path: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the link to itself that every object of this surface has."""
    return {**fields, "links": {"self": call.url(path)}}


async def with_properties(call: Call, body: Body, *nullable: str, own_id: str | None = None) -> dict[str, Any]:
    """Read a body's fields as the core names them; what the table does not know becomes `properties`.

    Clients keep attributes of their own with all that this surface has (`openstack project set --property`).
    A null takes one away. With `own_id` it is a change of the thing of that id, which cannot be empty. What stands
    beside the object is refused where Keystone does so.
    Raises Invalid for what cannot be set, and for more than is kept.
    """
    fields = changes(body.read(await call.raw()), *nullable)
    known = {field.name for field in body.fields}
    top = await call.json()
    sent, beside = top[body.key], sorted(set(top) - {body.key})
    if beside and not (body.key == "service" or (body.key == "region" and own_id is None)):
        raise Invalid(f"The request body has {body.key!r} alone (there is {beside[0][:80]!r} beside it).")
    if own_id is not None and not sent:
        raise Invalid(f"Invalid input for field/attribute {body.key}: it has nothing that is to be changed.")
    if own_id is not None and "id" not in known and sent.get("id") not in (None, own_id):
        raise Invalid(f"Invalid input for field/attribute {body.key}.id: it cannot be changed (it is {own_id!r}).")
    extra = {name: value for name, value in sent.items() if name not in known | _READ_ONLY}
    for name in extra:
        if name in _OURS:
            raise Invalid(f"Invalid input for field/attribute {body.key}.{name}: it cannot be set.")
        if not 1 <= len(name) <= 255:
            raise Invalid(f"The name of a property has 1 to 255 characters (this one has {len(name)}).")
    size = len(msgspec.json.encode(extra))
    if size > MAX_PROPERTIES:
        raise Invalid(f"Properties take {MAX_PROPERTIES} bytes at most (these take {size}).")
    if "name" in fields and body.key in _TRIMMED:
        fields["name"] = fields["name"].strip()
    if "tags" in fields:
        fields["tags"] = unique(fields["tags"])
    return {**fields, "properties": extra} if extra else fields


def unique(tags: Sequence[str]) -> tuple[str, ...]:
    """Return tags as they are kept. Raises Invalid for one that is given twice."""
    if len(set(tags)) != len(tags):
        raise Invalid(field_fault("tags", "each may be given once"))
    return tuple(tags)


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
