"""Where an agent finds the bytes of images."""

from __future__ import annotations

from floe.agent.images import ImageSource
from floe.assembly.surroundings import Surroundings
from floe.blobs.files import FileBlobs
from floe.pools import Pool


def source(around: Surroundings, threads: Pool) -> ImageSource:
    """Return the source of an agent that runs alone: the files of an API in the same state directory."""
    return FileBlobs(around.settings.state / "images", around.room, threads)
