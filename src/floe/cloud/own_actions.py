"""Actions that a process does itself: they are begun with its lease, and nobody else takes them up as long as it lives.

Those with bytes of images are done while the request waits: others can end them, but not go on with them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from floe.core.actions import RUNNING, Action, Begins, Step
from floe.core.entries import BEGUN
from floe.core.given import Given
from floe.store import actions
from floe.store.engine import Connection


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """An action that is in the database, and in hand. `known` is what no journal can keep, by type."""

    action: Action
    steps: tuple[Step, ...]
    known: Mapping[Any, Any] = msgspec.field(default_factory=dict)


class Leases(msgspec.Struct, frozen=True, kw_only=True):
    """The conductor in this process: `owner` is its name in leases, which last for `lease` seconds.

    `take` has it go on, after the commit, with what was begun in its name; nobody waits for that. Nothing may be begun
    in its name where it is not at work.
    """

    owner: str
    lease: float
    take: Callable[[Begun], None]
    at_work: Callable[[], bool]


class OwnActions(msgspec.Struct, frozen=True, kw_only=True):
    """Who does them: `owner` is the name in their leases, which last for `lease` seconds.

    `perform` returns when the action has ended, or is left to be gone on with. What fails it is raised, once it is
    taken back. Raises Gone when it was ended by others, Unavailable when it cannot go on now.
    """

    owner: str
    lease: float
    perform: Callable[[Begun], Awaitable[None]]

    def begin(
        self,
        conn: Connection,
        begins: Begins,
        given: Given,
        *,
        ident: str,
        subject_id: str,
        project_id: str,
        user_id: str,
        request_id: str,
        step: str,
        now: datetime,
    ) -> Begun:
        """Insert an action that is in hand from now on, with the step that comes first."""
        action = Action(
            id=ident,
            kind=begins.kind,
            version=begins.version,
            subject_kind=begins.subject,
            subject_id=subject_id,
            project_id=project_id,
            user_id=user_id,
            request_id=request_id,
            input=msgspec.to_builtins(given),
            state=RUNNING,
            lease_owner=self.owner,
            lease_until=now + timedelta(seconds=self.lease),
            attempts=1,
            writes=1,
            created_at=now,
        )
        first = Step(action_id=ident, seq=1, name=step, state=BEGUN, started_at=now)
        actions.add(conn, action)
        actions.write_steps(conn, [first])
        return Begun(action=action, steps=(first,))
