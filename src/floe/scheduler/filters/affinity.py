"""Hosts that the policy of the server's group allows."""

from __future__ import annotations

from floe.core.server_groups import AFFINITY, ANTI_AFFINITY
from floe.scheduler.hosts import HostTable, Keep, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Affinity: the host of the other members. Anti-affinity: hosts with fewer of them than may be."""
    if spec.group is None or not spec.group_hosts or spec.group.policy not in {AFFINITY, ANTI_AFFINITY}:
        return None
    members = table.column(spec.group_hosts)
    allowed = members > 0 if spec.group.policy == AFFINITY else members < spec.group.limit_per_host
    return lambda rows: allowed[rows]


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name the policy and how many members are where."""
    assert spec.group is not None
    there = spec.group_hosts.get(table.names[row], 0)
    if spec.group.policy == AFFINITY:
        return "affinity: the other servers of the group are elsewhere"
    return f"anti-affinity: {there} of the group are there, at most {spec.group.limit_per_host} may be"


def summary(spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count them; of anti-affinity say how many members a host may have."""
    assert spec.group is not None
    policy = spec.group.policy
    if policy == ANTI_AFFINITY:
        policy += f" (at most {spec.group.limit_per_host} of its servers on a host)"
    return [counted(len(rows), "is", "are") + f" ruled out by the server group's policy {policy}"]
