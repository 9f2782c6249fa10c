"""Hosts with room: what is free of each class, allocation ratios applied, and the units they allot."""

from __future__ import annotations

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
        if _fitting(table, np.array([row], np.intp), column, asked)[0]:
            continue
        word, unit = _WORDS[column]
        capacity = int(table.capacity[row, column])
        free = max(0, capacity - int(table.used[row, column]))
        most = int(table.max_unit[row, column])
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
    fits: Mask = (
        (table.used[:, column][rows] + asked <= table.capacity[:, column][rows])
        & (asked >= table.min_unit[:, column][rows])
        & (asked <= table.max_unit[:, column][rows])
        & (asked % np.maximum(table.step[:, column][rows], 1) == 0)
    )
    return fits
