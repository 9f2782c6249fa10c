"""Hosts with room: what is free of each class, allocation ratios applied, and the units they allot."""

from __future__ import annotations

from typing import Any

import numpy as np

from floe.scheduler.hosts import HostTable, Keep, Mask, Rows, amounts, counted
from floe.scheduler.spec import RequestSpec

_WORDS = (("vCPUs", ""), ("memory", " MiB"), ("disk", " GiB"))


def keep(spec: RequestSpec, table: HostTable) -> Keep:
    """Keep hosts where all of it fits."""
    if spec.extra_classes:
        return lambda rows: np.zeros(len(rows), np.bool_)

    def fits(rows: Rows) -> Mask:
        mask = np.ones(len(rows), np.bool_)
        for column, asked in _asked(spec):
            mask &= _fitting(table, rows, column, asked)
        return mask

    return fits


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name each class that is short, with what was asked, what is free, and what there is in all."""
    texts = [f"it offers no {name}" for name in sorted(spec.extra_classes)]
    for column, asked in _asked(spec):
        capacity, used, least, most, step = table.of_class(column)[:, row].tolist()
        if _fits(asked, capacity, used, least, most, step):
            continue
        word, unit = _WORDS[column]
        free = max(0, capacity - used)
        if asked <= free:
            texts.append(f"{word}: {asked}{unit} asked, one server may take {most}{unit} at most")
        else:
            texts.append(f"{word}: {asked}{unit} asked, {free}{unit} free of {capacity}{unit}")
    return "; ".join(texts)


def summary(spec: RequestSpec, table: HostTable, rows: Rows) -> list[str]:
    """Count those short of each class, with the most that one of them could give."""
    texts = [counted(len(rows), "offers", "offer") + f" no {name}" for name in sorted(spec.extra_classes)]
    for column, asked in _asked(spec):
        short = rows[~_fitting(table, rows, column, asked)]
        if len(short):
            word, unit = _WORDS[column]
            free = np.minimum(table.capacity[short, column] - table.used[short, column], table.max_unit[short, column])
            most = max(0, int(free.max()))
            lack = counted(len(short), "lacks", "lack")
            texts.append(f"{lack} {word} ({asked}{unit} asked, at most {most}{unit} free)")
    return texts


def _asked(spec: RequestSpec) -> list[tuple[int, int]]:
    """Return the number of each class of which something is asked, and how much."""
    return [(column, asked) for column, asked in enumerate(amounts(spec.resources)) if asked]


def _fitting(table: HostTable, rows: Rows, column: int, asked: int) -> Mask:
    """Return per row whether so much of one class fits."""
    fits: Mask = _fits(asked, *(amount[rows] for amount in table.of_class(column)))
    return fits


def _fits(asked: int, capacity: Any, used: Any, least: Any, most: Any, step: Any) -> Any:
    """Say whether so much fits: of one host, whose amounts are plain numbers, or of each of several, in columns."""
    return (used + asked <= capacity) & (asked >= least) & (asked <= most) & (asked % step == 0)
