"""The image: what a root disk starts from, who may see it, and which states it goes through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import chain

import msgspec

from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, TooLarge
from floe.core.guests import GuestImage
from floe.core.image_signatures import is_signed
from floe.core.texts import is_printable

# status
QUEUED, SAVING, ACTIVE, DEACTIVATED, DELETED = "queued", "saving", "active", "deactivated", "deleted"
# state of a blob that is no image's data
WRITING, REMOVING = "writing", "removing"
# visibility
PRIVATE, PUBLIC, SHARED, COMMUNITY = "private", "public", "shared", "community"
# membership
PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"

DISK_FORMATS = ("raw", "qcow2", "iso", "vmdk", "vdi", "vhd", "vhdx", "ami", "ari", "aki")
CONTAINER_FORMATS = ("bare", "ami", "ari", "aki")
"""Archives (ova, ovf, docker, compressed) are not among them: what is inside could not be inspected."""

MOVED_BY = "os_glance_moved_by"
"""The property of an image that a server travels as: the action that moves it. No user can set one of that name."""

BOOTABLE_FORMATS = frozenset({"raw", "qcow2", "ami"})
"""What a host can start a root disk from."""

MAX_PROPERTIES = 128
MAX_TAGS = 128
MAX_MEMBERS = 128
MAX_VALUE = 65535
"""Characters of a property's value at most."""
MAX_PROPERTY_BYTES = 64 << 10
"""Bytes of an image's properties, names and values together, in UTF-8; one that had more before may only shrink."""

HASH_ALGORITHM = "sha512"
_PLAIN = frozenset({"raw", "ami", "ari", "aki"})


class Image(msgspec.Struct, frozen=True, gc=False):
    """An image as the database holds it. Sizes are in bytes, but `min_disk` is in GiB and `min_ram` in MiB."""

    id: str
    name: str | None
    owner: str | None
    created_at: datetime
    updated_at: datetime
    status: str = QUEUED
    visibility: str = SHARED
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    size: int | None = None
    virtual_size: int | None = None
    checksum: str | None = None
    """MD5 in hex, for clients that know no better."""
    sha512: str | None = None
    protected: bool = False
    hidden: bool = False
    blob_id: str | None = None
    """The blob that holds the data, None for the one of the image's own id."""
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def blob(self) -> str:
        """The blob that holds the data, if there is any."""
        return self.blob_id or self.id


class ImageBlob(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are being written for an image, or are to be removed; each upload has a blob of its own.

    `project_id` is who is charged for `reserved` bytes while they are written. The release before shows by `beat` that
    an upload lives.
    """

    id: str
    image_id: str
    project_id: str | None
    state: str = WRITING
    beat: int = 0
    reserved: int = 0
    since: datetime


class NewImage(msgspec.Struct, frozen=True, kw_only=True):
    """What a create asks for; without an id or owner, a new one and the caller's project."""

    id: str | None = None
    name: str | None = None
    visibility: str = SHARED
    owner: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    hidden: bool = False
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)


class ImageMember(msgspec.Struct, frozen=True, kw_only=True):
    """A project that a shared image is offered to."""

    image_id: str
    project_id: str
    status: str = PENDING
    created_at: datetime
    updated_at: datetime


def blob_of(image_id: str, number: int) -> str:
    """Return the blob that an image's upload of this number, from 1, writes to: no two ever write to the same.

    The first has the image's own id, by which releases before the second one find it too.
    """
    return image_id if number == 1 else f"{image_id}.{number}"


def image_of_blob(blob_id: str) -> str:
    """Return the image that a blob was written for."""
    return blob_id.partition(".")[0]


def may_see(context: Context, image: Image, is_member: bool) -> bool:
    """Say whether the caller may know of the image; a member sees it before and after deciding about it."""
    if context.is_admin or image.visibility in {PUBLIC, COMMUNITY} or context.owns(image.owner):
        return True
    return image.visibility == SHARED and is_member


def demand_change(context: Context, image: Image) -> None:
    """Raise Forbidden unless the caller may change the image."""
    if not (context.is_admin or context.owns(image.owner)):
        raise Forbidden(f"You may not change image {image.id}: it belongs to another project.")


def demand_owner(context: Context, owner: str | None) -> None:
    """Raise Forbidden unless the caller may make an image theirs."""
    if not (context.is_admin or context.owns(owner)):
        raise Forbidden(f"You may not give an image to project {owner!r}; only an administrator may.")


