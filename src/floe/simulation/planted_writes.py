"""Planted bugs in writes that run twice: what is made inside of them, and what is remembered before the commit."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.core.hosts import Allocation
from floe.core.ids import derived
from floe.simulation.planting import Memory, Planted, patched, remembering
from floe.store import actions, allocations, write_sessions
from floe.store import servers as server_rows

_claim = allocations.claim
_add_action = actions.add
_add_server = server_rows.add


def _never_done(conn: Any, mark: Any) -> bool:
    """Know of no earlier try."""
    return True


def _done_when_begun(memory: Memory) -> Any:
    """Note in memory that a write is done, while it is not committed yet."""

    def put(conn: Any, mark: Any) -> bool:
        known = mark in memory
        memory[mark] = True
        return not known

    return put


def _claimed_before(memory: Memory) -> Any:
    """Note in memory what was claimed, and do not claim it again."""

    def claim(conn: Any, wanted: Allocation, **options: Any) -> None:
        if (wanted.server_id, wanted.host) not in memory:
            _claim(conn, wanted, **options)
            memory[wanted.server_id, wanted.host] = True

    return claim


def _id_made_inside(memory: Memory) -> Any:
    """Make a server's id where its row is inserted."""

    def add(conn: Any, server: Any, disks: Any = ()) -> Any:
        memory[server.id] = memory.get(server.id, 0) + 1
        return _add_server(conn, replace(server, id=derived(server.id, f"try {memory[server.id]}")), disks)

    return add


def _action_of_before(memory: Memory) -> Any:
    """Note in memory which actions there are, and add none of them again."""

    def add(conn: Any, action: Any) -> None:
        if action.id not in memory:
            memory[action.id] = True
            _add_action(conn, action)

    return add


def _release_uncounted(
    conn: Any, server_id: str, now: Any, *, host: str | None = None, purpose: str | None = None
) -> Any:
    """Remove the rows of what a server takes, and count nothing back."""
    held = [
        each
        for each in allocations.of_server(conn, server_id)
        if host in (None, each.host) and purpose in (None, each.purpose)
    ]
    table = allocations.allocations
    for each in held:
        ours = (table.c.server_id == server_id) & (table.c.host == each.host) & (table.c.purpose == each.purpose)
        conn.execute(table.delete().where(ours))
    return held


WRITES = (
    Planted(
        "release-uncounted",
        "what a server took of its host is not counted back when it is given back",
        patched((allocations, "release", _release_uncounted)),
    ),
    Planted(
        "answer-lost",
        "a write that was committed, and whose answer was lost, is done again",
        patched((write_sessions, "put", _never_done)),
    ),
    Planted(
        "done-when-begun",
        "a write is noted as done before it is committed",
        remembering((write_sessions, "put", _done_when_begun)),
    ),
    Planted(
        "claim-in-memory",
        "a claim is noted in memory before it is committed, and not made again",
        remembering((allocations, "claim", _claimed_before)),
    ),
    Planted(
        "id-made-inside",
        "the id of a server is made inside of the write, which is done again when its answer is lost",
        remembering((server_rows, "add", _id_made_inside), (write_sessions, "put", lambda _memory: _never_done)),
    ),
    Planted(
        "action-in-memory",
        "an action is told of before the write that adds it is committed, and not added again",
        remembering((actions, "add", _action_of_before)),
    ),
)
