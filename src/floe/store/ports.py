"""Ports, and the security groups each is in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import text_of
from floe.core.ports import ACTIVE, BUILD, DOWN, Binding, Port, ServerPort
from floe.store import addresses, port_bindings
from floe.store import listing as lists
from floe.store.addresses import port_addresses
from floe.store.floating_ips import floating_ips
from floe.store.networks import networks
from floe.store.port_bindings import COLUMNS as BINDING
from floe.store.prepared import Asked, Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import HostName, Ident, Json, JsonOf, Moment, metadata
from floe.store.security_groups import security_group_rules, security_groups
from floe.store.table import VIEWER, Rows, columns_of
from floe.store.tags import Tags

ports = sa.Table(
    "ports",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("network_id", Ident, sa.ForeignKey("networks.id"), nullable=False),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("mac", sa.String(17), nullable=False),
    sa.Column("up", sa.Boolean, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("device_id", sa.String(255), nullable=False, index=True),
    sa.Column("device_owner", sa.String(255), nullable=False),
    sa.Column("server_id", Ident),
    sa.Column("router_id", Ident, sa.ForeignKey("routers.id"), index=True),
    sa.Column("nic", sa.Integer),
    sa.Column("made", sa.Boolean, nullable=False),
    sa.Column("plugged", sa.Boolean, nullable=False),
    sa.Column("host", HostName, index=True),
    sa.Column("hostname", sa.String(255), nullable=False),
    sa.Column("port_security", sa.Boolean, nullable=False),
    sa.Column("dns_domain", sa.String(255), nullable=False, server_default=""),
    sa.Column("dhcp_options", JsonOf(tuple[tuple[str, str], ...]), nullable=False, server_default="[]"),
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("profile", Json, nullable=False, server_default="{}"),
    sa.Column("allowed_pairs", JsonOf(tuple[tuple[str, str], ...]), nullable=False),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("device_tag", sa.String(60), nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("network_id", "mac"),
    sa.UniqueConstraint("server_id", "nic"),
    sa.Index("ix_ports_owner", "network_id", "device_owner"),
    sa.Index("ix_ports_mac", "mac"),
    info=counted(Counted(resource="port", owner="project_id")),
)

port_groups = sa.Table(
    "port_groups",
    metadata,
    sa.Column("port_id", Ident, sa.ForeignKey("ports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("group_id", Ident, sa.ForeignKey("security_groups.id"), primary_key=True, index=True),
)


_bindings = port_bindings.port_bindings
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
_SERVER: sa.BindParameter[Any] = sa.bindparam("server")
_COLUMNS = columns_of(Port, ports)
_OWN = len(_COLUMNS)
_MADE: Callable[..., Port] = Port
"""Takes a row's columns, and then what stands in no column."""
_HOST = _COLUMNS.index(ports.c.host)
_WHOLE = (
    sa.select(*_COLUMNS, port_addresses.c.subnet_id, port_addresses.c.address, port_groups.c.group_id, *BINDING)
    .outerjoin(port_addresses, port_addresses.c.port_id == ports.c.id)
    .outerjoin(port_groups, port_groups.c.port_id == ports.c.id)
    .outerjoin(_bindings, _bindings.c.port_id == ports.c.id)
)
"""Ports with what belongs to them: a port comes once for each address in each group at each host that it is bound to,
and `_joined` puts it together.
"""
_OF_SERVER = Prepared(
    _WHOLE.where(ports.c.server_id == _SERVER).order_by(
        ports.c.nic, ports.c.id, port_addresses.c.address, port_groups.c.group_id, _bindings.c.status, _bindings.c.host
    )
)
_ADD_GROUP = Prepared(sa.insert(port_groups))
_BELOW = lists.ByIds(
    sa.select(port_addresses.c.port_id, port_addresses.c.subnet_id, port_addresses.c.address),
    port_addresses.c.port_id,
    (sa.select(port_groups.c.port_id, port_groups.c.group_id, sa.null()), port_groups.c.port_id),
)
"""The addresses of ports, each with its subnet, and their groups, which are no addresses."""
_OWNED_ADDRESSES = lists.ByIds(
    sa.select(port_addresses.c.subnet_id, port_addresses.c.address)
    .join(ports, ports.c.id == port_addresses.c.port_id)
    .where(ports.c.device_owner == sa.bindparam("owner")),
    ports.c.network_id,
)
_MEMBERS = lists.ByIds(
    sa.select(port_groups.c.group_id, port_addresses.c.address)
    .join(ports, ports.c.id == port_groups.c.port_id)
    .join(port_addresses, port_addresses.c.port_id == ports.c.id)
    .join(_bindings, _bindings.c.port_id == ports.c.id)
    .where(_bindings.c.plugged.is_(True), _bindings.c.host != sa.bindparam("not_host")),
    port_groups.c.group_id,
)
_PLUGGED_HOSTS = sa.select(_bindings.c.host).where(_bindings.c.plugged.is_(True))
HOSTS_OF_PORT = _PLUGGED_HOSTS.where(_bindings.c.port_id == sa.bindparam("ident"))
"""The hosts that have the port `:ident`."""
HOSTS_OF_NETWORK = _PLUGGED_HOSTS.where(
    _bindings.c.port_id.in_(sa.select(ports.c.id).where(ports.c.network_id == sa.bindparam("ident")))
)
"""The hosts that have ports of the network `:ident`."""
HOSTS_OF_GROUP = _PLUGGED_HOSTS.where(
    _bindings.c.port_id.in_(sa.select(port_groups.c.port_id).where(port_groups.c.group_id == sa.bindparam("ident")))
)
"""The hosts that have ports in the group `:ident`."""
HOSTS_THAT_REFER = _PLUGGED_HOSTS.where(
    _bindings.c.port_id.in_(
        sa.select(port_groups.c.port_id)
        .join(security_group_rules, security_group_rules.c.group_id == port_groups.c.group_id)
        .where(security_group_rules.c.remote_group.in_(_IDS))
    )
)
"""The hosts with a port in a group that has a rule about members of one of the groups `:ids`."""
HOSTS_THAT_NAME = _PLUGGED_HOSTS.where(
    _bindings.c.port_id.in_(
        sa.select(port_groups.c.port_id)
        .join(security_group_rules, security_group_rules.c.group_id == port_groups.c.group_id)
        .where(security_group_rules.c.remote_address_group == sa.bindparam("ident"))
    )
)
"""The hosts with a port in a group that has a rule about the address group `:ident`."""
_UNPLUG = Prepared(
    sa.update(ports).where(ports.c.server_id == _SERVER, ports.c.plugged.is_(True)).values(plugged=False, status=DOWN)
)
_ACTIVATE = Prepared(
    sa.update(ports)
    .where(ports.c.server_id == _SERVER, ports.c.status == BUILD, ports.c.up.is_(True))
    .values(status=ACTIVE, revision=ports.c.revision + 1)
)
_SEEN = lists.ByIds(
    sa.select(
        ports.c.server_id, ports.c.id, ports.c.network_id, networks.c.name, ports.c.mac, ports.c.status,
        ports.c.device_tag, port_addresses.c.subnet_id, port_addresses.c.address, security_groups.c.id,
        security_groups.c.name, floating_ips.c.fixed_address, floating_ips.c.address,
    )
    .join(networks, networks.c.id == ports.c.network_id)
    .outerjoin(port_addresses, port_addresses.c.port_id == ports.c.id)
    .outerjoin(port_groups, port_groups.c.port_id == ports.c.id)
    .outerjoin(security_groups, security_groups.c.id == port_groups.c.group_id)
    .outerjoin(floating_ips, floating_ips.c.port_id == ports.c.id)
    .order_by(ports.c.nic, ports.c.id, port_addresses.c.address, security_groups.c.name),
    ports.c.server_id,
)  # fmt: skip


