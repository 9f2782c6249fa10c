"""Hosts that can run the image: its architecture (`hw_architecture`) and hypervisor type (`img_hv_type`)."""

from __future__ import annotations

import numpy as np

from floe.scheduler.hosts import HostTable, Keep, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec

_ALSO = {"x86_64": ("i686",)}
"""What a processor runs beside its own."""


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep hosts of that architecture and type, where the image names one."""
    if not spec.architecture and not spec.hypervisor_type:
        return None

    def fits(rows: Rows) -> Mask:
        mask = np.ones(len(rows), np.bool_)
        if spec.architecture:
            fitting = {spec.architecture, *(host for host, others in _ALSO.items() if spec.architecture in others)}
            mask &= np.isin(table.architecture[rows], [table.code(name) for name in fitting])
        if spec.hypervisor_type:
            fitting = {spec.hypervisor_type, "qemu"} if spec.hypervisor_type == "kvm" else {spec.hypervisor_type}
            mask &= np.isin(table.hypervisor[rows], [table.code(name) for name in fitting])
        return mask

    return fits


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name what the image wants and what the host is."""
    has = f"{table.text(int(table.hypervisor[row]))} on {table.text(int(table.architecture[row]))}"
    return f"the image wants {_wanted(spec)}; it is {has}"


def summary(spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count them, with what the image wants."""
    return [counted(len(rows), "cannot", "cannot") + f" run the image (it wants {_wanted(spec)})"]


def _wanted(spec: RequestSpec) -> str:
    return " on ".join(word for word in (spec.hypervisor_type, spec.architecture) if word)
