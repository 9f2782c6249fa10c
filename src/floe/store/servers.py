"""Servers: their rows, and the changes that every workflow makes to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace

from floe.core.disks import Disk
from floe.core.guests import MadeOf, PowerState
from floe.core.nics import PlannedNic
from floe.core.server_rescue import Rescue
from floe.core.servers import BUILDING, DELETED, RESIZED, Former, Server, ServerFault, ServerFlavor
from floe.store import server_disks
from floe.store.engine import Connection
from floe.store.prepared import Asked, Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import GONE, Ident, Json, JsonOf, Moment, Number, metadata

_LIVING = sa.text("deleted_at IS NULL")
_RECLAIMED = sa.text("reclaim_at IS NOT NULL")
_LIMITED = sa.text("quota_owner IS NOT NULL")
_UNCOUNTED = ("deleted_at", "reclaim_at")
"""Of what is gone or soft-deleted no project's quota counts anything."""

servers = sa.Table(
    "servers",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", Ident, nullable=False, unique=True),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("user_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255)),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("vm_state", sa.String(32), nullable=False),
    sa.Column("task_state", sa.String(32)),
    sa.Column("power_state", sa.Integer, nullable=False, default=0),
    sa.Column("host", sa.String(255)),
    sa.Column("requested_zone", sa.String(255)),
    sa.Column("requested_host", sa.String(255)),
    sa.Column("reservation_id", sa.String(64), nullable=False),
    sa.Column("launch_index", sa.Integer, nullable=False, default=0),
    sa.Column("flavor_id", sa.String(255), nullable=False),
    sa.Column("vcpus", sa.Integer, nullable=False),
    sa.Column("memory_mib", sa.Integer, nullable=False),
    sa.Column("flavor", Json, nullable=False),
    sa.Column("image_id", Ident),
    sa.Column("image_properties", Json, nullable=False),
    sa.Column("key_name", sa.String(255)),
    sa.Column("keys", Json, nullable=False),
    sa.Column("user_data", sa.Text),
    sa.Column("metadata", Json, nullable=False),
    sa.Column("config_drive", sa.Boolean, nullable=False, default=False),
    sa.Column("access_ipv4", sa.String(64)),
    sa.Column("access_ipv6", sa.String(64)),
    sa.Column("security_groups", Json, nullable=False),
    sa.Column("networks", JsonOf(tuple[PlannedNic, ...]), nullable=False),
    sa.Column("block_devices", sa.Text, nullable=False),  # read by the release before; `server_disks` has taken over
    sa.Column("scheduler_hints", Json, nullable=False),
    sa.Column("group_id", Ident),
    sa.Column("disk_config", sa.String(16), nullable=False, default="MANUAL"),
    sa.Column("locked", sa.Boolean, nullable=False, default=False),
    sa.Column("locked_reason", sa.String(255)),
    sa.Column("locked_by", sa.String(16)),
    sa.Column("root_device", sa.String(255), nullable=False, default="/dev/vda"),
    sa.Column("trusted_certificates", Json),
    sa.Column("made_of", JsonOf(MadeOf | None)),
    sa.Column("rescue", JsonOf(Rescue | None)),
    sa.Column("former", JsonOf(Former | None)),
    sa.Column("boots", Number, nullable=False, server_default="1"),
    sa.Column("guest_generation", Number, nullable=False, server_default="0"),
    sa.Column("password", Json),  # any text that a guest chose, also one that PostgreSQL's texts have no room for
    sa.Column("password_turn", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reclaim_at", Moment),
    sa.Column("power_before", sa.Integer),
    sa.Column("quota_owner", Ident),
    sa.Column("fault", Json),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment),
    sa.Column("launched_at", Moment),
    sa.Column("terminated_at", Moment),
    sa.Column("deleted_at", Moment),
    # In the order of lists: a page is read where it begins, however many there are. And what is added up is in it.
    sa.Index("ix_servers_project", "project_id", "deleted_at", "created_at", "id", "vcpus", "memory_mib"),
    sa.Index("ix_servers_host", "host", "deleted_at"),
    sa.Index("ix_servers_created", "created_at", "id"),
    sa.Index("ix_servers_living", "created_at", "id", sqlite_where=_LIVING),
    sa.Index("ix_servers_group", "group_id"),
    sa.Index("ix_servers_deleted", "deleted_at", sqlite_where=GONE),
    sa.Index("ix_servers_quota_owner", "quota_owner", sqlite_where=_LIMITED),
    sa.Index("ix_servers_reclaim", "reclaim_at", sqlite_where=_RECLAIMED),
    info=counted(
        Counted(resource="instances", owner="project_id", unless=_UNCOUNTED),
        Counted(resource="cores", owner="project_id", unless=_UNCOUNTED, amount="vcpus"),
        Counted(resource="ram", owner="project_id", unless=_UNCOUNTED, amount="memory_mib"),
        Counted(resource="instances", owner="quota_owner", unless=_UNCOUNTED),
        Counted(resource="cores", owner="quota_owner", unless=_UNCOUNTED, amount="vcpus"),
        Counted(resource="ram", owner="quota_owner", unless=_UNCOUNTED, amount="memory_mib"),
        Counted(resource="server_group_members", owner="group_id", unless=("deleted_at",)),
    ),
)

