"""Planted bugs in what is done together: each comes in through what a gathering is given to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from floe.conductor.gathering import Gathering
from floe.simulation.planting import Plant, Planted, patched

_init = Gathering.__init__
Spoil = Callable[[Sequence[Any]], Sequence[Any]]


def _spoilt(name: str, spoil: Spoil) -> Plant:
    """Return what makes another thing of the results of each round of gatherings of that name."""

    def init(self: Gathering[Any, Any], known: str, together: Callable[..., Any], **options: Any) -> None:
        async def spoiling(items: Sequence[Any]) -> Sequence[Any]:
            return spoil(await together(items))

        _init(self, known, spoiling if known == name else together, **options)

    return patched((Gathering, "__init__", init))


def _all_the_first(results: Sequence[Any]) -> Sequence[Any]:
    return [results[0]] * len(results)


BATCHES = (
    Planted(
        "choice-of-another",
        "of those that are placed together, each claims what the first was promised",
        _spoilt("choices", _all_the_first),
    ),
    Planted(
        "action-of-another",
        "of the actions that are taken up together, the first is taken up for each",
        _spoilt("loads", _all_the_first),
    ),
)
