"""Planted bugs in moves to other hosts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from floe.cloud import server_resize, unmade_images
from floe.core.actions import Action
from floe.core.host_network import HostPort
from floe.core.images import Image
from floe.core.servers import Server
from floe.simulation.planting import Planted, patched
from floe.store import allocations
from floe.store.engine import Connection


def _keep_image(conn: Connection, image: Image, action: Action, now: datetime, removal_id: str) -> None:
    """Leave what a server has travelled as."""


def _bind_nothing(conn: Connection, server: Server, host: str, zone: str, now: datetime) -> Sequence[HostPort]:
    """Leave the ports of a server where they are."""
    return ()


def _no_halves(conn: Connection, host: str) -> set[str]:
    """Take what servers have left on a host for strays."""
    return set()


def _is_none(conn: Connection, server_id: str, host: str) -> bool:
    """Take what a server has left on a host for a stray."""
    return False


def _stay_away(conn: Connection, server: Server, host: str, now: datetime, **more: Any) -> None:
    """Have a server be what it was, where it is now."""
    server_resize.restore(conn, server, now, **more)


MOVED = (
    Planted(
        "move-leaves-image",
        "what a server travelled as is kept",
        patched((unmade_images, "remove", _keep_image)),
        needs="move",
    ),
    Planted(
        "move-without-ports",
        "the ports of a server stay on the host that it left",
        patched((server_resize, "bind", _bind_nothing)),
        needs="move",
    ),
    Planted(
        "move-half-is-a-stray",
        "what a server was is removed from the host that it left before anybody has decided",
        patched((allocations, "halves", _no_halves), (allocations, "is_half", _is_none)),
        needs="move",
    ),
    Planted(
        "move-not-taken-home",
        "a server whose move failed or was reverted is said to be where it went",
        patched((server_resize, "bring_home", _stay_away)),
        needs="move",
    ),
)
