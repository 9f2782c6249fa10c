"""Hosts of which the hint `query` holds, as they were when they were looked at."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np

from floe.core.disks import MIB_PER_GIB
from floe.core.host_queries import Comparison, Condition, Operand, Variable, variables
from floe.scheduler.hosts import HostTable, Keep, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec

_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "in": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_VCPU, _MEMORY, _DISK = range(3)


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep hosts of which it holds."""
    query = spec.query
    if query is None:
        return None
    return lambda rows: _holds(query, table, rows)


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name what the host has of what was asked about."""
    assert spec.query is not None
    only = np.array([row], np.intp)
    has = ", ".join(f"${name} is {VARIABLES[name](table, only).tolist()[0]}" for name in variables(spec.query))
    return "hint query: it does not hold" + (f"; {has}" if has else "")


def summary(_spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count them."""
    return [counted(len(rows), "is", "are") + " ruled out by the hint query"]


def _holds(condition: Condition, table: HostTable, rows: Rows) -> Mask:
    if isinstance(condition, Comparison):
        return _compared(condition, table, rows)
    held = (_holds(each, table, rows) for each in condition.of)
    if condition.word == "or":
        return reduce(operator.or_, held)
    every = reduce(operator.and_, held)
    return ~every if condition.word == "not" else every


def _compared(asked: Comparison, table: HostTable, rows: Rows) -> Mask:
    compare, first = _COMPARED[asked.sign], _value(asked.first, table, rows)
    found: Iterator[Mask] = (
        np.broadcast_to(np.asarray(compare(first, _value(each, table, rows)), np.bool_), len(rows))
        for each in asked.others
    )
    return reduce(operator.or_ if asked.sign == "in" else operator.and_, found)


def _value(operand: Operand, table: HostTable, rows: Rows) -> Any:
    """Return a place for each row, or one value for all."""
    return VARIABLES[operand.name](table, rows) if isinstance(operand, Variable) else operand


def _names(table: HostTable, rows: Rows) -> Any:
    return np.array([table.names[row] for row in rows.tolist()], np.object_)


def _free(column: int, unit: int) -> Callable[[HostTable, Rows], Any]:
    """Free is what is there, less what is kept back and what was promised: below zero where more was promised."""
    return lambda table, rows: (
        (table.total[rows, column] - table.reserved[rows, column] - table.used[rows, column]) * unit
    )


VARIABLES: Mapping[str, Callable[[HostTable, Rows], Any]] = {
    "free_ram_mb": _free(_MEMORY, 1),
    "free_disk_mb": _free(_DISK, MIB_PER_GIB),
    "total_usable_ram_mb": lambda table, rows: table.total[rows, _MEMORY],
    "total_usable_disk_gb": lambda table, rows: table.total[rows, _DISK],
    "disk_mb_used": lambda table, rows: table.used[rows, _DISK] * MIB_PER_GIB,
    "vcpus_total": lambda table, rows: table.total[rows, _VCPU],
    "vcpus_used": lambda table, rows: table.used[rows, _VCPU],
    "host": _names,
    "nodename": _names,
    "hypervisor_hostname": _names,
}
"""What each variable of a query is."""
