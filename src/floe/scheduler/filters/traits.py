"""Hosts with every trait the flavor and the image require, and none that they forbid."""

from __future__ import annotations

import numpy as np

from floe.scheduler.hosts import HostTable, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable, rows: Rows) -> Mask:
    """Compare bits; a trait that no host has ever had rejects all who need it."""
    mask = np.ones(len(rows), np.bool_)
    if spec.required:
        needed = table.trait_bits(spec.required)
        if needed is None:
            return np.zeros(len(rows), np.bool_)
        mask &= ((table.traits[rows] & needed) == needed).all(axis=1)
    for trait in spec.forbidden:
        bits = table.trait_bits((trait,))
        if bits is not None:
            mask &= ((table.traits[rows] & bits) == 0).all(axis=1)
    return mask


def reason(spec: RequestSpec, table: HostTable, row: int) -> str:
    """Name the traits that are missing, and those that are forbidden."""
    missing = [trait for trait in sorted(spec.required) if not table.has_trait(row, trait)]
    unwanted = [trait for trait in sorted(spec.forbidden) if table.has_trait(row, trait)]
    texts = [f"it lacks trait {', '.join(missing)}"] if missing else []
    if unwanted:
        texts.append(f"it has forbidden trait {', '.join(unwanted)}")
    return "; ".join(texts)


def summary(spec: RequestSpec, _table: HostTable, rows: Rows) -> list[str]:
    """Count them, with what was asked."""
    asked = [f"required {', '.join(sorted(spec.required))}"] if spec.required else []
    if spec.forbidden:
        asked.append(f"forbidden {', '.join(sorted(spec.forbidden))}")
    return [counted(len(rows), "lacks the traits", "lack the traits") + f" ({'; '.join(asked)})"]
