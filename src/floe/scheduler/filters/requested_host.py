"""The one host asked for by name, and never one that was tried for this server already."""

from __future__ import annotations

import numpy as np

from floe.scheduler.hosts import HostTable, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable, rows: Rows) -> Mask:
    """Keep the host asked for, or all but those tried."""
    mask = np.ones(len(rows), np.bool_)
    if spec.host is not None:
        wanted = table.row(spec.host)
        mask = rows == (-1 if wanted is None else wanted)
    if spec.excluded:
        mask &= ~np.isin(rows, table.rows(spec.excluded))
    return mask


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Say what went wrong there, or which was asked for."""
    name = table.names[row]
    if name in spec.excluded:
        return f"it was tried: {spec.excluded[name]}"
    return f"host {spec.host!r} was asked for"


def summary(spec: RequestSpec, table: HostTable, rows: Rows) -> list[str]:
    """Count those tried, and those not asked for."""
    tried = sum(1 for row in rows if table.names[int(row)] in spec.excluded)
    others = len(rows) - tried
    texts = [counted(tried, "was tried and failed", "were tried and failed")] if tried else []
    return [*texts, counted(others, "is not the one asked for", "are not the one asked for")] if others else texts
