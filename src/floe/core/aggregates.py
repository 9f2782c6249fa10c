"""Host aggregates: sets of hosts with a name and metadata, which may be an availability zone."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec

from floe.core.errors import Invalid, OverQuota
from floe.core.texts import is_printable

ZONE = "availability_zone"
"""The item of an aggregate's metadata that is no mere text: its hosts are in that zone."""
Demand: TypeAlias = tuple[str, str]
"""The key of an item of an aggregate's metadata, and what is required of its value."""
SCOPE = "aggregate_instance_extra_specs:"
"""What the extra specs of a flavor begin with that ask for hosts whose aggregates have a certain item."""
MAX_AGGREGATES = 1000
MAX_ITEMS = 128
"""Of one aggregate's metadata: where any changed, what flavors ask for is looked for in all of them."""


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """An aggregate as the database holds it; it gives out `id`. `items` are its metadata but for the zone."""

    id: int = 0
    uuid: str
    name: str
    zone: str | None = None
    items: Mapping[str, str] = msgspec.field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """All its metadata, the zone among them."""
        return {**self.items, **({} if self.zone is None else {ZONE: self.zone})}


def zone_name(text: str) -> str:
    """Return the name of a zone. Raises Invalid for one that no server could be asked for in."""
    if not 0 < len(text) <= 255 or ":" in text or text != text.strip() or not is_printable(text):
        raise Invalid(
            f"Invalid input for field/attribute {ZONE}: {text[:80]!r}; a zone's name has 1 to 255 characters that can "
            "be shown, no ':', and no white space at either end."
        )
    return text


RESOURCE = "aggregate"
"""What they are counted as, for the whole cloud."""


def check_room(there: int) -> None:
    """Raise OverQuota where there are so many aggregates that there may be no more."""
    if there >= MAX_AGGREGATES:
        raise OverQuota(f"Quota exceeded for aggregates: requested 1, already used {there}, limit {MAX_AGGREGATES}.")


def with_changes(metadata: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return metadata with some items set, and without those that are null. Raises OverQuota."""
    kept = {**metadata, **changes}
    found = {key: value for key, value in kept.items() if value is not None}
    if len(found) > MAX_ITEMS:
        raise OverQuota(f"Quota exceeded for metadata_items: requested {len(found)}, limit {MAX_ITEMS}.")
    return found


def demands(extra_specs: Mapping[str, str]) -> frozenset[Demand]:
    """Return what a flavor asks of its hosts' aggregates."""
    scoped = ((key.removeprefix(SCOPE), asked) for key, asked in extra_specs.items() if key.startswith(SCOPE))
    return frozenset((key, asked) for key, asked in scoped if key)


def fitting(aggregates: Iterable[Aggregate], asked: Iterable[Demand]) -> dict[Demand, frozenset[int]]:
    """Return for each demand the ids of the aggregates that meet it.

    A value with commas in it is several, of which one has to do. A host has to be in one aggregate of each set.
    """
    found: dict[Demand, set[int]] = {demand: set() for demand in asked}
    for each in aggregates:
        metadata = each.metadata
        for (key, requirement), having in found.items():
            if key in metadata and any(meets(value.strip(), requirement) for value in metadata[key].split(",")):
                having.add(each.id)
    return {demand: frozenset(having) for demand, having in found.items()}


def meets(value: str, requirement: str) -> bool:
    """Say whether a value meets a requirement: an operator with what it compares to, or a text to be equal to.

    The operators are those of Nova's `extra_specs_ops`; a number is wanted on both sides of the unquoted ones.
    """
    operation, *operands = requirement.split() or [""]
    if operation == "<or>":
        return value in operands[::2]
    if operation == "<all-in>":
        return bool(operands) and all(part in value for part in operands)
    if operation in _TEXTS:
        return bool(operands) and _TEXTS[operation](value, operands[0])
    if operation in _NUMBERS:
        return bool(operands) and _compared(_NUMBERS[operation], value, operands[0])
    return value == requirement


_TEXTS: Mapping[str, Callable[[str, str], bool]] = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
    "<in>": operator.contains,
}
_NUMBERS: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.ge,  # sic: "equal to or greater than", says Nova's documentation
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
}
_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})([eE][+-]?\d{1,3})?", re.ASCII)


def _compared(compare: Callable[[float, float], bool], value: str, operand: str) -> bool:
    if not (_NUMBER.fullmatch(value) and _NUMBER.fullmatch(operand)):
        return False
    return compare(float(value), float(operand))
