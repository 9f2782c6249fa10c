"""Lists of servers: filtered, sorted, page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from floe.core.addresses import IPV4_ALL, text_of
from floe.core.patterns import Plain, address_range, plain
from floe.core.server_filters import ServerFilter
from floe.core.servers import SOFT_DELETED
from floe.store.addresses import port_addresses
from floe.store.engine import Connection
from floe.store.hosts import ZONE, hosts
from floe.store.listing import following
from floe.store.patterns import Budget, Pattern
from floe.store.ports import ports
from floe.store.prepared import Prepared
from floe.store.servers import server_tags, servers

SORT_KEYS: Mapping[str, sa.ColumnElement[Any]] = {
    "access_ip_v4": sa.func.coalesce(servers.c.access_ipv4, ""),
    "access_ip_v6": sa.func.coalesce(servers.c.access_ipv6, ""),
    "auto_disk_config": sa.case((servers.c.disk_config == "AUTO", "AUTO"), else_="MANUAL"),
    "availability_zone": sa.func.coalesce(servers.c.requested_zone, ""),
    "config_drive": servers.c.config_drive,
    "created_at": servers.c.created_at,
    "display_description": sa.func.coalesce(servers.c.description, ""),
    "display_name": servers.c.name,
    "host": sa.func.coalesce(servers.c.host, ""),
    "hostname": servers.c.hostname,
    "image_ref": sa.func.coalesce(servers.c.image_id, ""),
    "instance_type_id": servers.c.flavor_id,
    "key_name": sa.func.coalesce(servers.c.key_name, ""),
    "launch_index": servers.c.launch_index,
    "launched_at": sa.func.coalesce(sa.type_coerce(servers.c.launched_at, sa.BigInteger), 0),
    "locked": servers.c.locked,
    "locked_by": sa.func.coalesce(servers.c.locked_by, ""),
    "node": sa.func.coalesce(servers.c.host, ""),
    "power_state": servers.c.power_state,
    "progress": sa.case((servers.c.vm_state == "building", 0), else_=100),
    "project_id": servers.c.project_id,
    "root_device_name": servers.c.root_device,
    "task_state": sa.func.coalesce(servers.c.task_state, ""),
    "terminated_at": sa.func.coalesce(sa.type_coerce(servers.c.terminated_at, sa.BigInteger), 0),
    "updated_at": sa.func.coalesce(sa.type_coerce(servers.c.updated_at, sa.BigInteger), 0),
    "user_id": servers.c.user_id,
    "uuid": servers.c.id,
    "vm_state": servers.c.vm_state,
}
"""What a list may be sorted by, under the names the API has for it; none of them is ever NULL."""

_OF_HOST = sa.select(ZONE).where(hosts.c.name == servers.c.host).correlate(servers)
_ZONE = sa.case((servers.c.host.is_(None), servers.c.requested_zone), else_=_OF_HOST.scalar_subquery())
_TEXT: Mapping[str, sa.ColumnElement[Any]] = {
    **{
        name: servers.c[name]
        for name in (
            "name",
            "description",
            "hostname",
            "key_name",
            "host",
            "reservation_id",
            "root_device",
            "access_ipv4",
            "access_ipv6",
            "locked_by",
        )
    },
    "zone": _ZONE,
    "progress": sa.case((servers.c.vm_state == "building", "0"), else_="100"),
    "disk_config": sa.case((servers.c.disk_config == "AUTO", "1"), else_="0"),
    "kernel": sa.literal(""),
}
"""What may be searched by a regular expression, as text. No server has a kernel of its own."""
_EQUAL: Mapping[str, sa.Column[Any]] = {
    name: servers.c[name]
    for name in (
        "id",
        "user_id",
        "host",
        "flavor_id",
        "image_id",
        "launch_index",
        "config_drive",
        "locked",
        "power_state",
        "vm_state",
        "task_state",
        "created_at",
        "launched_at",
        "terminated_at",
    )
}
_CHANGED = sa.func.coalesce(
    sa.type_coerce(servers.c.updated_at, sa.BigInteger), sa.type_coerce(servers.c.created_at, sa.BigInteger)
)
_DEFAULT_SORT = (("created_at", False), ("uuid", False))
_KEPT = 64
"""How many orders are kept compiled: by which keys, and how many, is up to clients."""


class NamedServer(NamedTuple):
    """What a list without details shows of a server."""

    id: str
    name: str


class Pages:
    """A query of servers, to be run with any filter, order and window. What is asked for most is compiled once."""

    def __init__(self, query: sa.Select[Any]) -> None:
        self._query = query
        self._kept = lru_cache(_KEPT)(self._prepare)

    def rows(
        self,
        conn: Connection,
        wanted: ServerFilter,
        *,
        sort: Sequence[tuple[str, bool]] = (),
        marker: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Any]:
        """Return the rows of servers that fit, sorted by (key, ascending), behind the one with id `marker`.

        Without `sort` the youngest comes first.
        """
        keys = [*(sort or _DEFAULT_SORT)]
        if all(key != "uuid" for key, _ in keys):
            keys.append(("uuid", keys[-1][1]))
        if marker is None and wanted == ServerFilter(project_id=wanted.project_id):
            project = {} if wanted.project_id is None else {"of_project": wanted.project_id}
            return self._kept(tuple(keys), bool(project)).rows(conn, at_most=limit, **project)
        columns = [(SORT_KEYS[key], ascending) for key, ascending in keys]
        conditions = _conditions(wanted)
        if marker is not None:
            conditions.append(_after(conn, columns, marker))
        order = _order(keys)
        if wanted.thorough:
            conditions = [servers.c.id.in_(_searched(conn, wanted, conditions, order, limit))]
        return conn.execute(self._query.where(*conditions).order_by(*order).limit(limit)).all()

    def _prepare(self, keys: Sequence[tuple[str, bool]], of_project: bool) -> Prepared:
        window = self._query.where(servers.c.deleted_at.is_(None), servers.c.vm_state != SOFT_DELETED)
        if of_project:
            window = window.where(servers.c.project_id == sa.bindparam("of_project"))
        return Prepared(window.order_by(*_order(keys)).limit(sa.bindparam("at_most", type_=sa.Integer)), packed=True)


def _order(keys: Sequence[tuple[str, bool]]) -> list[sa.ColumnElement[Any]]:
    return [SORT_KEYS[key].asc() if ascending else SORT_KEYS[key].desc() for key, ascending in keys]


_NAMED = Pages(sa.select(servers.c.id, servers.c.name))


def listed(
    conn: Connection,
    wanted: ServerFilter,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    marker: str | None = None,
    limit: int = 1000,
) -> list[NamedServer]:
    """Return the servers that `Pages.rows` does."""
    return [NamedServer(*row) for row in _NAMED.rows(conn, wanted, sort=sort, marker=marker, limit=limit)]


def exists(conn: Connection, server_id: str) -> bool:
    """Say whether there is or was such a server; what a marker must be."""
    return conn.execute(sa.select(servers.c.id).where(servers.c.id == server_id)).one_or_none() is not None


def _conditions(wanted: ServerFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.project_id is not None:
        found.append(servers.c.project_id == wanted.project_id)
    if wanted.deleted is not None:
        found.append(_gone(wanted) if wanted.deleted else _living(wanted))
    for name, pattern in wanted.search:
        if (text := plain(pattern)) is not None:
            found.append(contains(_TEXT[name], pattern, text))
    for name, value in wanted.equal.items():
        column = _EQUAL[name]
        if name == "created_at":
            seconds = value if isinstance(value, tuple) else (value,)
            found.append(sa.or_(*(column.between(_moment(_second(v)), _moment(_second_end(v))) for v in seconds)))
            continue
        found.append(column.in_(value) if isinstance(value, tuple) else column == value)
    if wanted.address is not None and (between := address_range(wanted.address)) is not None:
        found.append(servers.c.id.in_(_with_address(*between)))
    if wanted.states is not None:
        found.append(sa.or_(sa.false(), *(_state(vm, tasks) for vm, tasks in wanted.states)))
    if wanted.changed_since is not None:
        found.append(_CHANGED.op(">=")(_moment(wanted.changed_since)))
    if wanted.changed_before is not None:
        found.append(_CHANGED.op("<=")(_moment(_second_end(wanted.changed_before))))
    if wanted.tags:
        found.append(_has_tags(wanted.tags))
    if wanted.any_tags:
        found.append(_has_tag(wanted.any_tags))
    if wanted.not_tags:
        found.append(sa.not_(_has_tags(wanted.not_tags)))
    if wanted.not_any_tags:
        found.append(sa.not_(_has_tag(wanted.not_any_tags)))
    return found


def _gone(wanted: ServerFilter) -> sa.ColumnElement[bool]:
    gone = servers.c.deleted_at.is_not(None)
    return sa.or_(gone, servers.c.vm_state == SOFT_DELETED) if wanted.soft_deleted else gone


def _living(wanted: ServerFilter) -> sa.ColumnElement[bool]:
    living = servers.c.deleted_at.is_(None)
    return living if wanted.soft_deleted else sa.and_(living, servers.c.vm_state != SOFT_DELETED)


def _moment(when: datetime) -> sa.BindParameter[datetime]:
    return sa.bindparam(None, when, servers.c.created_at.type)


def _second(when: datetime) -> datetime:
    """Return the first instant that is shown as the same second: `created` and `updated` are shown in seconds."""
    return when.replace(microsecond=0)


def _second_end(when: datetime) -> datetime:
    return when.replace(microsecond=999_999)


def contains(column: sa.ColumnElement[Any], pattern: str, text: Plain) -> sa.ColumnElement[bool]:
    """Fit what `Pattern` fits, without looking at each row from here."""
    escaped = re.sub(r"([%_\\])", r"\\\1", text.text)
    like = column.ilike(("" if text.start else "%") + escaped + ("" if text.end else "%"), escape="\\")
    return like if text.text == pattern else sa.or_(like, column == pattern)


def _searched(
    conn: Connection,
    wanted: ServerFilter,
    conditions: Sequence[sa.ColumnElement[bool]],
    order: Sequence[sa.ColumnElement[Any]],
    limit: int,
) -> list[str]:
    """Return the ids of the first servers that meet the conditions and fit the regular expressions. Raises Invalid."""
    patterns = [(name, Pattern(text, name)) for name, text in wanted.search if plain(text) is None]
    budget = Budget()
    addressed = _with_address_like(conn, wanted, budget)
    names = [name for name, _ in patterns]
    statement = sa.select(servers.c.id, *(_TEXT[name].label(None) for name in names)).where(*conditions)
    found: list[str] = []
    for server_id, *texts in conn.execute(statement.order_by(*order)):
        if len(found) == limit:
            break
        budget.spend()
        if addressed is None or server_id in addressed:
            fits = all(pattern.fits(text) for (_, pattern), text in zip(patterns, texts, strict=True))
            found += [server_id] if fits else []
    return found


def _with_address_like(conn: Connection, wanted: ServerFilter, budget: Budget) -> set[str | None] | None:
    """Return the ids of servers with an address that fits; None when none is asked for that has to be looked for."""
    column = port_addresses.c.address
    pattern, family = None, column >= IPV4_ALL
    if wanted.address6 is not None:
        pattern = Pattern(wanted.address6, "ip6")
    if wanted.address is not None:
        if address_range(wanted.address) is not None:
            return None
        pattern, family = Pattern(wanted.address, "ip"), column < IPV4_ALL
    if pattern is None:
        return None
    statement = sa.select(ports.c.server_id, port_addresses.c.address).join(
        port_addresses, port_addresses.c.port_id == ports.c.id
    )
    if wanted.project_id is not None:
        of_project = sa.select(servers.c.id).where(servers.c.project_id == wanted.project_id)
        statement = statement.where(ports.c.server_id.in_(of_project))
    found: set[str | None] = set()
    for server_id, address in conn.execute(statement.where(ports.c.server_id.is_not(None), family)):
        budget.spend()
        if server_id not in found and pattern.fits(text_of(address)):
            found.add(server_id)
    return found


def _with_address(first: int, last: int) -> sa.Select[tuple[str | None]]:
    return (
        sa.select(ports.c.server_id)
        .join(port_addresses, port_addresses.c.port_id == ports.c.id)
        .where(port_addresses.c.address.between(first, last), ports.c.server_id.is_not(None))
    )


def _state(vm_state: str, tasks: tuple[str | None, ...] | None) -> sa.ColumnElement[bool]:
    condition: sa.ColumnElement[bool] = servers.c.vm_state == vm_state
    if tasks is None:
        return condition
    named = [task for task in tasks if task is not None]
    choices: list[sa.ColumnElement[bool]] = [servers.c.task_state.in_(named)] if named else []
    if None in tasks:
        choices.append(servers.c.task_state.is_(None))
    return sa.and_(condition, sa.or_(sa.false(), *choices))


def _has_tag(tags: Sequence[str]) -> sa.ColumnElement[bool]:
    return servers.c.id.in_(sa.select(server_tags.c.server_id).where(server_tags.c.tag.in_(list(tags))))


def _has_tags(tags: Sequence[str]) -> sa.ColumnElement[bool]:
    """Fit a server with all of these tags, each named once: in one subquery, however many they are."""
    having = sa.select(server_tags.c.server_id).where(server_tags.c.tag.in_(list(tags)))
    return servers.c.id.in_(having.group_by(server_tags.c.server_id).having(sa.func.count() == len(tags)))


def _after(conn: Connection, columns: list[tuple[sa.ColumnElement[Any], bool]], marker: str) -> sa.ColumnElement[bool]:
    values = conn.execute(sa.select(*(c for c, _ in columns)).where(servers.c.id == marker)).one()
    return following([(column, ascending, value) for (column, ascending), value in zip(columns, values, strict=True)])
