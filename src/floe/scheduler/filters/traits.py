"""Hosts with every trait the flavor and the image require, and none that they forbid."""

from __future__ import annotations

import numpy as np

from floe.scheduler.hosts import HostTable, Keep, Mask, Rows, counted
from floe.scheduler.spec import RequestSpec


def keep(spec: RequestSpec, table: HostTable) -> Keep | None:
    """Compare bits; a trait that no host has ever had rejects all who need it."""
    if not spec.required and not spec.forbidden:
        return None
    needed = table.trait_bits(spec.required)
    unwanted = table.trait_bits(trait for trait in spec.forbidden if table.knows_trait(trait))
    if needed is None or unwanted is None:
        return lambda rows: np.zeros(len(rows), np.bool_)

    def fits(rows: Rows) -> Mask:
        bits = table.traits[rows]
        mask: Mask = ((bits & needed == needed) & (bits & unwanted == 0)).all(axis=1)
        return mask

    return fits


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
