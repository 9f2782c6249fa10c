"""Hosts in the availability zone asked for."""

from __future__ import annotations

from floe.scheduler.hosts import HostTable, Keep, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep hosts of the zone; all when none is asked for."""
    if spec.zone is None:
        return None
    wanted, zone = table.code(spec.zone), table.zone
    return lambda rows: zone[rows] == wanted


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name both zones."""
    return f"it is in availability zone {table.text(int(table.zone[row]))!r}, not {spec.zone!r}"


def summary(spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count those elsewhere."""
    return [counted(len(rows), "is", "are") + f" not in availability zone {spec.zone!r}"]
