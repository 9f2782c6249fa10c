"""Hosts that are in the aggregates that the flavor asks for (`aggregate_instance_extra_specs:`)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from floe.core.aggregates import Demand
from floe.scheduler.hosts import HostTable, Keep, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep hosts that are, for each thing asked for, in an aggregate that has it."""
    if not spec.aggregates:
        return None
    asked = [table.in_any(having) for having in spec.aggregates.values()]

    def fits(rows: Rows) -> Mask:
        mask = np.ones(len(rows), np.bool_)
        for each in asked:
            mask &= each(rows)
        return mask

    return fits


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name what none of its aggregates has."""
    there = table.aggregates(row)
    missing = [asked for asked, having in spec.aggregates.items() if having.isdisjoint(there)]
    return f"it is in no aggregate with {_said(missing)}"


def summary(spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count them, with what is asked."""
    return [counted(len(rows), "is", "are") + f" in no aggregate with {_said(spec.aggregates)}"]


def _said(asked: Iterable[Demand]) -> str:
    return ", ".join(f"{key}={requirement}" for key, requirement in sorted(asked))
