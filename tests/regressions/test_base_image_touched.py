"""A base image that was damaged on the host while Floe ran was used for new guests until the next start."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.images import ImageCache
from floe.agent.threads import in_place
from floe.core.clock import FixedClock
from floe.core.guests import GuestImage

DATA = bytes(range(256)) * 1000


def eviction(folder: Path) -> ImageEviction:
    return ImageEviction(folder, list, FixedClock(), Keeping())


class Source:
    async def read(self, _image_id: str) -> AsyncIterator[bytes]:
        yield DATA


async def adopt(_path: Path, disk_format: str) -> str:
    return disk_format


async def test_a_base_image_that_somebody_touched_is_checked_and_fetched_again(tmp_path: Path):
    checksum = hashlib.sha512(DATA).hexdigest()
    image = GuestImage(image_id="img", checksum=checksum, size=len(DATA), disk_format="raw", virtual_size=len(DATA))
    cache = ImageCache(tmp_path, Source(), adopt, clock=FixedClock(), eviction=eviction(tmp_path), offload=in_place)
    path = (await cache.get(image)).path
    assert not (await cache.get(image)).fetched
    path.chmod(0o600)
    path.write_bytes(bytes(len(DATA)))
    assert (await cache.get(image)).fetched
    assert path.read_bytes() == DATA
