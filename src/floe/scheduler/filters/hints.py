"""Hosts that the hints `same_host` and `different_host` allow."""

from __future__ import annotations

from floe.scheduler.hosts import HostTable, Keep, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep hosts of the servers to be with, without those of the servers to be apart from."""
    if spec.same_hosts is None and not spec.different_hosts:
        return None
    allowed = ~table.marked(spec.different_hosts)
    if spec.same_hosts is not None:
        allowed &= table.marked(spec.same_hosts)
    return lambda rows: allowed[rows]


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name the hint."""
    if table.names[row] in spec.different_hosts:
        return "hint different_host: a server to be apart from is there"
    return "hint same_host: no server to be with is there"


def summary(spec: RequestSpec, table: HostTable, rows: Rows) -> list[str]:
    """Count them by the hint."""
    apart = int(table.marked(spec.different_hosts)[rows].sum())
    counts = (("different_host", apart), ("same_host", len(rows) - apart))
    return [counted(count, "is", "are") + f" ruled out by the hint {hint}" for hint, count in counts if count]
