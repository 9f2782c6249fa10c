"""Actions and their journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from msgspec.structs import replace

from floe.core.actions import CANCELLED, IMAGE, OPEN_STATES, SERVER, Action, Step
from floe.core.ids import derived
from floe.store import listing as lists
from floe.store.engine import Connection
from floe.store.prepared import Prepared, Statement
from floe.store.schema import Ident, Json, Moment, metadata

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_NOT_CREATE, _FIRST = sa.text("kind <> 'create'"), sa.text("version = 1")
_OF_IMAGES = sa.text("subject_kind = 'image'")
actions = sa.Table(
    "actions",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    sa.Column("subject_kind", sa.String(16), nullable=False, server_default=SERVER),
    # Its name in the database is that by which the release before reads and writes it.
    sa.Column("server_id", Ident, key="subject_id", nullable=False),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("input", Json, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("lease_owner", sa.String(64)),
    sa.Column("lease_until", Moment),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("writes", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("message", sa.Text),
    sa.Column("sealed", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Index("ix_actions_server", "subject_id", "created_at"),
    sa.Index("ix_actions_open", "state", "lease_until"),
    sa.Index("ix_actions_sealed", "state", sqlite_where=sa.text("sealed IS NOT NULL")),
    sa.Index("ix_actions_finished", "finished_at", sqlite_where=_NOT_CREATE),
    sa.Index("ix_actions_images", "state", "id", sqlite_where=_OF_IMAGES),
    sa.Index("ix_actions_first_version", "version", sqlite_where=_FIRST),
)

steps = sa.Table(
    "action_steps",
    metadata,
    sa.Column("action_id", Ident, primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("parent", sa.String(64)),
    sa.Column("host", sa.String(255)),
    sa.Column("remark", sa.Text, nullable=False, default=""),
    sa.Column("output", Json),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("finished_at", Moment),
    sa.Column("traceback", sa.Text),
)

_a = actions.c
# Constants each for itself: SQLAlchemy writes a list of values out into the statement anew at every run.
_IS_OPEN = actions.c.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)])
_INSERT = Prepared(actions.insert())
_OPEN_OF_SUBJECT = sa.and_(
    # The kind of subject, too: an image may have been given the id of somebody's server.
    actions.c.subject_id == sa.bindparam("ident"),
    actions.c.subject_kind == sa.bindparam("subject"),
    _IS_OPEN,
)
_OPEN_KINDS = Prepared(sa.select(actions.c.kind).where(_OPEN_OF_SUBJECT))
_NOW = sa.bindparam("now", type_=Moment())
_CANCEL = Prepared(
    actions.update()
    .where(_OPEN_OF_SUBJECT)
    .values(state=CANCELLED, lease_owner=None, lease_until=None, sealed=None, updated_at=_NOW, finished_at=_NOW)
)
_ACTIONS = sa.select(*(column.label(name) for name, column in actions.c.items()))
_OF_SUBJECT = Prepared(
    _ACTIONS.where(
        actions.c.subject_id == sa.bindparam("ident"), actions.c.subject_kind == sa.bindparam("subject")
    ).order_by(actions.c.created_at.desc())
)
_BY_ID = Prepared(_ACTIONS.where(actions.c.id == sa.bindparam("ident")))
_STEPS = Prepared(sa.select(steps).where(steps.c.action_id == sa.bindparam("ident")).order_by(steps.c.seq))


def add(conn: Connection, action: Action) -> None:
    """Insert an action; whoever does it nudges a conductor after the commit."""
    _INSERT.write_later(conn, {name: getattr(action, name) for name in Action.__slots__})


def get(conn: Connection, action_id: str) -> Action | None:
    """Return an action."""
    row = _BY_ID.first(conn, ident=action_id)
    return None if row is None else _action(row)


def of_server(conn: Connection, server_id: str) -> list[Action]:
    """Return all actions of a server, the latest first: for those who know that they are few."""
    return of_subject(conn, server_id, SERVER)


def of_subject(conn: Connection, ident: str, subject: str) -> list[Action]:
    """Return all actions of a subject of some kind, the latest first."""
    return [_action(row) for row in _OF_SUBJECT.rows(conn, ident=ident, subject=subject)]


def find(
    conn: Connection,
    ident: str,
    *,
    subject: str = SERVER,
    is_open: bool = False,
    changed_since: datetime | None = None,
    changed_before: datetime | None = None,
    after: Action | None = None,
    limit: int | None = None,
    **equal: Any,
) -> list[Action]:
    """Return some of a subject's actions, the latest first; `equal` are the values of columns.

    What is looked for, the database looks for: of one subject there are as many actions as its user cared to begin.
    """
    wanted = [_a.subject_id == ident, _a.subject_kind == subject, *(_a[name] == it for name, it in equal.items())]
    changed = sa.func.coalesce(_a.updated_at, _a.created_at)
    if is_open:
        wanted.append(_IS_OPEN)
    if changed_since is not None:
        wanted.append(changed >= changed_since)
    if changed_before is not None:
        wanted.append(changed <= changed_before)
    if after is not None:
        same_time = sa.and_(_a.created_at == after.created_at, _a.id < after.id)
        wanted.append(sa.or_(_a.created_at < after.created_at, same_time))
    query = _ACTIONS.where(*wanted).order_by(_a.created_at.desc(), _a.id.desc()).limit(limit)
    return [_action(row) for row in conn.execute(query)]


def journal(conn: Connection, action_id: str) -> list[Step]:
    """Return the steps of an action in their order."""
    return [Step(**row._asdict()) for row in _STEPS.rows(conn, ident=action_id)]


def cancel_open(conn: Connection, ident: str, now: datetime, *, but: str, subject: str = SERVER) -> bool:
    """Cancel a subject's open actions, except those of kind `but`; return whether there is such a one.

    The lease is cleared with it, so that a late write of the old owner is fenced off.
    """
    kinds = {row.kind for row in _OPEN_KINDS.rows(conn, ident=ident, subject=subject)}
    if kinds and but not in kinds:
        _CANCEL.write(conn, ident=ident, subject=subject, now=now)
    return but in kinds


def _action(row: Any) -> Action:
    return Action(**row._asdict())


# -- leases: every write of a workflow is fenced by (owner, attempts, state) --------------------------

_WAITS, _ROOM = "waits for/", 54
"""Begins what stands in the place of an owner while an action waits for a host, as no place does; and the room left
for the host's name."""