def insert(conn: Connection, port: Port) -> bool:
    """Add a port without its addresses; False if the network has its MAC (or the server its NIC) already."""
    if not ROWS.insert_new(conn, port):
        return False
    _add_groups(conn, port.id, port.groups)
    return True


def many(conn: Connection, port_ids: Iterable[str]) -> dict[str, Port]:
    """Return ports by id, whosever they are."""
    rows = conn.execute(sa.select(*_COLUMNS).where(ports.c.id.in_(list(port_ids)))).all()
    return {port.id: port for port in _read(conn, rows)}


def update(conn: Connection, port_id: str, changes: Mapping[str, Any], now: datetime) -> bool:
    """Change a port and count its revision up; False if its new MAC is taken. `groups` may be among the changes."""
    values = {key: value for key, value in changes.items() if key != "groups"}
    if "mac" in values:
        other = sa.select(ports.c.id).where(
            ports.c.mac == values["mac"],
            ports.c.id != port_id,
            ports.c.network_id == sa.select(ports.c.network_id).where(ports.c.id == port_id).scalar_subquery(),
        )
        if conn.execute(other).first() is not None:
            return False
    ROWS.update(conn, port_id, values, now)
    if "groups" in changes:
        conn.execute(sa.delete(port_groups).where(port_groups.c.port_id == port_id))
        _add_groups(conn, port_id, changes["groups"])
    return True


