"""Clouds with images and nothing else, for tests that kill whoever is at these."""

from __future__ import annotations

from pathlib import Path

from databases import NewDatabase

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.ids import random_id

USER = Context(request_id="r", user_id="u", project_id="a" * 32, roles=frozenset({"member", "reader"}))


class Clock(FixedClock):
    """A clock whose seconds are moved by hand."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def make_cloud(path: Path, new_database: NewDatabase) -> Cloud:
    """Return the collaborators of a process, with nothing in the database yet."""
    clock = Clock()
    db = new_database(path / "floe.db", clock)
    db.open()
    return Cloud(
        db=db,
        bus=LocalBus(),
        blobs=FileBlobs(path / "images"),
        clock=clock,
        new_id=random_id,
        settings=CloudSettings(),
        token_keys=list,
    )
