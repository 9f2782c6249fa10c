"""How a bug is planted from outside, for as long as its context lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug: a name, what is wrong, and what plants it."""

    name: str
    text: str
    plant: Callable[[], AbstractContextManager[None]]


def patched(*changes: tuple[Any, str, Any]) -> Callable[[], AbstractContextManager[None]]:
    """Return what puts values in the places of others: (where, name, value)."""

    @contextmanager
    def plant() -> Iterator[None]:
        patches = [patch.object(where, name, value) for where, name, value in changes]
        for each in patches:
            each.start()
        try:
            yield
        finally:
            for each in patches:
                each.stop()

    return plant
