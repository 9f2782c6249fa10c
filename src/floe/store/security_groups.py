"""Security groups, their rules, and which ports are in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.security_groups import Group, PluggedRule, Rule, fingerprint
from floe.store import listing as lists
from floe.store.prepared import Prepared
from floe.store.quota_usages import Counted, counted
from floe.store.schema import Ident, Moment, metadata
from floe.store.table import VIEWER, Rows
from floe.store.tags import Tags

security_groups = sa.Table(
    "security_groups",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("project_id", Ident, nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("default", sa.Boolean, nullable=False),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.Index("ix_security_groups_project_id_id", "project_id", "id"),
    sa.Index("ix_security_groups_project_id_name", "project_id", "name"),
    sa.Index("ix_security_groups_name_owned", "name", "project_id", "id"),
    info=counted(Counted(resource="security_group", owner="project_id")),
)
sa.Index(
    "uq_security_groups_default",
    security_groups.c.project_id,
    unique=True,
    sqlite_where=security_groups.c.default.is_(True),
)

security_group_rules = sa.Table(
    "security_group_rules",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("group_id", Ident, sa.ForeignKey("security_groups.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Ident, nullable=False, index=True),
    sa.Column("direction", sa.String(8), nullable=False),
    sa.Column("ethertype", sa.String(8), nullable=False),
    sa.Column("protocol", sa.String(16)),
    sa.Column("port_min", sa.Integer),
    sa.Column("port_max", sa.Integer),
    sa.Column("remote_cidr", sa.String(64)),
    sa.Column("remote_group", Ident, sa.ForeignKey("security_groups.id", ondelete="CASCADE"), index=True),
    sa.Column("remote_address_group", Ident, index=True),
    sa.Column("description", sa.String(255), nullable=False),
    sa.Column("fingerprint", sa.String(255), nullable=False),
    sa.Column("tags", Tags, nullable=False, server_default=""),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, default=0),
    sa.UniqueConstraint("group_id", "fingerprint"),
    info=counted(Counted(resource="security_group_rule", owner="project_id")),
)

_RULE_COLUMNS = tuple(c for c in security_group_rules.c if c.name != "fingerprint")
_RULE_NAMES = tuple(c.name for c in _RULE_COLUMNS)

_DEFAULT = Prepared(
    sa.select(security_groups.c.id).where(
        security_groups.c.project_id == sa.bindparam("project_id"), security_groups.c.default.is_(True)
    )
)
_OWNED = lists.ByIds(sa.select(security_groups.c.id, security_groups.c.project_id), security_groups.c.id)
_NAMING = Prepared(
    sa.select(security_group_rules.c.id)
    .where(security_group_rules.c.remote_address_group == sa.bindparam("ident"))
    .limit(1)
)
_NAMES = lists.ByIds(sa.select(security_groups.c.id, security_groups.c.name), security_groups.c.id)
_RULES_OF = lists.ByIds(
    sa.select(*_RULE_COLUMNS).order_by(security_group_rules.c.created_at, security_group_rules.c.id),
    security_group_rules.c.group_id,
)

_PLUGGED = lists.ByIds(
    sa.select(
        security_groups.c.id, security_groups.c.name, *(security_group_rules.c[name] for name in PluggedRule._fields)
    )
    .outerjoin(
        security_group_rules,
        sa.and_(
            security_group_rules.c.group_id == security_groups.c.id,
            security_group_rules.c.ethertype == sa.bindparam("ethertype"),
        ),
    )
    .order_by(security_group_rules.c.created_at, security_group_rules.c.id),
    security_groups.c.id,
)


def insert(conn: Connection, group: Group) -> bool:
    """Add a group with its rules; False, with nothing added, if the project has its default group already."""
    if not ROWS.insert_new(conn, group):
        return False
    if group.rules:
        conn.execute(sa.insert(security_group_rules), [RULES.values(rule) for rule in group.rules])
    return True


def many(conn: Connection, group_ids: Iterable[str]) -> list[Group]:
    """Return those of the groups that are there."""
    statement = sa.select(security_groups)
    parts = lists.in_parts(list(group_ids))
    return [
        group
        for part in parts
        for group in _read(conn, conn.execute(statement.where(security_groups.c.id.in_(part))).all())
    ]


def default_id(conn: Connection, project_id: str) -> str | None:
    """Return the id of a project's default group, if it has one yet."""
    found = _DEFAULT.first(conn, project_id=project_id)
    return found.id if found else None