def demand_members(image: Image) -> None:
    """Raise Forbidden unless the image is of the kind that has members."""
    if image.visibility != SHARED:
        raise Forbidden(f"Only shared images have members; image {image.id} is {image.visibility}.")


def demand_upload(image: Image) -> None:
    """Raise Conflict or Invalid unless the image can take its bytes now."""
    if image.status == SAVING:
        raise Conflict(f"Image {image.id} is being uploaded by another request.")
    if image.status != QUEUED:
        raise Conflict(f"Image {image.id} has its data already (it is {image.status}); it cannot be changed.")
    for name, value in (("disk_format", image.disk_format), ("container_format", image.container_format)):
        if value is None:
            raise Invalid(f"Property {name} of image {image.id} must be set before its data is uploaded.")


def demand_edit(old: Image, new: Image) -> None:
    """Raise unless an image may be changed from one to the other; the caller was judged before."""
    for name, before, after in (
        ("disk_format", old.disk_format, new.disk_format),
        ("container_format", old.container_format, new.container_format),
    ):
        if before != after and old.status != QUEUED:
            raise Forbidden(f"Attribute {name} can be changed only while the image is queued; it is {old.status}.")
    demand_limits(new.tags, new.properties, before=property_bytes(old.properties))


def property_bytes(properties: Mapping[str, str]) -> int:
    """Return how many bytes properties take, names and values together."""
    return len("".join(chain.from_iterable(properties.items())).encode(errors="surrogatepass"))


def demand_limits(tags: tuple[str, ...], properties: Mapping[str, str], *, before: int = 0) -> None:
    """Raise Invalid unless the tags and properties of an image are such as can be kept and passed to a host.

    Raises TooLarge for properties that take more bytes than allowed, and more than those `before` the change.
    """
    size = property_bytes(properties)
    if size > max(MAX_PROPERTY_BYTES, before):
        raise TooLarge(
            f"The properties of an image take at most {MAX_PROPERTY_BYTES} bytes, names and values together; "
            f"these take {size}."
        )
    if len(tags) > MAX_TAGS:
        raise Invalid(f"An image takes at most {MAX_TAGS} tags; these are {len(tags)}.")
    if len(properties) > MAX_PROPERTIES:
        raise Invalid(f"An image takes at most {MAX_PROPERTIES} properties; these are {len(properties)}.")
    for name, value in properties.items():
        if not 1 <= len(name) <= 255 or not is_printable(name):
            raise Invalid(f"A property's name is 1 to 255 printable characters (it is {name[:80]!r}).")
        if name.startswith("os_glance"):
            raise Forbidden(f"Property {name!r} is reserved: names that begin with os_glance are the cloud's own.")
        if len(value) > MAX_VALUE:
            raise Invalid(f"Property {name!r} is {len(value)} characters long; at most {MAX_VALUE} are kept.")
        if any(ord(char) < 32 and char not in "\t\n\r" for char in value):
            raise Invalid(f"Property {name!r} holds control characters, which a host could not pass on.")


def demand_bootable(image: Image) -> None:
    """Raise Invalid unless a server's root disk can be made from the image now."""
    if image.status != ACTIVE:
        raise Invalid(f"Image {image.id} is not active: it is {image.status}.")
    if image.size == 0:
        raise Invalid(f"Image {image.id} has no data: 0 bytes were uploaded, and a server could not boot from them.")
    if image.disk_format not in BOOTABLE_FORMATS:
        known = ", ".join(sorted(BOOTABLE_FORMATS))
        raise Invalid(
            f"Image {image.id} has disk_format {image.disk_format}; servers boot from one of {known}. "
            "Convert it with qemu-img and upload it anew."
        )


def guest_image(image: Image) -> GuestImage:
    """Return what a host must know of an active image."""
    disk_format, sha512, signed = image.disk_format or "raw", image.sha512 or "", is_signed(image.properties)
    return GuestImage(
        image_id=image.id,
        checksum="" if signed else sha512,
        sha512=sha512 if signed else "",
        size=image.size or 0,
        disk_format="raw" if disk_format in _PLAIN else disk_format,
        virtual_size=image.virtual_size or 0,
        properties=dict(image.properties),
        blob_id=image.blob_id or "",
    )