def take(conn: Connection, port_id: str, values: Mapping[str, Any], now: datetime) -> bool:
    """Bind a free port to a server; False if it is taken (or gone) by now."""
    free = sa.and_(ports.c.id == port_id, ports.c.server_id.is_(None), ports.c.device_id == "")
    changes = {**values, "updated_at": now, "revision": ports.c.revision + 1}
    return conn.execute(sa.update(ports).where(free).values(changes)).rowcount == 1


def untie(conn: Connection, port_ids: Iterable[str]) -> None:
    """Give ports back to their user: bound to nothing, their addresses kept."""
    conn.execute(
        sa.update(ports)
        .where(ports.c.id.in_(list(port_ids)))
        .values(
            server_id=None, nic=None, device_id="", device_owner="", host=None, hostname="", plugged=False,
            pinned=False, status=DOWN, device_tag="", revision=ports.c.revision + 1,
        )
    )  # fmt: skip


def unplug(conn: Connection, server_id: str) -> None:
    """Note that a server's ports are to be on no host any more."""
    _UNPLUG.write_later(conn, {"server": server_id})


def activate(conn: Connection, server_id: str) -> None:
    """Note that a server's ports carry packets."""
    _ACTIVATE.write_later(conn, {"server": server_id})


def of_server(conn: Connection, server_id: str) -> list[Port]:
    """Return a server's ports in the order of its NICs."""
    return _joined(_OF_SERVER.rows(conn, server=server_id))


def with_owner(conn: Connection, network_id: str, device_owner: str) -> Port | None:
    """Return the network's port of that owner."""
    where = sa.and_(ports.c.network_id == network_id, ports.c.device_owner == device_owner)
    return next(iter(_read(conn, conn.execute(sa.select(*_COLUMNS).where(where)).all())), None)


def addresses_of_owner(conn: Connection, network_ids: Iterable[str], device_owner: str) -> dict[str, str]:
    """Return the addresses of the ports of one owner in these networks, by subnet."""
    rows = _OWNED_ADDRESSES.rows(conn, list(network_ids), owner=device_owner)
    return {subnet_id: text_of(address) for subnet_id, address in rows}


def count_in_network(conn: Connection, network_id: str, except_owner: str) -> int:
    """Count a network's ports but those of one owner."""
    where = sa.and_(ports.c.network_id == network_id, ports.c.device_owner != except_owner)
    return conn.execute(sa.select(sa.func.count()).select_from(ports).where(where)).scalar_one()


def foreign_in_network(conn: Connection, network_id: str, project_id: str) -> int:
    """Count the ports of a network that other projects own."""
    where = sa.and_(ports.c.network_id == network_id, ports.c.project_id != project_id)
    return conn.execute(sa.select(sa.func.count()).select_from(ports).where(where)).scalar_one()


def in_group(conn: Connection, group_id: str) -> int:
    """Count the ports that are in a group."""
    return conn.execute(
        sa.select(sa.func.count()).select_from(port_groups).where(port_groups.c.group_id == group_id)
    ).scalar_one()


def members(conn: Connection, group_ids: Iterable[str], except_host: str) -> dict[str, set[str]]:
    """Return the addresses of the groups' plugged ports on other hosts than one, by group.

    Allowed address pairs are not members: only what a port was given by the cloud counts.
    """
    found: dict[str, set[str]] = {group_id: set() for group_id in group_ids}
    if found:
        for group_id, address in _MEMBERS.rows(conn, found, not_host=except_host):
            found[group_id].add(text_of(address))
    return found


def seen_with_server(conn: Connection, server_id: str) -> list[ServerPort]:
    """Return the ports of a server, in the order of its NICs."""
    return [port for _, port in _server_ports(_SEEN.rows(conn, [server_id]))]


