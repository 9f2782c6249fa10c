"""Figures and their marks: what a run measured, what it should be at most or at least, and whether it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mark:
    """What a figure should be: `at_most` so much, or else at least; `what` says of which work, in which unit."""

    what: str
    bound: float
    at_most: bool = True

    def met(self, value: float) -> bool:
        """Whether a figure is as it should be."""
        return value <= self.bound if self.at_most else value >= self.bound

    @property
    def text(self) -> str:
        """The bound in words."""
        return f"at {'most' if self.at_most else 'least'} {self.bound:g}"


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least value that at least such a share of all is no more than. Raises ValueError for none."""
    if not values or not 0 < share <= 1:
        raise ValueError(f"no percentile {share:g} of {len(values)} values")
    ordered = sorted(values)
    return ordered[max(-(-len(ordered) * round(share * 10_000) // 10_000), 1) - 1]


def judged(figures: Mapping[str, float], marks: Mapping[str, Mark]) -> dict[str, dict[str, Any]]:
    """Return each figure with its mark, if it has one; marks whose work was not done are named too, unmeasured."""
    told: dict[str, dict[str, Any]] = {}
    for name in (*figures, *(name for name in marks if name not in figures)):
        mark, value = marks.get(name), figures.get(name)
        told[name] = {"measured": None if value is None else round(value, 3)}
        if mark is not None:
            told[name] |= {"work": mark.what, "mark": mark.text, "met": None if value is None else mark.met(value)}
    return told


def lines(told: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what is printed of judged figures: those with a mark first."""
    ordered = sorted(told.items(), key=lambda item: "mark" not in item[1])
    return [_line(name, said) for name, said in ordered]


def _line(name: str, said: Mapping[str, Any]) -> str:
    value = "-" if said["measured"] is None else f"{said['measured']:.2f}"
    if "mark" not in said:
        return f"{name:40} {value:>10}"
    how = {True: "met", False: "MISSED", None: "not measured"}[said["met"]]
    return f"{name:40} {value:>10}   {said['mark']:16} {how:12}  {said['work']}"
