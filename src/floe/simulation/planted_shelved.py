"""Planted bugs in servers that are shelved."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.agent import fences
from floe.cloud import server_ports, shelved_images
from floe.core.actions import Action
from floe.core.context import Context
from floe.core.messages import Destroy
from floe.core.servers import Server
from floe.simulation.planting import Planted, patched
from floe.store import allocations
from floe.store.engine import Connection


def _remove_nothing(conn: Connection, action: Action, now: datetime, action_id: str) -> str:
    """Leave a server's image, and the row that says that it is kept in it."""
    return ""


def _let_nothing_go(conn: Connection, context: Context, server: Server, now: datetime, action_id: str) -> None:
    """Leave the image of a server that is deleted."""


def _unbind_nothing(conn: Connection, server_id: str, now: datetime) -> None:
    """Leave the ports of a server that was put away where they were."""


def _as_it_came(command: Destroy, _builder: Any, _guest: Any) -> Destroy:
    """Take the guest of a server that is put away for that of another action."""
    return command


def _release_nothing(*_args: Any, **_more: Any) -> list[Any]:
    """Keep what a server took of its host."""
    return []


SHELVED = (
    Planted(
        "shelved-image-left",
        "the image of a server that was unshelved stays",
        patched((shelved_images, "remove", _remove_nothing)),
        needs="shelve",
    ),
    Planted(
        "shelved-image-outlives-its-server",
        "the image of a shelved server that is deleted stays",
        patched((shelved_images, "let_go", _let_nothing_go)),
        needs="shelve",
    ),
    Planted(
        "shelved-ports-bound",
        "the ports of a server that was put away are still bound to its host",
        patched((server_ports, "unbind", _unbind_nothing)),
        needs="shelve",
    ),
    Planted(
        "shelved-guest-left",
        "a host keeps the guest of a server that was put away",
        patched((fences, "of_builder", _as_it_came)),
        needs="shelve",
    ),
    Planted(
        "shelved-claim-kept",
        "a server that was put away still takes of its host",
        patched((allocations, "release", _release_nothing)),
        needs="shelve",
    ),
)