def named(conn: Connection, project_id: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (id, name) of a project's groups whose name or id is one of these."""
    wanted = list(names)
    statement = sa.select(security_groups.c.id, security_groups.c.name).where(
        security_groups.c.project_id == project_id,
        sa.or_(security_groups.c.name.in_(wanted), security_groups.c.id.in_(wanted)),
    )
    return [(row[0], row[1]) for row in conn.execute(statement)]


def owned(conn: Connection, group_ids: Iterable[str], project_id: str | None) -> dict[str, str]:
    """Return those of the ids that are groups of the project (None: anybody's), with whose they are."""
    rows = _OWNED.rows(conn, list(group_ids))
    return {group_id: owner for group_id, owner in rows if project_id is None or owner == project_id}


def names(conn: Connection, group_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of groups by id; those that are gone are left out."""
    return dict(_NAMES.rows(conn, list(group_ids)))


def same_rule(conn: Connection, rule: Rule) -> str | None:
    """Return the id of the group's rule that means the same."""
    statement = sa.select(security_group_rules.c.id).where(
        security_group_rules.c.group_id == rule.group_id,
        security_group_rules.c.fingerprint == RULES.values(rule)["fingerprint"],
    )
    return conn.execute(statement).scalar()


def names_addresses(conn: Connection, address_group_id: str) -> bool:
    """Say whether any rule names an address group."""
    return _NAMING.first(conn, ident=address_group_id) is not None


def rules_of(conn: Connection, group_ids: Iterable[str]) -> dict[str, list[Rule]]:
    """Return the rules of groups, by group, the oldest first."""
    found = {group_id: list[Rule]() for group_id in group_ids}
    for rule in map(_rule, _RULES_OF.rows(conn, found)):
        found[rule.group_id].append(rule)
    return found


def plugged(conn: Connection, group_ids: Iterable[str], ethertype: str) -> dict[str, tuple[str, list[PluggedRule]]]:
    """Return the names of groups, and their rules for one family, the oldest first; in one statement."""
    found: dict[str, tuple[str, list[PluggedRule]]] = {}
    for group_id, name, *values in _PLUGGED.rows(conn, list(group_ids), ethertype=ethertype):
        rules = found.setdefault(group_id, (name, []))[1]
        if values[0] is not None:
            rule = PluggedRule._make(values)
            rules.append(rule if rule.remote_address_group is None else rule._replace(remote_cidr=None))
    return found


def _read(conn: Connection, rows: Sequence[Any]) -> list[Group]:
    rules = rules_of(conn, [row.id for row in rows])
    return [Group(**row._asdict(), rules=tuple(rules[row.id])) for row in rows]


def _read_rules(_conn: Connection, rows: Sequence[Any]) -> list[Rule]:
    return [_rule(row) for row in rows]


def _rule(row: Sequence[Any]) -> Rule:
    values = dict(zip(_RULE_NAMES, row, strict=True))
    if values["remote_address_group"] is not None:
        values["remote_cidr"] = None
    return Rule(**values)


def _kept_cidr(rule: Rule) -> str | None:
    """An older release does not know of address groups: to it, a rule about one is about nobody and not everybody."""
    return rule.remote_cidr if rule.remote_address_group is None else _NOBODY[rule.ethertype]


_NOBODY = {"IPv4": "0.0.0.0/32", "IPv6": "::/128"}


_OWN = security_groups.c.project_id == VIEWER
ROWS: Rows[Group] = Rows(security_groups, _read, seen=_OWN)
RULES: Rows[Rule] = Rows(
    security_group_rules,
    _read_rules,
    sa.select(*_RULE_COLUMNS),
    seen=security_group_rules.c.group_id.in_(sa.select(security_groups.c.id).where(_OWN)),
    fields={
        "remote_cidr": sa.case(
            (security_group_rules.c.remote_address_group.is_not(None), ""),
            else_=sa.func.coalesce(security_group_rules.c.remote_cidr, ""),
        )
    },
    computed={"fingerprint": fingerprint, "remote_cidr": _kept_cidr},
)
get, find, update, delete = ROWS.get, ROWS.find, ROWS.update, ROWS.delete
insert_rule, get_rule, find_rules, delete_rule = RULES.insert_new, RULES.get, RULES.find, RULES.delete
