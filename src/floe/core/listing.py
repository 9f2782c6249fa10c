"""What part of a list is asked for: filters, order, and a window after a marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A thing is listed when, for every filtered field, its value is one of those given."""

    filters: Mapping[str, Sequence[Any]] = msgspec.field(default_factory=dict)
    sort: tuple[tuple[str, bool], ...] = ()
    """Fields in order, each with True for ascending."""
    limit: int | None = None
    offset: int = 0
    """How many of the first things are left out."""
    marker: str | None = None
    """The id of the last thing of the page before (of the page after, when `reverse`)."""
    also: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What is asked for besides that is no field of its own, by the name that the noun's rows know it by."""
    reverse: bool = False
    """Page backwards; the things themselves stay in the order asked for."""
