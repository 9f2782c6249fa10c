"""Planted bugs in images that are made of servers."""

from __future__ import annotations

from datetime import datetime

from floe.agent.snapshots import GuestSnapshots
from floe.cloud import unmade_images
from floe.core.actions import Action
from floe.core.servers import Server
from floe.simulation.planting import Planted, patched
from floe.store.engine import Connection


async def _clear_nothing(self: GuestSnapshots, server_id: str) -> None:
    """Leave the copy of a disk where it is."""


def _give_up_nothing(conn: Connection, action: Action, now: datetime, action_id: str) -> None:
    """Leave an image queued that nobody makes."""


def _cancel_nothing(conn: Connection, server: Server, now: datetime, action_id: str) -> None:
    """Leave the image of a server that is deleted."""


def _settle_nothing(conn: Connection, server_id: str, now: datetime) -> None:
    """Leave a server as if an image of it were being made."""


COPIED = (
    Planted(
        "copy-left",
        "the copy of a disk stays on its host",
        patched((GuestSnapshots, "clear_away", _clear_nothing)),
        needs="copy",
    ),
    Planted(
        "image-not-given-up",
        "an image that could not be made stays queued",
        patched((unmade_images, "give_up", _give_up_nothing)),
        needs="copy",
    ),
    Planted(
        "image-outlives-the-wish",
        "an image of a server that is deleted meanwhile stays queued",
        patched((unmade_images, "cancelled", _cancel_nothing)),
        needs="copy",
    ),
    Planted(
        "image-never-over",
        "a server stays in the state of one of which an image is made",
        patched((unmade_images, "settle", _settle_nothing)),
        needs="copy",
    ),
)