_FREE = sa.or_(_a.lease_owner.is_(None), _a.lease_until < sa.bindparam("now", type_=Moment))
_OVERTAKE_WHOEVER = (
    actions.update()
    .where(
        _a.id == sa.bindparam("ident"),
        _IS_OPEN,
        _a.attempts == sa.bindparam("seen"),
        _a.writes == sa.bindparam("written"),
    )
    .values(
        lease_owner=sa.bindparam("owner"),
        lease_until=sa.bindparam("until", type_=Moment),
        attempts=_a.attempts + 1,
        writes=_a.writes + 1,
        state=sa.bindparam("next"),
        updated_at=sa.bindparam("now", type_=Moment),
    )
)
_OVERTAKE, _TAKE = Prepared(_OVERTAKE_WHOEVER), Prepared(_OVERTAKE_WHOEVER.where(_FREE))
_OURS = (
    _a.id == sa.bindparam("ident"),
    _IS_OPEN,
    _a.attempts == sa.bindparam("seen"),
    _a.lease_owner == sa.bindparam("owner"),
)
_HOLD = Prepared(
    actions.update()
    .where(*_OURS)
    .values(
        lease_until=sa.bindparam("until", type_=Moment),
        writes=_a.writes + 1,
        state=sa.bindparam("next"),
        updated_at=sa.bindparam("now", type_=Moment),
    )
)
_CLOSED = {
    "state": sa.bindparam("next"),
    "lease_owner": None,
    "lease_until": None,
    "message": sa.bindparam("text"),
    "sealed": None,
    "updated_at": sa.bindparam("now", type_=Moment),
    "finished_at": sa.bindparam("now", type_=Moment),
}
_CLOSE = Prepared(actions.update().where(_a.id == sa.bindparam("ident"), _IS_OPEN).values(_CLOSED))
_END = Prepared(actions.update().where(*_OURS).values({**_CLOSED, "writes": _a.writes + 1}))
_WAITING = Prepared(
    sa.select(_a.id)
    .where(_IS_OPEN, _FREE, _a.subject_kind == SERVER)
    .order_by(_a.created_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_OPEN_OF_IMAGES = Prepared(
    sa.select(_a.id, _a.lease_owner, _a.writes)
    # Written out: only so is the index of these actions used.
    .where(_IS_OPEN, sa.text(f"subject_kind = '{IMAGE}'"), _a.id > sa.bindparam("after"))
    .order_by(_a.id)
    .limit(sa.bindparam("most", type_=sa.Integer))
)
_CHANGING = ("state", "remark", "output", "finished_at", "traceback")


def _put_step(dialect: str) -> sqlite.Insert | postgresql.Insert:
    fresh = lists.insert_into(dialect, steps)
    return fresh.on_conflict_do_update(
        index_elements=[steps.c.action_id, steps.c.seq], set_={name: fresh.excluded[name] for name in _CHANGING}
    )


def _new_step(dialect: str) -> Statement:
    return lists.insert_into(dialect, steps).on_conflict_do_nothing().returning(steps.c.seq)


_PUT_STEP = Prepared(_put_step)
_NOTES_FROM = 1_000_000
"""More than the entries that an action makes while it is open: what is noted of one that is closed comes after."""
_COUNT_NOTE = Prepared(
    actions.update()
    .where(_a.id == sa.bindparam("ident"), sa.not_(_IS_OPEN))
    .values(writes=_a.writes + 1)
    .returning(_a.writes)
)
_ADD_NOTE = Prepared(_new_step)


def take(
    conn: Connection,
    action: Action,
    seen: int,
    owner: str,
    state: str,
    now: datetime,
    until: datetime,
    *,
    silent: bool = False,
) -> bool:
    """Lease an action that is open and that nobody holds; False if it is not so (any more).

    `action` is the row that the journal was read with: whoever wrote since, even with a lease that has run out by
    our clock, has overtaken us. `seen` is its `attempts`, which count up and fence all later writes. Whoever is
    `silent` was seen not to write for the time of a lease, whatever the time of day is: then that alone counts.
    """
    values = {"ident": action.id, "written": action.writes, "owner": owner, "seen": seen, "next": state}
    if silent:
        return _OVERTAKE.write(conn, **values, now=now, until=until) == 1
    return _TAKE.write(conn, **values, now=now, until=until) == 1


def hold(conn: Connection, action_id: str, owner: str, seen: int, state: str, now: datetime, until: datetime) -> bool:
    """Renew a lease and set the state; False if the action was closed, or somebody else took it."""
    values = {"ident": action_id, "owner": owner, "seen": seen, "next": state, "now": now, "until": until}
    return _HOLD.write(conn, **values) == 1


def recount(conn: Connection, action_id: str, seen: int, attempts: int) -> None:
    """Count an attempt as a later one; comes after `hold` in the same transaction."""
    conn.execute(actions.update().where(_a.id == action_id, _a.attempts == seen).values(attempts=attempts))


def end(
    conn: Connection, action_id: str, owner: str, seen: int, state: str, message: str | None, now: datetime
) -> bool:
    """End an action that is leased; False, as of `hold`, if it is not ours any more."""
    values = {"ident": action_id, "owner": owner, "seen": seen, "next": state, "text": message, "now": now}
    return _END.write(conn, **values) == 1


def close(conn: Connection, action_id: str, state: str, message: str | None, now: datetime) -> None:
    """End an action; comes after `take` or `hold` in the same transaction, or is nobody's yet."""
    _CLOSE.write(conn, ident=action_id, next=state, text=message, now=now)


def wait_for(conn: Connection, action_id: str, host: str, until: datetime) -> None:
    """Have an action wait for a host, and be taken up when that is `back`, or at a time; comes after `hold`."""
    conn.execute(
        actions.update().where(_a.id == action_id, _IS_OPEN).values(lease_owner=_waits_for(host), lease_until=until)
    )


def back(conn: Connection, host: str) -> int:
    """Have all actions taken up that wait for a host; return how many there were."""
    waiting = actions.update().where(_IS_OPEN, _a.lease_owner == _waits_for(host))
    return conn.execute(waiting.values(lease_owner=None, lease_until=None)).rowcount


def waited_for(conn: Connection, hosts: Iterable[str]) -> set[str]:
    """Return which of these hosts actions wait for."""
    owners = sa.select(_a.lease_owner).distinct().where(_IS_OPEN, _a.lease_owner.startswith(_WAITS))
    found = set(conn.scalars(owners))
    return {host for host in hosts if _waits_for(host) in found} if found else set()


def _waits_for(host: str) -> str:
    """Return what stands in the place of an owner while an action waits for a host, whose name may be too long."""
    return _WAITS + (host if len(host) <= _ROOM else derived(host, "waits"))


def waiting(conn: Connection, now: datetime, most: int) -> list[str]:
    """Return the ids of open actions of servers that nobody holds, the oldest first."""
    return [row.id for row in _WAITING.rows(conn, now=now, most=most)]


def open_of_images(conn: Connection, after: str, most: int) -> list[Any]:
    """Return (id, lease_owner, writes) of some open actions of images, in the order of their ids."""
    return _OPEN_OF_IMAGES.rows(conn, after=after, most=most)


def is_waiting(owner: str) -> bool:
    """Whether what holds an action is that it waits for a host: no conductor is at it."""
    return owner.startswith(_WAITS)


def break_leases(conn: Connection, place: str) -> int:
    """End the leases of those that ran at a place, which is the caller's now; return how many there were.

    Owners of the release before, whose names say no place, had the database to themselves.
    """
    dead = sa.or_(_a.lease_owner.startswith(owner_at(place, ""), autoescape=True), ~_a.lease_owner.contains("/"))
    held = actions.update().where(_IS_OPEN, dead).values(lease_owner=None, lease_until=None)
    return conn.execute(held).rowcount


def owner_at(place: str, ident: str) -> str:
    """Return the name by which leases are known of who runs at a place."""
    return f"{place}/{ident}"


def find_open_with(conn: Connection, names: Sequence[str]) -> list[Action]:
    """Return the open actions whose input has any of these names."""
    opened = [_action(row) for row in conn.execute(_ACTIONS.where(_IS_OPEN))]
    return [action for action in opened if any(name in action.input for name in names)]


def seal(conn: Connection, action_id: str, given: Mapping[str, Any], sealed: str) -> None:
    """Put secrets out of an open action's input."""
    conn.execute(actions.update().where(_a.id == action_id, _IS_OPEN).values(input=given, sealed=sealed))


def let_go(conn: Connection, owner: str, action_id: str | None = None) -> None:
    """End an owner's lease of one action, or of all."""
    held = actions.update().where(_a.lease_owner == owner, _IS_OPEN)
    if action_id is not None:
        held = held.where(_a.id == action_id)
    conn.execute(held.values(lease_owner=None, lease_until=None))


def write_steps(conn: Connection, entries: Sequence[Step]) -> None:
    """Append entries to journals, and bring those up to date that are there."""
    if entries:
        fields = Step.__struct_fields__
        _PUT_STEP.write_later(conn, *({name: getattr(step, name) for name in fields} for step in entries))


def note(conn: Connection, step: Step) -> bool:
    """Append an entry to the journal of an action that is closed, behind all others; False where it is open.

    Its number is counted with the action's writes, which two writers cannot both count to the same. One that is taken
    was given by an older release, which looked for the last one.
    """
    while counted := _COUNT_NOTE.rows(conn, ident=step.action_id):
        entry = replace(step, seq=_NOTES_FROM + counted[0].writes)
        if _ADD_NOTE.rows(conn, **{name: getattr(entry, name) for name in Step.__struct_fields__}):
            return True
    return False
