"""The ports that hosts are to have, in as much as these are told of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.addresses import text_of
from floe.core.ports import PluggedPort
from floe.store import listing as lists
from floe.store.addresses import port_addresses
from floe.store.port_bindings import port_bindings
from floe.store.ports import port_groups, ports
from floe.store.prepared import Prepared

_OWN = PluggedPort._fields[:-2]
_ON_HOST = (
    sa.select(
        *(ports.c[name] for name in _OWN), port_addresses.c.subnet_id, port_addresses.c.address, port_groups.c.group_id
    )
    .outerjoin(port_addresses, port_addresses.c.port_id == ports.c.id)
    .outerjoin(port_groups, port_groups.c.port_id == ports.c.id)
    .join(port_bindings, port_bindings.c.port_id == ports.c.id)
    .where(port_bindings.c.host == sa.bindparam("on_host"), port_bindings.c.plugged.is_(True))
    .order_by(port_bindings.c.port_id)
)
"""A port comes once for each address in each group, in any order of these: to sort so few at each port takes long."""
_ALL = Prepared(_ON_HOST)
_THESE = lists.ByIds(_ON_HOST, ports.c.id)


def on_host(conn: Connection, host: str, port_ids: Iterable[str] | None = None) -> list[PluggedPort]:
    """Return the ports a host is to have, all or those of the ids, by id."""
    rows = _ALL.rows(conn, on_host=host) if port_ids is None else _THESE.rows(conn, list(port_ids), on_host=host)
    found = []
    for _, same in groupby(rows, itemgetter(0)):
        (*own, subnet_id, address, group_id), *more = same
        given = {} if address is None else {address: subnet_id}
        groups = set() if group_id is None else {group_id}
        for *_, subnet_id, address, group_id in more:
            if address is not None:
                given[address] = subnet_id
            if group_id is not None:
                groups.add(group_id)
        fixed_ips = tuple((given[address], text_of(address)) for address in sorted(given))
        found.append(PluggedPort._make((*own, fixed_ips, tuple(sorted(groups)))))
    return found
