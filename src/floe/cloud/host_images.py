"""Bytes of images for hosts that do not see the image store: tickets, and what is given for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from floe.cloud.cloud import Cloud
from floe.core import image_tickets
from floe.core.errors import Forbidden, NotFound
from floe.core.guests import GuestImage, GuestSpec
from floe.core.image_tickets import ImageTicket
from floe.core.images import ACTIVE, DEACTIVATED, Image, image_of_blob
from floe.store import hosts, images
from floe.store.engine import Connection

_SPARE = 300.0
"""Seconds that a ticket outlives its command: the clocks of two control planes may differ, and a message take long."""


def tickets(
    cloud: Cloud, host: str, guest: GuestSpec, *, more: Iterable[GuestImage] = (), seconds: float
) -> tuple[ImageTicket, ...]:
    """Return what a host needs to fetch all that a guest is made of, for a command that has so many seconds."""
    made_of = (guest.image, guest.kernel, guest.ramdisk, guest.rescue, *more)
    blobs = [image.blob for image in made_of if image is not None]
    expires = int(cloud.clock.now().timestamp() + seconds + _SPARE)
    return image_tickets.issue(cloud.token_keys()[0], host, blobs, expires)


async def admitted(cloud: Cloud, ticket: str | None, blob: str, *, method: str, part: str = "") -> Image:
    """Return the image whose blob may be read for a ticket, as it stands in a request for it or a part of it.

    Raises Forbidden, also for a host that there is no more, and NotFound where the blob is no image's data any more.
    """
    try:
        shown = image_tickets.read(ticket)
        image_tickets.demand_valid(shown, cloud.token_keys(), cloud.clock.now().timestamp(), method, blob, part)
    except ValueError as error:
        raise Forbidden(str(error)) from None

    def look(conn: Connection) -> tuple[bool, Image | None]:
        return hosts.get(conn, shown.host) is not None, images.get(conn, image_of_blob(blob))

    known, image = await cloud.db.read(look)
    if not known:
        raise Forbidden(f"There is no host {shown.host!r} any more.")
    if image is None or image.blob != blob or image.status not in {ACTIVE, DEACTIVATED}:
        raise NotFound("image data", blob)
    return image


def content(cloud: Cloud, image: Image, start: int, length: int) -> AsyncIterator[bytes]:
    """Give an image's bytes, in turns that all hosts have together. Raises NotFound, Unavailable."""
    return cloud.blobs.read(image.blob, start, length, caller="hosts")
