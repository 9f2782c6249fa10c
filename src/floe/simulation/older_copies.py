"""An older copy of the database is put back: of the numbers by which hosts tell what was said later, all else stays.

Whatever users ask for then is to be done, though hosts have heard of numbers that the rows know nothing of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from floe.agent.power import LATER
from floe.cloud.audit import Violation
from floe.conductor.forgotten import BEHIND
from floe.core.actions import (
    CONFIRM_RESIZE,
    FAILED,
    MIGRATE,
    OPEN_STATES,
    REBUILD,
    RESCUE_SERVER,
    RESIZE,
    REVERT_RESIZE,
    SHELVE,
    UNRESCUE_SERVER,
    UNSHELVE,
    Action,
)
from floe.core.guest_actions import BY_KIND
from floe.store import actions
from floe.store.engine import Connection
from floe.store.memory import MemoryStore
from floe.store.servers import servers

REFUSED = "a wish was refused though it was the latest"

_COPIED = ("boots", "guest_generation", "password", "password_turn")
Numbers = Mapping[str, Mapping[str, Any]]
"""By server, its latest boot and wish, and its guest's password."""

_a = actions.actions.c
_RESIZES = (RESIZE, MIGRATE, CONFIRM_RESIZE, REVERT_RESIZE)
_NUMBERED = (REBUILD, RESCUE_SERVER, UNRESCUE_SERVER, *_RESIZES, SHELVE, UNSHELVE)
KINDS = frozenset({*BY_KIND, *(each.kind for each in _NUMBERED)})
"""The kinds of actions by which a host is told a number."""
_WISHES = (
    actions.actions.select()
    .with_only_columns(_a.id, _a.subject_id, _a.created_at)
    .where(_a.kind.in_(sorted(KINDS)))
    .order_by(_a.created_at, _a.id)
)
_OPEN = _WISHES.where(_a.state.in_(sorted(OPEN_STATES)))


class OlderCopies:
    """Puts copies back, and accuses at the commit in which a wish is refused for a later one that nobody asked for.

    Wishes are noted as they are asked for: of one that is over for long no row tells any more, however long an earlier
    one waits for its host, and hears there that it was overtaken.
    """

    def __init__(self, store: MemoryStore, accuse: Callable[[Violation], None]) -> None:
        self._store, self._accuse = store, accuse
        self._wishes: dict[str, Any] | None = None
        """Those asked for since a copy was made, in that order, and before; None while there is no copy."""
        self._open: set[str] = set()

    def copied(self) -> Callable[[], None]:
        """Copy what it is about; return what puts it back."""
        copy = self._store.read(_numbers)
        if self._wishes is None:
            self._wishes = self._store.read(lambda conn: {row.id: row for row in conn.execute(_WISHES)})
        self.committed()
        return lambda: self._store.write(lambda conn: _put_back(conn, copy))

    def committed(self) -> None:
        """Something was committed: note the wishes that are new, and see to those that are over."""
        if self._wishes is None:
            return
        before = self._open

        def look(conn: Connection) -> tuple[dict[str, Any], list[Action | None]]:
            found = {row.id: row for row in conn.execute(_OPEN)}
            return found, [actions.get(conn, ident) for ident in sorted(before - found.keys())]

        found, ended = self._store.read(look)
        self._open = set(found)
        self._wishes |= {ident: row for ident, row in found.items() if ident not in self._wishes}
        for action in ended:
            if action is not None and action.state == FAILED and action.message in {LATER, BEHIND}:
                self._judge(action, list(self._wishes.values()))

    def _judge(self, refused: Action, wishes: list[Any]) -> None:
        """Accuse whoever refused a wish, unless another was asked for later: after it, or by a clock that went back."""
        place = [wish.id for wish in wishes].index(refused.id)
        before, after = wishes[:place], wishes[place + 1 :]
        later = [*after, *(wish for wish in before if wish.created_at >= refused.created_at)]
        if all(wish.subject_id != refused.subject_id for wish in later):
            self._accuse(Violation(REFUSED, refused.subject_id, refused.kind))


def _numbers(conn: Connection) -> Numbers:
    found = conn.execute(servers.select().with_only_columns(servers.c.id, *(servers.c[name] for name in _COPIED)))
    return {row.id: {name: getattr(row, name) for name in _COPIED} for row in found}


def _put_back(conn: Connection, copy: Numbers) -> None:
    """Have the servers that are still there have those."""
    for ident, values in copy.items():
        conn.execute(servers.update().where(servers.c.id == ident).values(values))
