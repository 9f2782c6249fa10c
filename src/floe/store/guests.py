"""What the rows say of guests: what the conductor compares with what a host reports."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from floe.core.guests import GuestMetadata, PowerState, guest_name
from floe.core.servers import DELETED
from floe.store import past_servers
from floe.store.engine import Connection
from floe.store.listing import in_parts
from floe.store.prepared import Prepared
from floe.store.schema import Moment
from floe.store.servers import servers


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a server's row says of its guest."""

    server_id: str
    number: int
    host: str | None
    vm_state: str
    task_state: str | None
    power_state: PowerState
    deleted: bool

    @property
    def guest_name(self) -> str:
        """The name of its guest on a host."""
        return guest_name(self.number)


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest may read about itself; what is known at its create alone is left out."""

    number: int
    server_id: str
    metadata: GuestMetadata


_COLUMNS = (
    servers.c.id,
    servers.c.number,
    servers.c.host,
    servers.c.vm_state,
    servers.c.task_state,
    servers.c.power_state,
    servers.c.deleted_at,
)
_ON_HOST = Prepared(sa.select(*_COLUMNS).where(servers.c.host == sa.bindparam("ident"), servers.c.deleted_at.is_(None)))
_IDS_ON_HOST = sa.select(servers.c.id).where(servers.c.host == sa.bindparam("ident"), servers.c.deleted_at.is_(None))
_READ_BY_GUESTS = (
    sa.select(
        servers.c.number,
        servers.c.id,
        servers.c.hostname,
        servers.c.name,
        servers.c.project_id,
        servers.c.launch_index,
        servers.c.reservation_id,
        servers.c.metadata,
        servers.c["keys"],
        servers.c.user_data,
        servers.c.flavor,
        servers.c.image_properties,
        servers.c.password,
        servers.c.password_turn,
    )
    .where(
        servers.c.host == sa.bindparam("ident"),
        servers.c.deleted_at.is_(None),
        servers.c.number > sa.bindparam("after"),
    )
    .order_by(servers.c.number)
    .limit(sa.bindparam("limit"))
)
_KEYS = [column.key for column in _READ_BY_GUESTS.selected_columns].index("keys")
_DESCRIBED = Prepared(_READ_BY_GUESTS)
_DESCRIBED_LATELY = Prepared(_READ_BY_GUESTS.where(servers.c.updated_at >= sa.bindparam("since", type_=Moment)))
_NAMED = sa.select(*_COLUMNS).where(servers.c.id.in_(sa.bindparam("idents", expanding=True)))
_THERE = (servers.c.host.in_(sa.bindparam("hosts", expanding=True)), servers.c.deleted_at.is_(None))
_COUNT = sa.select(servers.c.host, sa.func.count()).where(*_THERE).group_by(servers.c.host)
_BY_HOST = sa.select(servers.c.host, servers.c.id, servers.c.number).where(*_THERE).order_by(servers.c.number)


def on_host(conn: Connection, host: str) -> list[Expected]:
    """Return what should be on a host."""
    return [_expected(row) for row in _ON_HOST.rows(conn, ident=host)]


def elsewhere(conn: Connection, host: str, server_ids: Collection[str]) -> dict[str, Expected | None]:
    """Return what is known of those of these servers that should not be on a host, by id; None of an unknown one."""
    here = set(conn.scalars(_IDS_ON_HOST, {"ident": host}).all())
    others = [ident for ident in server_ids if ident not in here]
    return {**dict.fromkeys(others), **named(conn, others)}


def described(
    conn: Connection, host: str, zone: str, *, since: datetime | None = None, after: int = 0, limit: int
) -> list[Described]:
    """Return what guests of a host may read about themselves, by number, those behind `after`; at most `limit`.

    It is what `describe` says of the whole servers, those being built too, for a quarter of the work; with a moment
    `since`, of those that changed at or after it.
    """
    given = {"ident": host, "after": after, "limit": limit}
    rows = _DESCRIBED.rows(conn, **given) if since is None else _DESCRIBED_LATELY.rows(conn, **given, since=since)
    return [
        Described(
            number=row.number,
            server_id=row.id,
            metadata=GuestMetadata(
                hostname=row.hostname,
                name=row.name,
                project_id=row.project_id,
                availability_zone=zone,
                launch_index=row.launch_index,
                reservation_id=row.reservation_id,
                metadata=row.metadata,
                keys=tuple(map(tuple, row[_KEYS])),
                user_data=row.user_data,
                flavor_name=row.flavor["name"],
                kernel_id=row.image_properties.get("kernel_id"),
                ramdisk_id=row.image_properties.get("ramdisk_id"),
                password=row.password,
                password_turn=row.password_turn,
            ),
        )
        for row in rows
    ]


def named(conn: Connection, server_ids: Sequence[str]) -> dict[str, Expected]:
    """Return what is known of these servers, by id; deleted ones included, and those whose history was purged."""
    if not server_ids:
        return {}
    found = {row.id: _expected(row) for row in conn.execute(_NAMED, {"idents": list(server_ids)})}
    missing = [ident for ident in server_ids if ident not in found]
    past = past_servers.numbers(conn, missing) if missing else {}
    return found | {ident: _past(ident, number) for ident, number in past.items()}


def _expected(row: Any) -> Expected:
    return Expected(
        server_id=row.id,
        number=row.number,
        host=row.host,
        vm_state=row.vm_state,
        task_state=row.task_state,
        power_state=PowerState(row.power_state),
        deleted=row.deleted_at is not None,
    )


def _past(ident: str, number: int) -> Expected:
    return Expected(
        server_id=ident,
        number=number,
        host=None,
        vm_state=DELETED,
        task_state=None,
        power_state=PowerState.NOSTATE,
        deleted=True,
    )


def count(conn: Connection, hosts: Sequence[str]) -> dict[str, int]:
    """Return how many servers are on each of these hosts; one without any is left out."""
    return {host: number for part in in_parts(hosts) for host, number in conn.execute(_COUNT, {"hosts": part})}


def by_host(conn: Connection, hosts: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Return the servers on each of these hosts, (id, guest's name); a host without any is left out."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in in_parts(hosts):
        for host, ident, number in conn.execute(_BY_HOST, {"hosts": part}):
            found.setdefault(host, []).append((ident, guest_name(number)))
    return found
