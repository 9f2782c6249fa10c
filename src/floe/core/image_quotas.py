"""How many images and image bytes a project may have: Glance's names, Glance's units."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from floe.core.errors import TooLarge
from floe.core.quotas import IMAGE

COUNT, SIZE, STAGED, UPLOADING = IMAGE
MIB = 2**20


class ImageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a project uses, or a difference of that.

    `bytes` are those of images; `staged` those that uploads under way have received or taken room for.
    """

    images: int = 0
    bytes: int = 0
    uploads: int = 0
    staged: int = 0

    def __neg__(self) -> ImageUsage:
        return ImageUsage(images=-self.images, bytes=-self.bytes, uploads=-self.uploads, staged=-self.staged)


def shown(usage: ImageUsage) -> dict[str, int]:
    """Return what is used of each resource, in its unit; a MiB that is begun counts."""
    return {
        SIZE: -(-(usage.bytes + usage.staged) // MIB),
        STAGED: -(-usage.staged // MIB),
        COUNT: usage.images,
        UPLOADING: usage.uploads,
    }


def demand_image(limits: Mapping[str, int], usage: ImageUsage) -> None:
    """Raise TooLarge unless a project may have one more image."""
    _demand_one(limits, COUNT, usage.images)


def demand_upload(limits: Mapping[str, int], usage: ImageUsage) -> None:
    """Raise TooLarge unless a project may begin one more upload."""
    _demand_one(limits, UPLOADING, usage.uploads)


def room(limits: Mapping[str, int], usage: ImageUsage, needed: int, wanted: int) -> int:
    """Return how many bytes an upload may take now: `wanted`, or what there is room for, but `needed` at least.

    Raises TooLarge where there is no room for that.
    """
    granted = wanted
    for resource, used in ((SIZE, usage.bytes + usage.staged), (STAGED, usage.staged)):
        limit = limits[resource]
        if limit < 0:
            continue
        left = limit * MIB - used
        if left < needed:
            raise TooLarge(
                f"Quota exceeded for {resource}: {needed} more bytes were asked for, {max(0, left)} are left of "
                f"{limit} MiB. Delete images that are no longer needed, or ask an administrator for more.",
                reason="over_quota",
            )
        granted = min(granted, left)
    return granted


def _demand_one(limits: Mapping[str, int], resource: str, used: int) -> None:
    limit = limits[resource]
    if 0 <= limit < used + 1:
        raise TooLarge(
            f"Quota exceeded for {resource}: requested 1, already used {used}, limit {limit}.", reason="over_quota"
        )
