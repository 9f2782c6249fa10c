"""Where images lie, and where hosts find the bytes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from floe.agent.image_copy import ImageSource
from floe.agent.snapshots import NoStore, SnapshotStore
from floe.assembly.surroundings import Surroundings
from floe.blobs.files import FileBlobs
from floe.blobs.protocol import Blobs
from floe.core.errors import Invalid
from floe.pools import Pool

if TYPE_CHECKING:
    from floe.cloud.cloud import Cloud


def store(around: Surroundings, threads: Pool) -> Blobs:
    """Return the image store: files of the state directory, or the object store that the settings name."""
    address = around.settings.object_store()
    if address is None:
        return FileBlobs(around.settings.state / "images", around.room, threads)
    from floe.blobs.s3 import S3Blobs  # 16 MiB, for those who have such a store

    return S3Blobs(address, threads)


def no_store(around: Surroundings) -> Blobs:
    """Return what a process has that is given no bytes of images: it makes no folder for them, and asks no bucket."""
    return FileBlobs(around.settings.state / "images", around.room, make=False)


def sink(around: Surroundings, threads: Pool, cloud: Cloud | None = None) -> SnapshotStore:
    """Return where hosts send images: the APIs that the settings name, else this process's own cloud."""
    urls = around.settings.image_urls()
    if urls:
        from floe.agent.image_upload import HttpStore

        return HttpStore(urls, threads=threads)
    if cloud is None:
        return NoStore()
    from floe.assembly.own_store import OwnStore  # with the database, which agents in a process of their own do without

    return OwnStore(cloud, threads)


def source(around: Surroundings, threads: Pool, seen: Blobs | None = None) -> ImageSource:
    """Return where hosts get images from: the APIs that the settings name, else the store that is `seen`.

    Without either it is the files of an API in the same state directory. Raises Invalid where they are elsewhere.
    """
    urls = around.settings.image_urls()
    if urls:
        from floe.agent.image_http import HttpImages  # with HTTP and TLS, which hosts that see the store do without

        return HttpImages(urls, threads=threads, clock=around.clock)
    if seen is not None:
        return seen
    if around.settings.blobs:
        raise Invalid("images_from is not set: hosts have no keys to the object store, and fetch images from an API.")
    return FileBlobs(around.settings.state / "images", around.room, threads, make=False)
