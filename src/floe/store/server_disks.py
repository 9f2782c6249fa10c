"""The disks of servers: a typed row each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from floe.core.disks import EPHEMERAL, MIB_PER_GIB, SWAP, Blank, Disk, local_disks
from floe.core.servers import Server
from floe.store.engine import Connection
from floe.store.prepared import Asked, Prepared
from floe.store.schema import Ident, Number, metadata

server_disks = sa.Table(
    "server_disks",
    metadata,
    sa.Column("server_id", Ident, sa.ForeignKey("servers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("role", sa.String(32), primary_key=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("device", sa.String(32), nullable=False),
    sa.Column("bus", sa.String(16), nullable=False),
    sa.Column("boot_index", sa.Integer),
    sa.Column("size_mib", sa.BigInteger),
    sa.Column("image_id", Ident),
    sa.Column("filesystem", sa.String(16)),
    sa.Column("label", sa.String(64)),
    sa.Column("make", Number, nullable=False, server_default="0"),
    sa.Column("base_make", Number),
    sa.Column("device_tag", sa.String(60)),
    sqlite_with_rowid=False,
)
"""`type` is the tag of the disk's kind; a column that a kind has no field for is NULL in its rows."""

_KEYS = ("server_id", "position")
_FIELDS = tuple(str(column.name) for column in server_disks.c if column.name not in _KEYS)
_INSERT = Prepared(server_disks.insert())
_DELETE = Prepared(server_disks.delete().where(server_disks.c.server_id == sa.bindparam("ident")))
_OF_SERVER = Prepared(
    sa.select(*(server_disks.c[name] for name in _FIELDS))
    .where(server_disks.c.server_id == sa.bindparam("ident"))
    .order_by(server_disks.c.position)
)
_servers = sa.table("servers", sa.column("id"), sa.column("block_devices"))
_BEFORE = sa.select(_servers.c.block_devices).where(_servers.c.id == sa.bindparam("ident"))


def insert(conn: Connection, server_id: str, disks: Iterable[Disk]) -> None:
    """Give a server its disks."""
    _INSERT.write_later(conn, *(_row(server_id, position, disk) for position, disk in enumerate(disks)))


def replace(conn: Connection, server_id: str, disks: Iterable[Disk]) -> None:
    """Give a server other disks than it had."""
    _DELETE.write_later(conn, {"ident": server_id})
    insert(conn, server_id, disks)


def of_server(conn: Connection, server: Server) -> tuple[Disk, ...]:
    """Return the disks of a server, in the order of their names."""
    rows = _OF_SERVER.rows(conn, ident=server.id)
    return tuple(map(disk_of, rows)) if rows else _written_before(conn, server)


def asks(server_id: str) -> Asked:
    """Return what `of_server` asks, unless that was written by the release before."""
    return _OF_SERVER.asked(ident=server_id)


def disk_of(row: Sequence[Any]) -> Disk:
    """Make a Disk of a row's columns but for the server and the position."""
    values = {name: value for name, value in zip(_FIELDS, row, strict=True) if value is not None}
    disk: Disk = msgspec.convert(values, Disk)
    return disk


def for_the_release_before(disks: Iterable[Disk]) -> str:
    """Return what the release before reads of a server's blank disks in its row."""
    blanks = {disk.role: disk for disk in disks if isinstance(disk, Blank)}
    found: list[dict[str, str | int]] = []
    if EPHEMERAL in blanks:
        found.append({"kind": "ephemeral", "gib": blanks[EPHEMERAL].size_mib // MIB_PER_GIB})
    if SWAP in blanks:
        found.append({"kind": "swap", "mib": blanks[SWAP].size_mib})
    return msgspec.json.encode(found).decode()


def _row(server_id: str, position: int, disk: Disk) -> dict[str, Any]:
    values = dict.fromkeys(_FIELDS) | msgspec.to_builtins(disk)
    return {**values, "server_id": server_id, "position": position}


def _written_before(conn: Connection, server: Server) -> tuple[Disk, ...]:
    """Return the disks of a server that the release before has made, on a database that has this table already."""
    text = conn.execute(_BEFORE, {"ident": server.id}).scalar()
    asked = {entry["kind"]: entry for entry in msgspec.json.decode(text or "[]")}
    flavor = server.flavor
    ephemeral, swap = asked.get("ephemeral", {}), asked.get("swap", {})
    return local_disks(
        server.image_properties,
        image_id=server.image_id or "",
        root_mib=flavor.root_gib * MIB_PER_GIB,
        ephemeral_mib=ephemeral.get("gib", flavor.ephemeral_gib) * MIB_PER_GIB,
        swap_mib=swap.get("mib", flavor.swap_mib),
        config_drive=server.config_drive,
    )
