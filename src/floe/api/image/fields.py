"""An image on the wire: one table that replies, bodies, JSON patches and schemas are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.kit.body import Body, Field, LooseName, at_most
from floe.api.kit.call import plain_json
from floe.api.kit.shape import Always, Of, Shape, Shown
from floe.core.clock import iso
from floe.core.errors import Forbidden, Invalid
from floe.core.images import (
    ACTIVE,
    COMMUNITY,
    CONTAINER_FORMATS,
    DEACTIVATED,
    DISK_FORMATS,
    HASH_ALGORITHM,
    PRIVATE,
    PUBLIC,
    QUEUED,
    SAVING,
    SHARED,
    Image,
)

STATUSES = (QUEUED, SAVING, ACTIVE, DEACTIVATED)
VISIBILITIES = (COMMUNITY, PUBLIC, PRIVATE, SHARED)
_Id = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")]
Tag = Annotated[str, Meta(min_length=1, max_length=255)]
Amount = Annotated[int, Meta(ge=0, le=2**31 - 1)]
OWNER = Annotated[str, Meta(max_length=64)]


class ImageField(msgspec.Struct, frozen=True):
    """One base property: its wire name, type, how it is shown, and the attribute of `NewImage` it sets, if any."""

    name: str
    type: Any
    value: Callable[[Image], Any] | str
    sets: str | None = None
    about: str = ""
    choices: tuple[str, ...] = ()


FIELDS: tuple[ImageField, ...] = (
    ImageField("id", _Id, "id", "id", "An identifier for the image"),
    ImageField("name", LooseName | None, "name", "name", "Descriptive name for the image"),
    ImageField("status", str, "status", None, "Status of the image", STATUSES),
    ImageField("visibility", str, "visibility", "visibility", "Scope of image accessibility", VISIBILITIES),
    ImageField("protected", bool, "protected", "protected", "If true, image will not be deletable"),
    ImageField("os_hidden", bool, "hidden", "hidden", "If true, image will not appear in default lists"),
    ImageField("owner", OWNER | None, "owner", "owner", "Owner of the image"),
    ImageField("disk_format", str | None, "disk_format", "disk_format", "Format of the disk", DISK_FORMATS),
    ImageField(
        "container_format",
        str | None,
        "container_format",
        "container_format",
        "Format of the container",
        CONTAINER_FORMATS,
    ),
    ImageField("min_disk", Amount, "min_disk", "min_disk", "Disk space (in GiB) required to boot image"),
    ImageField("min_ram", Amount, "min_ram", "min_ram", "Memory (in MiB) required to boot image"),
    ImageField("size", int | None, "size", None, "Size of image file in bytes"),
    ImageField("virtual_size", int | None, "virtual_size", None, "Size of the disk inside in bytes"),
    ImageField("checksum", str | None, "checksum", None, "MD5 of the image's data"),
    ImageField(
        "os_hash_algo",
        str | None,
        Of("sha512", lambda digest: HASH_ALGORITHM if digest else None),
        None,
        "Algorithm of os_hash_value",
    ),
    ImageField("os_hash_value", str | None, "sha512", None, "Digest of the image's data in hex"),
    ImageField("tags", at_most(list[Tag], 1024), Of("tags", list), "tags", "List of strings related to the image"),
    ImageField("created_at", str, Of("created_at", iso), None, "Date and time of image registration"),
    ImageField("updated_at", str, Of("updated_at", iso), None, "Date and time of the last change"),
    ImageField("self", str, Of("id", "/v2/images/{}".format), None, "URL of the image"),
    ImageField("file", str, Of("id", "/v2/images/{}/file".format), None, "URL of the image's data"),
    ImageField("schema", str, Always("/v2/schemas/image"), None, "URL of the schema of an image"),
)
BY_NAME: Mapping[str, ImageField] = {field.name: field for field in FIELDS}
RESERVED = frozenset({"deleted", "deleted_at", "direct_url", "location", "locations", "stores"})
"""Names that mean something to other configurations of this API and can be no property."""

_ENCODER = msgspec.json.Encoder()
_PROPERTIES = attrgetter("properties")
_SHAPE: Shape[Image] = Shape([Shown(field.name, field.value) for field in FIELDS])
_BODY = Body(None, [Field(field.name, field.type) for field in FIELDS if field.sets], strict=False)


def shown(image: Image) -> dict[str, Any]:
    """Return an image as JSON: its properties, and the base ones beside them."""
    return {**image.properties, **_SHAPE.show(image)}


def listed(images: Sequence[Image]) -> Iterator[Any]:
    """Return what is encoded as the images of a list, each as it is shown alone."""
    page = _SHAPE.page(images)
    if not any(map(_PROPERTIES, images)):
        return page
    return (_beside(image, plain) if image.properties else plain for image, plain in zip(images, page, strict=True))


def _beside(image: Image, plain: Any) -> Any:
    """Return an image as it is shown alone, of what its base properties are encoded from.

    What it has besides is written before them; a dict of all takes twice as long.
    """
    if not BY_NAME.keys().isdisjoint(image.properties):
        return shown(image)  # a later release gave the name of a property a meaning
    return msgspec.Raw(_ENCODER.encode(image.properties)[:-1] + b"," + _ENCODER.encode(plain)[1:])


def read(data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Read an object of fields and properties: the first by attribute of `NewImage`, the second by name.

    Raises Invalid, and Forbidden for what only the cloud may set.
    """
    top = plain_json(data)
    if not isinstance(top, dict):
        raise Invalid("The request body must be an object of image properties.")
    properties: dict[str, str] = {}
    for name, value in top.items():
        field = BY_NAME.get(name)
        if field is None:
            properties[name] = property_value(name, value)
        elif field.sets is None:
            raise read_only(name)
    fields: dict[str, Any] = {}
    for name, value in _BODY.read(data).items():
        field = BY_NAME[name]
        if field.choices and value is not None and value not in field.choices:
            raise Invalid(f"{name} must be one of {', '.join(field.choices)} (it is {value[:80]!r}).")
        if field.sets:
            fields[field.sets] = tuple(value) if name == "tags" else value
    return fields, properties


def property_value(name: str, value: object) -> str:
    """Return a property's value, which must be text. Raises Invalid, Forbidden for a reserved name."""
    if name in RESERVED:
        raise Forbidden(f"Attribute '{name}' is reserved.")
    if not isinstance(value, str):
        raise Invalid(f"Property {name[:80]!r} must be a string (it is of type {type(value).__name__}).")
    return value


def read_only(name: str) -> Forbidden:
    """Return the refusal to set what only the cloud sets."""
    return Forbidden(f"Attribute '{name}' is read-only.")
