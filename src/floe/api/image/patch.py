"""JSON patches of an image, in the dialect of the image API: add, replace, remove of whole properties (RFC 6902)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from floe.api.image.fields import BY_NAME, property_value, read, read_only
from floe.api.kit.call import Call
from floe.core.errors import Conflict, Forbidden, Invalid, UnsupportedMedia
from floe.core.images import Image

MEDIA_TYPE = "application/openstack-images-v2.1-json-patch"
OLD_MEDIA_TYPE = "application/openstack-images-v2.0-json-patch"
"""The dialect of API 2.0, from a draft of the RFC: `{"replace": "/name", "value": ...}`."""

Operation = tuple[str, str, Any]
"""(add, replace or remove; the property's name; its value)."""


async def operations(call: Call) -> list[Operation]:
    """Read a request's patch. Raises UnsupportedMedia, Invalid."""
    media = (call.header("content-type") or "").partition(";")[0].strip().lower()
    if media not in {MEDIA_TYPE, OLD_MEDIA_TYPE}:
        raise UnsupportedMedia(f"An image is changed with a body of type {MEDIA_TYPE} (it is {media!r}).")
    body = await call.json()
    if not isinstance(body, list):
        raise Invalid("The request body must be an array of operations, each with op, path and value.")
    return [_operation(_modern(item) if media == OLD_MEDIA_TYPE else item) for item in body]


def patched(image: Image, wanted: list[Operation]) -> Image:
    """Return the image with all operations done in order. Raises Invalid, Forbidden, Conflict."""
    base: dict[str, Any] = {}
    properties = dict(image.properties)
    for op, name, value in wanted:
        field = BY_NAME.get(name)
        if field is not None:
            if field.sets is None or name == "id":
                raise read_only(name)
            if op == "remove":
                raise Forbidden(f"Attribute '{name}' cannot be removed, only replaced.")
            base[name] = value
            continue
        if op != "add" and name not in properties:
            raise Conflict(f"Image {image.id} has no property {name!r} to {op}.")
        if op == "remove":
            del properties[name]
        else:
            properties[name] = property_value(name, value)
    fields, _ = read(msgspec.json.encode(base))
    return replace(image, **fields, properties=properties)


def _modern(item: object) -> object:
    """Turn an operation of the old dialect into one of the RFC."""
    if not isinstance(item, dict):
        return item
    ops = [op for op in ("add", "replace", "remove") if op in item]
    if len(ops) != 1:
        raise Invalid("Each operation of a patch must have exactly one of add, replace and remove.")
    return {**item, "op": ops[0], "path": item[ops[0]]}


def _operation(item: object) -> Operation:
    if not isinstance(item, dict):
        raise Invalid("Each operation of a patch must be an object with op, path and value.")
    op, path = item.get("op"), item.get("path")
    if not isinstance(op, str) or op not in {"add", "replace", "remove"}:
        raise Invalid(f"op must be add, replace or remove (it is {op!r}).")
    if op != "remove" and "value" not in item:
        raise Invalid(f"Operation {op} of {path!r} needs a value.")
    return op, _name(path), item.get("value")


def _name(path: object) -> str:
    """Read a JSON pointer of one step (RFC 6901)."""
    if not isinstance(path, str) or not path.startswith("/") or path.count("/") != 1 or len(path) < 2:
        raise Invalid(f"path must be a JSON pointer to one property, like /name (it is {path!r}).")
    text = path[1:]
    if "~" in text.replace("~0", "").replace("~1", ""):
        raise Invalid(f"In a path, ~ is written ~0 and / is written ~1 (it is {path!r}).")
    return text.replace("~1", "/").replace("~0", "~")
