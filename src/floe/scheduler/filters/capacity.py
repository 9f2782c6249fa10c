"""Hosts with room: what is free of each class, allocation ratios applied, and the units they allot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from floe.scheduler.hosts import HostTable, Mask, Rows, amounts, counted
from floe.scheduler.spec import RequestSpec

_WORDS = (("vCPUs", ""), ("memory", " MiB"), ("disk", " GiB"))


def keep(spec: RequestSpec, table: HostTable, rows: Rows) -> Mask:
    """Keep hosts where all of it fits."""
    if spec.extra_classes:
        return np.zeros(len(rows), np.bool_)
    fits: Mask = np.all(_fitting(spec, table, rows), axis=1)
    return fits


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name each class that is short, with what was asked, what is free, and what there is in all."""
    texts = [f"it offers no {name}" for name in sorted(spec.extra_classes)]
    fitting = _fitting(spec, table, np.array([row], np.intp))[0]
    for column, asked in enumerate(amounts(spec.resources)):
        if fitting[column]:
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
    fitting = _fitting(spec, table, rows)
    for column, asked in enumerate(amounts(spec.resources)):
        short = rows[~fitting[:, column]]
        if len(short):
            word, unit = _WORDS[column]
            free = np.minimum(table.capacity[short, column] - table.used[short, column], table.max_unit[short, column])
            most = max(0, int(free.max()))
            lack = counted(len(short), "lacks", "lack")
            texts.append(f"{lack} {word} ({asked}{unit} asked, at most {most}{unit} free)")
    return texts


def _fitting(spec: RequestSpec, table: HostTable, rows: Rows) -> NDArray[np.bool_]:
    """Return per row and class whether it fits; a class of which nothing is asked always does."""
    asked = np.array(amounts(spec.resources), np.int64)
    fits: NDArray[np.bool_] = (
        (table.used[rows] + asked <= table.capacity[rows])
        & (asked >= table.min_unit[rows])
        & (asked <= table.max_unit[rows])
        & (asked % np.maximum(table.step[rows], 1) == 0)
    ) | (asked == 0)
    return fits
