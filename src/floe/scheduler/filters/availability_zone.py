"""Hosts in the availability zone asked for."""

from __future__ import annotations

import numpy as np

from floe.scheduler.hosts import HostTable, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable, rows: Rows) -> Mask:
    """Keep hosts of the zone; all when none is asked for."""
    if spec.zone is None:
        return np.ones(len(rows), np.bool_)
    mask: Mask = table.zone[rows] == table.code(spec.zone)
    return mask


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name both zones."""
    return f"it is in availability zone {table.text(int(table.zone[row]))!r}, not {spec.zone!r}"


def summary(spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count those elsewhere."""
    return [counted(len(rows), "is", "are") + f" not in availability zone {spec.zone!r}"]
