"""Weighers: which of the hosts that can take a server should."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from floe.core.server_groups import SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from floe.scheduler.hosts import HostTable, Rows, amounts
from floe.scheduler.spec import RequestSpec

Weights = NDArray[np.float64]


class Multipliers(msgspec.Struct, frozen=True, kw_only=True):
    """How much each weigher counts. Positive spreads servers over hosts, negative packs them together."""

    cpu: float = 1.0
    memory: float = 1.0
    disk: float = 1.0
    soft_affinity: float = 4.0
    failures: float = 2.0

    @property
    def packs(self) -> bool:
        """Whether the fullest of all hosts is wanted, so that every host has to be looked at."""
        return min(self.cpu, self.memory, self.disk) < 0


def weigh(spec: RequestSpec, table: HostTable, rows: Rows, multipliers: Multipliers) -> Weights:
    """Return a weight for each row, the highest for the host to choose."""
    if len(rows) <= 1:
        return np.zeros(len(rows), np.float64)
    free = table.capacity[rows] - table.used[rows] - np.array(amounts(spec.resources), np.int64)
    total = np.zeros(len(rows), np.float64)
    for column, factor in enumerate((multipliers.cpu, multipliers.memory, multipliers.disk)):
        if factor:
            total += factor * _normal(free[:, column].astype(np.float64))
    if (failures := table.failures[rows]).any():
        total -= multipliers.failures * _normal(failures.astype(np.float64))
    if spec.group is not None and spec.group_hosts:
        sign = {SOFT_AFFINITY: 1.0, SOFT_ANTI_AFFINITY: -1.0}.get(spec.group.policy, 0.0)
        if sign:
            members = table.column(spec.group_hosts)[rows].astype(np.float64)
            total += sign * multipliers.soft_affinity * _normal(members)
    return total


def _normal(values: Weights) -> Weights:
    """Stretch to 0..1; all zero where all are the same."""
    low, high = values.min(), values.max()
    if high == low:
        return np.zeros(len(values), np.float64)
    stretched: Weights = (values - low) / (high - low)
    return stretched
