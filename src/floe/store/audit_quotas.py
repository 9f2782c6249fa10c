"""What finds a project that has more than its quota."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from floe.core.ports import DHCP_OWNER
from floe.store.address_scopes import address_scopes
from floe.store.engine import Connection
from floe.store.floating_ips import floating_ips
from floe.store.networks import networks
from floe.store.ports import ports
from floe.store.quotas import quotas
from floe.store.routers import routers
from floe.store.servers import servers
from floe.store.subnetpools import subnetpools
from floe.store.subnets import subnets
from floe.store.user_quotas import user_quotas


def told(what: str, subject: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[str], sa.ColumnElement[Any]]:
    """Return the columns that say what must not be, and of whom it is."""
    text = what.replace("'", "''")
    return sa.literal_column(f"'{text}'").label("what"), subject.label("subject")


def exceeded() -> list[sa.Select[Any]]:
    """Return what finds a project that has more than its quota.

    A limit may be set below what is there already, and then nothing more may come. Whatever came since was let in
    only if all there was with it fitted the limit: to have more than that and something newer is never right. The
    ports of DHCP servers come unasked and are not refused, so they are left out: when they came, in the order of
    commits, no time of theirs says.
    """
    q, s, u = quotas.c, servers.c, user_quotas.c
    held = {"instances": sa.func.count(), "cores": sa.func.sum(s.vcpus), "ram": sa.func.sum(s.memory_mib)}

    return [
        *(
            sa.select(*told(f"the quota of {resource} is exceeded in project", s.project_id))
            .join(quotas, sa.and_(q.project_id == s.project_id, q.resource == resource))
            .where(s.deleted_at.is_(None), s.reclaim_at.is_(None), q.limit >= 0)
            .group_by(s.project_id, q.limit, q.set_at)
            .having(total > q.limit, _since(sa.func.max(s.created_at)))
            for resource, total in held.items()
        ),
        *(
            sa.select(*told(f"the quota of {resource} is exceeded of user", u.user_id))
            .join(servers, s.quota_owner == u.owner)
            .where(s.deleted_at.is_(None), s.reclaim_at.is_(None), u.resource == resource, u.limit >= 0)
            .group_by(u.owner, u.user_id, u.limit, u.set_at)
            .having(total > u.limit, sa.func.max(s.created_at) > u.set_at)
            for resource, total in held.items()
        ),
        sa.select(*told("a server is not counted for its user, who is limited", s.id))
        .join(user_quotas, sa.and_(u.project_id == s.project_id, u.user_id == s.user_id))
        .where(s.deleted_at.is_(None), s.quota_owner.is_distinct_from(u.owner)),
        _exceeded("port", ports, ports.c.device_owner != DHCP_OWNER),
        *(_exceeded(resource, table) for resource, table in _BOUNDED.items()),
    ]


_NEWEST = [
    sa.select(sa.func.max(table.c.created_at)).where(
        table.c.project_id == sa.bindparam("project_id", type_=sa.String),
        *((table.c.deleted_at.is_(None),) if "deleted_at" in table.c else ()),
    )
    for table in (servers, ports, networks, subnets, routers, floating_ips, subnetpools, address_scopes)
]


def time_of_limit(conn: Connection, project_id: str, now: datetime) -> datetime:
    """Return when a limit that is set now is set, by the clock that what is there was made by, should that be ahead."""
    told: list[datetime | None] = [conn.scalar(newest, {"project_id": project_id}) for newest in _NEWEST]
    return max([now, *filter(None, told)])


_BOUNDED = {
    "network": networks, "subnet": subnets, "router": routers, "floatingip": floating_ips,
    "subnetpool": subnetpools, "address_scope": address_scopes,
}  # fmt: skip
"""Of which each row was asked for by itself, by the names that quotas have for them."""


def _since(newest_at: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.or_(quotas.c.set_at.is_(None), newest_at > quotas.c.set_at)


def _exceeded(resource: str, table: sa.Table, *asked_for: sa.ColumnElement[bool]) -> sa.Select[Any]:
    q, t = quotas.c, table.c
    newest = (
        sa.select(t.project_id, sa.func.max(t.created_at).label("at"))
        .where(*asked_for)
        .group_by(t.project_id)
        .subquery()
    )
    return (
        sa.select(*told(f"the quota of {resource} is exceeded in project", t.project_id))
        .join(quotas, sa.and_(q.project_id == t.project_id, q.resource == resource))
        .join(newest, newest.c.project_id == t.project_id)
        .where(q.limit >= 0, _since(newest.c.at), *asked_for)
        .group_by(t.project_id, q.limit)
        .having(sa.func.count() > q.limit)
    )