server_tags = sa.Table(
    "server_tags",
    metadata,
    sa.Column("server_id", Ident, primary_key=True),
    sa.Column("tag", sa.String(60), primary_key=True),
)

_BY_ID = Prepared(sa.select(servers).where(servers.c.id == sa.bindparam("ident")))
_TAGS = Prepared(
    sa.select(server_tags.c.tag).where(server_tags.c.server_id == sa.bindparam("ident")).order_by(server_tags.c.tag)
)
_OTHER_COLUMNS = {"number", "flavor_id", "vcpus", "memory_mib", "block_devices"}
"""What no field of a server is written to as it is."""
_COLUMNS = {column.name for column in servers.c}
_OWN_COLUMNS = _COLUMNS - _OTHER_COLUMNS
_INSERT = Prepared(servers.insert().returning(servers.c.number), columns=_COLUMNS - {"number"})


def add(conn: Connection, server: Server, disks: Sequence[Disk] = ()) -> Server:
    """Insert a server with its disks, and return it with its number; the `number` it came with is ignored."""
    values = {name: getattr(server, name) for name in _OWN_COLUMNS}
    values |= {
        "flavor_id": server.flavor.flavor_id,
        "vcpus": server.flavor.vcpus,
        "memory_mib": server.flavor.memory_mib,
        "power_state": int(server.power_state),
        "block_devices": server_disks.for_the_release_before(disks),
    }
    number = _INSERT.first(conn, **values).number
    server_disks.insert(conn, server.id, disks)
    return replace(server, number=number)


def get(conn: Connection, server_id: str, *, deleted: bool = False) -> Server | None:
    """Return a server; one that is gone only with `deleted`."""
    row = _BY_ID.first(conn, ident=server_id)
    if row is None or (row.deleted_at is not None and not deleted):
        return None
    return from_row(row)


def asks(server_id: str) -> Asked:
    """Return what `get` asks."""
    return _BY_ID.asked(ident=server_id)


def change(conn: Connection, server_id: str, *, only_in: str | None = None, **values: Any) -> None:
    """Set columns of a server, unless it is gone, or not in that vm_state where one is given."""
    parameters = {"ident": server_id, **{f"new_{name}": value for name, value in values.items()}}
    if only_in is not None:
        parameters["old_vm_state"] = only_in
    statement = _change(tuple(sorted(values)), only_in is not None)
    statement.write_later(conn, parameters)


@lru_cache(maxsize=256)
def _change(names: tuple[str, ...], guarded: bool) -> Prepared:
    """Return the statement that sets these columns; building it anew each time costs more than running it."""
    new = {name: sa.bindparam(f"new_{name}", type_=servers.c[name].type) for name in names}
    there = [servers.c.id == sa.bindparam("ident"), servers.c.deleted_at.is_(None)]
    if guarded:
        there.append(servers.c.vm_state == sa.bindparam("old_vm_state"))
    return Prepared(servers.update().where(*there).values(new))


