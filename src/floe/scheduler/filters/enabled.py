"""Hosts that are up, and that no operator disabled (one that is asked for by name may be disabled)."""

from __future__ import annotations

from floe.scheduler.hosts import HostTable, Keep, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep:
    """Keep hosts that are up and enabled."""
    up, enabled = table.up, table.enabled
    return lambda rows: up[rows] if spec.host else up[rows] & enabled[rows]


def reason(_spec: RequestSpec, table: HostTable, row: int) -> str:
    """Say whether it is down or disabled."""
    if not table.up[row]:
        return "it is down"
    why = table.reasons_disabled[row]
    return f"it is disabled: {why}" if why else "it is disabled"


def summary(_spec: RequestSpec, table: HostTable, rows: Rows) -> list[str]:
    """Count those that are down, and those disabled."""
    down = int((~table.up[rows]).sum())
    disabled = len(rows) - down
    texts = [counted(disabled, "is disabled", "are disabled")] if disabled else []
    return [*texts, counted(down, "is down", "are down")] if down else texts
