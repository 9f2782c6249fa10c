"""Planted bugs in how actions go on, and in what is known of what they left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from floe.cloud import host_guests
from floe.conductor.flow import Flow
from floe.conductor.journal import Journal
from floe.conductor.removal import Patience, Removal, Removed
from floe.conductor.saga import OnHost, Saga, Write
from floe.core.entries import DONE
from floe.core.guests import PowerState
from floe.core.messages import Spawned
from floe.core.servers import ERROR, ServerFault
from floe.simulation.planting import Planted, altered, patched, with_steps
from floe.store import actions, holdings, servers
from floe.store.holdings import Owed
from floe.store.servers import servers as server_rows

# -- holdings -----------------------------------------------------------------------------------------


def _say_nothing(conn: Any, server_id: str, host: str, action_id: str | None = None) -> None:
    """Write no row, or leave it."""


async def _removed_at_once(self: Removal, host: str, command: Any, **options: Any) -> Removed:
    """Take what a host owes for done."""
    return replace(await _remove(self, host, command, **options), owed=False)


_remove = Removal.__call__


async def _removed_if_once(self: Removal, host: str, command: Any, **options: Any) -> Removed:
    """Take an undo, or what is to be cleared away, for done when it failed for the first time."""
    if "patience" not in options:
        return await _remove(self, host, command, **options)
    return replace(await _remove(self, host, command, **(options | {"patience": _NONE})), owed=False)


_NONE = Patience(most=0.0)


def _all_owed(conn: Any, host: str) -> list[Owed]:
    """Take all that is on a host for what it owes."""
    h, s = holdings.holdings.c, server_rows.c
    found = conn.execute(
        holdings.holdings.select()
        .join(server_rows, s.id == h.server_id)
        .where(h.host == host)
        .with_only_columns(h.server_id, h.action_id, s.number)
    )
    return [Owed(server_id=row[0], action_id=row[1], number=row[2], deleted=False) for row in found]


def _nothing_owed(conn: Any, host: str) -> list[Any]:
    """Expect nothing of a host that comes back."""
    return []


# -- what steps return --------------------------------------------------------------------------------


def _entry_without_output(self: Journal, offset: int, name: str, state: str, started: Any, **said: Any) -> Any:
    """Forget what a step returned."""
    return _entry(self, offset, name, state, started, **(said | ({"output": None} if state == DONE else {})))


_entry = Journal.entry


# -- the fence ----------------------------------------------------------------------------------------


def _hold_whatever(conn: Any, action_id: str, owner: str, seen: int, state: str, now: Any, until: Any) -> bool:
    """Go on with an action though it was cancelled."""
    a = actions.actions
    values = {"lease_owner": owner, "lease_until": until, "state": state, "updated_at": now}
    return bool(conn.execute(a.update().where(a.c.id == action_id).values(**values)).rowcount)


def _close_nothing(conn: Any, action_id: str, state: str, message: str | None, now: Any) -> None:
    """Leave an action open."""


# -- plans and what rows hold -----------------------------------------------------------------------------------


def _spawn_nothing(_cloud: Any, saga: Saga) -> Saga:
    """Take the plan for done when the host is chosen."""
    spawned = Write(
        name="nothing", do=lambda _flow: lambda _conn: Spawned(power_state=PowerState.RUNNING), returns=Spawned
    )
    return with_steps(saga, lambda node: spawned if isinstance(node, OnHost) else node)


def _keep_the_claim(cloud: Any, saga: Saga) -> Saga:
    """Give nothing back when a build fails."""

    def fails(flow: Flow, failure: Any) -> Callable[[Any], Any]:
        now = cloud.clock.now()
        fault = ServerFault(code=500, message=failure.message, details="", created_at=now)
        values: dict[str, Any] = {
            "vm_state": ERROR,
            "task_state": None,
            "power_state": 0,
            "host": None,
        }
        return lambda conn: servers.change(conn, flow.action.subject_id, **values, fault=fault, updated_at=now)

    return replace(saga, fails=fails) if saga.kind == "create" else saga


SAGAS = (
    Planted("holding-unsaid", "nothing says where guests may be", patched((holdings, "insert", _say_nothing))),
    Planted(
        "holding-for-ever", "a holding stays when its host has removed all", patched((holdings, "delete", _say_nothing))
    ),
    Planted(
        "holding-too-early",
        "a holding goes though its host was down, and nobody remembers what it owes",
        patched((Removal, "__call__", _removed_at_once)),
    ),
    Planted(
        "undo-once",
        "an undo that fails at first is taken for done",
        patched((Removal, "__call__", _removed_if_once)),
        needs="hypervisor destroy",
    ),
    Planted(
        "owed-forgotten",
        "a host that was down is not asked for what it does not speak of",
        patched((host_guests, "owed", _nothing_owed)),
    ),
    Planted(
        "owed-of-the-living",
        "a host is told to remove what belongs there",
        patched((holdings, "owed", _all_owed)),
    ),
    Planted("result-lost", "what a step returned is not recorded", patched((Journal, "entry", _entry_without_output))),
    Planted(
        "cancelled-goes-on",
        "the build of a deleted server goes on to its end",
        patched((actions, "hold", _hold_whatever)),
    ),
    Planted("claim-kept", "a build that failed gives nothing back", altered(_keep_the_claim)),
    Planted("step-left-out", "a build ends without having spawned", altered(_spawn_nothing)),
    Planted("end-unwritten", "that an action has ended is not written", patched((actions, "close", _close_nothing))),
)