def resize(
    conn: Connection, server_id: str, flavor: ServerFlavor, *, beside: ServerFlavor | None = None, **values: Any
) -> None:
    """Give a server another flavor, and set further columns of it.

    Quotas count what is more of that and of the one that it has `beside` it, as long as it may get that back.
    """
    both = flavor, beside or flavor
    vcpus, memory_mib = max(each.vcpus for each in both), max(each.memory_mib for each in both)
    amounts: dict[str, Any] = {"vcpus": vcpus, "memory_mib": memory_mib}
    change(conn, server_id, flavor=flavor, flavor_id=flavor.flavor_id, **amounts, **values)


def resized(conn: Connection, before: datetime) -> list[Server]:
    """Return the servers whose resize was done before a time and waits to be confirmed."""
    waiting = sa.select(servers).where(
        servers.c.vm_state == RESIZED, servers.c.task_state.is_(None), servers.c.deleted_at.is_(None)
    )
    found = map(from_row, conn.execute(waiting))
    return [server for server in found if server.former is not None and server.former.at < before]


def catch_up(conn: Connection, server_id: str, generation: int) -> bool:
    """Be no further behind than a later wish that a host heard of; False if it was known, or the server is gone."""
    behind = (servers.c.id == server_id, servers.c.deleted_at.is_(None), servers.c.guest_generation < generation)
    return conn.execute(servers.update().where(*behind).values(guest_generation=generation)).rowcount == 1


def take_password(
    conn: Connection, server_id: str, host: str | None, password: str | None, turn: int, now: datetime
) -> bool:
    """Take what the host of a server says of its password, if that is later than what is known; False if it is not.

    Without a `host` it does not matter where the server is.

    Nothing is taken while the server is built: the build may fail, and another guest have another password.
    """
    behind = (
        servers.c.id == server_id,
        sa.true() if host is None else servers.c.host == host,
        servers.c.deleted_at.is_(None),
        servers.c.vm_state != BUILDING,
        servers.c.password_turn < turn,
    )
    values = {"password": password, "password_turn": turn, "updated_at": now}
    return conn.execute(servers.update().where(*behind).values(values)).rowcount == 1


_DUE = Prepared(
    sa.select(servers.c.id)
    .where(servers.c.reclaim_at <= sa.bindparam("now", type_=Moment), servers.c.task_state.is_(None))
    .order_by(servers.c.reclaim_at)
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def due(conn: Connection, now: datetime, most: int) -> list[str]:
    """Return the ids of soft-deleted servers with which nothing is done and whose time is over, that first longest."""
    return [row.id for row in _DUE.rows(conn, now=now, most=most)]


def mark_deleted(conn: Connection, server_id: str, now: datetime) -> None:
    """Make a server gone; its row stays for histories until it is purged."""
    change(
        conn,
        server_id,
        vm_state=DELETED,
        task_state=None,
        power_state=0,
        host=None,
        password=None,
        reclaim_at=None,
        former=None,
        terminated_at=now,
        updated_at=now,
        deleted_at=now,
    )


def tags(conn: Connection, server_id: str) -> list[str]:
    """Return the tags of a server, sorted."""
    return [row.tag for row in _TAGS.rows(conn, ident=server_id)]


def set_tags(conn: Connection, server_id: str, wanted: Iterable[str]) -> None:
    """Make these the server's tags."""
    conn.execute(server_tags.delete().where(server_tags.c.server_id == server_id))
    rows = [{"server_id": server_id, "tag": tag} for tag in sorted(set(wanted))]
    if rows:
        conn.execute(server_tags.insert(), rows)


_NAMES = tuple(column.name for column in servers.c)


def from_row(row: Sequence[Any]) -> Server:
    """Make a Server of a whole row of `servers`; lists of thousands go through here, so it is quick, not pretty."""
    values = dict(zip(_NAMES, row, strict=True))
    del values["flavor_id"], values["vcpus"], values["memory_mib"], values["block_devices"]
    values["flavor"] = ServerFlavor(**values["flavor"])
    values["power_state"] = _POWER_STATES[values["power_state"]]
    values["keys"] = tuple(map(tuple, values["keys"]))
    values["security_groups"] = tuple(values["security_groups"])
    if values["trusted_certificates"] is not None:
        values["trusted_certificates"] = tuple(values["trusted_certificates"])
    if values["fault"] is not None:
        values["fault"] = msgspec.convert(values["fault"], ServerFault)
    return Server(**values)


_POWER_STATES = {int(state): state for state in PowerState}