def seen_with_server_asks(server_id: str) -> Asked:
    """Return what `seen_with_server` asks."""
    return _SEEN.asked(server_id)


def seen_with_servers(conn: Connection, server_ids: Iterable[str]) -> dict[str, list[ServerPort]]:
    """Return the ports of many servers, in the order of their NICs, in one statement."""
    found: dict[str, list[ServerPort]] = {server_id: [] for server_id in server_ids}
    if found:
        for server_id, port in _server_ports(_SEEN.rows(conn, found)):
            found[server_id].append(port)
    return found


def _server_ports(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, ServerPort]]:
    """Yield ports with their server's id, of rows: one for each address, in each group, with each floating IP."""
    for (server_id, port_id, network_id, network_name, mac, status, device_tag), same in groupby(rows, _OF_PORT):
        given: dict[tuple[str, str], None] = {}
        groups: dict[tuple[str, str], None] = {}
        floating: dict[tuple[str, str], None] = {}
        for *_, subnet_id, address, group_id, group_name, fixed, outer in same:
            if address is not None:
                given[subnet_id, text_of(address)] = None
            if group_id is not None:
                groups[group_id, group_name] = None
            if outer is not None:
                floating[fixed, outer] = None
        yield (
            server_id,
            ServerPort(
                port_id=port_id,
                network_id=network_id,
                network_name=network_name,
                mac=mac,
                status=status,
                addresses=tuple(given),
                groups=tuple(groups),
                floating=tuple(floating),
                device_tag=device_tag,
            ),
        )


_OF_PORT = itemgetter(slice(7))


def _add_groups(conn: Connection, port_id: str, group_ids: Sequence[str]) -> None:
    _ADD_GROUP.write_later(conn, *({"port_id": port_id, "group_id": group} for group in group_ids))


def _joined(rows: Iterable[Sequence[Any]]) -> list[Port]:
    """Make ports of rows of `_WHOLE`; those of one port follow each other."""
    found = []
    for _, same in groupby(rows, itemgetter(0)):
        parts = list(same)
        given: dict[tuple[str, str], None] = {}
        groups: dict[str, None] = {}
        bound: dict[str, Binding] = {}
        for part in parts:
            subnet_id, address, group_id, *binding = part[_OWN:]
            if address is not None:
                given[subnet_id, text_of(address)] = None
            if group_id is not None:
                groups[group_id] = None
            if binding[0] is not None and binding[0] not in bound:
                bound[binding[0]] = Binding._make(binding)
        found.append(_MADE(*parts[0][:_OWN], tuple(given), tuple(groups), tuple(bound.values())))
    return found


def _read(conn: Connection, rows: Sequence[Any]) -> list[Port]:
    if not rows:
        return []
    given: dict[str, list[tuple[int, str]]] = {}
    groups: dict[str, list[str]] = {}
    for port_id, subnet_or_group, address in _BELOW.tuples(conn, [row[0] for row in rows]):
        if address is None:
            groups.setdefault(port_id, []).append(subnet_or_group)
        else:
            given.setdefault(port_id, []).append((address, subnet_or_group))
    bound = port_bindings.of_ports(conn, [row[0] for row in rows if row[_HOST] is not None])
    return [
        _MADE(*row, _in_order(given.get(row[0], ())), tuple(sorted(groups.get(row[0], ()))), bound.get(row[0], ()))
        for row in rows
    ]


def _in_order(given: Sequence[tuple[int, str]]) -> tuple[tuple[str, str], ...]:
    if len(given) == 1:  # as nearly all have it
        return ((given[0][1], text_of(given[0][0])),)
    return tuple([(subnet_id, text_of(address)) for address, subnet_id in sorted(given)])


ROWS: Rows[Port] = Rows(
    ports,
    _read,
    sa.select(*_COLUMNS),
    # A project sees its own ports, and all ports of its networks.
    seen=sa.or_(
        ports.c.project_id == VIEWER,
        ports.c.network_id.in_(sa.select(networks.c.id).where(networks.c.project_id == VIEWER)),
    ),
    also={
        "fixed_ips": lambda addressed: addresses.holding(ports.c.id, addressed),
        "security_groups": lambda groups: ports.c.id.in_(
            sa.select(port_groups.c.port_id).where(port_groups.c.group_id.in_(groups))
        ),
    },
)
get, find, delete, discard = ROWS.get, ROWS.find, ROWS.delete, ROWS.discard
