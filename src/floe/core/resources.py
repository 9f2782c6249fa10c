"""Amounts of what a host has and a server takes."""

from __future__ import annotations

import msgspec


class Resources(msgspec.Struct, frozen=True):
    """Virtual CPUs, memory in MiB, local disk in GiB."""

    vcpus: int = 0
    memory_mib: int = 0
    disk_gib: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.vcpus + other.vcpus, self.memory_mib + other.memory_mib, self.disk_gib + other.disk_gib)

    def by_class(self) -> dict[str, int]:
        """Return the amounts under Placement's names of resource classes, zeros left out."""
        amounts = {"VCPU": self.vcpus, "MEMORY_MB": self.memory_mib, "DISK_GB": self.disk_gib}
        return {name: amount for name, amount in amounts.items() if amount}


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What a host offers of one class: `total` less `reserved`, times `allocation_ratio`, in units of `unit`."""

    resource_class: str
    total: int
    reserved: int = 0
    allocation_ratio: float = 1.0
    min_unit: int = 1
    max_unit: int = 2**31 - 1
    step_size: int = 1

    @property
    def capacity(self) -> int:
        """How much may be allocated in all."""
        return int((self.total - self.reserved) * self.allocation_ratio)
