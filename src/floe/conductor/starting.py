"""Start a guest again which an action turned off in vain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from floe.conductor.flow import Flow
from floe.core import guest_actions
from floe.core.actions import Action
from floe.core.entries import DONE
from floe.core.given import PowerGiven
from floe.core.guests import PowerState
from floe.core.servers import Server
from floe.store import actions
from floe.store import servers as rows
from floe.store.engine import Connection

STOP = "stop"
"""The step that ends a guest."""


def is_ended(flow: Flow) -> bool:
    """Say whether an action has ended the guest of its server."""
    return any(step.name == STOP and step.state == DONE for step in flow.journal.steps)


def start_again(
    conn: Connection, flow: Flow, server: Server, host: str, now: datetime, ident: str, *, replug: bool = False
) -> None:
    """Have the guest of an action's server be started by an action of its own, for whoever asked for that action.

    A guest that was ended is off until then, and says so if it does not start. With `replug` its host is told of its
    ports, too.
    """
    wanted, action, begins = guest_actions.START.wanted(server, now), flow.action, guest_actions.START.begins
    off: dict[str, Any] = {"power_state": int(PowerState.SHUTDOWN)} if is_ended(flow) else {}
    told: dict[str, Any] = {"boots": wanted.boots, "guest_generation": wanted.generation}
    rows.change(conn, server.id, task_state=guest_actions.START.task_state, updated_at=now, **told, **off)
    given = PowerGiven(host=host, wanted=wanted, replug=replug)
    start = Action(
        id=ident,
        kind=begins.kind,
        version=begins.version,
        subject_id=server.id,
        project_id=action.project_id,
        user_id=action.user_id,
        # By its request an action is shown, with the reason why it failed.
        request_id=f"req-{ident}",
        input=msgspec.to_builtins(given),
        created_at=now,
    )
    actions.add(conn, start)
