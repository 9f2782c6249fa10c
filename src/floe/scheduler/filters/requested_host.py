"""The one host asked for by name, and never one that was tried for this server already."""

from __future__ import annotations

from floe.scheduler.hosts import HostTable, Keep, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep the host asked for, or all but those tried."""
    if spec.host is None and not spec.excluded:
        return None
    allowed = ~table.marked(spec.excluded)
    if spec.host is not None:
        allowed &= table.marked((spec.host,))
    return lambda rows: allowed[rows]


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Say what went wrong there, or which was asked for."""
    name = table.names[row]
    if name in spec.excluded:
        return f"it was tried: {spec.excluded[name]}"
    return f"host {spec.host!r} was asked for"


def summary(spec: RequestSpec, table: HostTable, rows: Rows) -> list[str]:
    """Count those tried, and those not asked for."""
    tried = int(table.marked(spec.excluded)[rows].sum())
    others = len(rows) - tried
    texts = [counted(tried, "was tried and failed", "were tried and failed")] if tried else []
    return [*texts, counted(others, "is not the one asked for", "are not the one asked for")] if others else texts
