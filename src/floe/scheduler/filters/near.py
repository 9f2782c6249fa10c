"""Hosts whose address is in the network of the hint `build_near_host_ip`."""

from __future__ import annotations

from ipaddress import IPv4Network

import numpy as np

from floe.scheduler.hosts import HostTable, Keep, Mask, Rows, counted, halves
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Keep hosts of the network, which the hint `cidr` makes wider or narrower."""
    if spec.near is None:
        return None
    first = np.array(halves(spec.near.network_address), np.uint64)[:, np.newaxis]
    bits = spec.near.prefixlen + (96 if isinstance(spec.near, IPv4Network) else 0)
    whole = (1 << 128) - (1 << 128 - bits)
    mask = np.array([whole >> 64, whole & (1 << 64) - 1], np.uint64)[:, np.newaxis]
    addresses = table.addresses

    def fits(rows: Rows) -> Mask:
        inside: Mask = (addresses[:, rows] & mask == first).all(axis=0)
        return inside

    return fits


def reason(spec: RequestSpec, _table: HostTable, _row: int) -> str:
    """Name the network."""
    return f"hint build_near_host_ip: its address is not in {spec.near}"


def summary(_spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count them."""
    return [counted(len(rows), "is", "are") + " ruled out by the hint build_near_host_ip"]
