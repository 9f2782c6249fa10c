"""All hosts as numpy columns: one row per host, updated in place, so that a decision costs microseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import copy
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import repeat
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from floe.core.hosts import CLASSES, Host, HostSeen
from floe.core.resources import Resources

Rows = NDArray[np.intp]
"""Numbers of rows."""
Mask = NDArray[np.bool_]
"""One bool for each of some rows."""
Keep: TypeAlias = Callable[[Rows], Mask]
"""Says of some rows which are kept. It is made once for a decision, and asked of part after part of the table."""

_WORD = 64
_PLANES, _STEP = 7, 5
"""Amounts of each class, and how many of these say what one server may take."""
_MANY = 16_384
"""Addresses of hosts that are kept read: to read one takes as long as half of all else of a host."""
Address: TypeAlias = IPv4Address | IPv6Address


class HostTable:
    """The columns. Amounts (`capacity`, `used`, `min_unit`, ...) have one column per class of `CLASSES`.

    `capacity` is what may be promised: (total - reserved) * ratio. `zone`, `architecture` and `hypervisor` hold
    numbers that `code` gives out; `traits` holds bits that `trait_bit` gives out; `addresses` has two lines, as
    `halves` gives them. Hosts that are in the same aggregates have the same number for them: what is asked of
    aggregates is asked of each such set once.
    """

    def __init__(self, hosts: Iterable[Host] = ()) -> None:
        self.names: list[str] = []
        self.reasons_disabled: list[str] = []
        self._started: list[datetime] = []
        self._index: dict[str, int] = {}
        self._codes: dict[str, int] = {"": 0}
        self._texts = [""]
        self._trait_bits: dict[str, int] = {}
        self._sets: dict[tuple[int, ...], int] = {(): 0}
        self._numbered: list[tuple[int, ...]] = [()]
        self._room = 0
        self._amounts = np.zeros((_PLANES, 0, len(CLASSES)), np.int64)
        self._flags = np.zeros((2, 0), np.bool_)
        self._coded = np.zeros((4, 0), np.int32)
        self._failures = np.zeros(0, np.int32)
        self._traits = np.zeros((0, 1), np.uint64)
        self._addresses = np.zeros((2, 0), np.uint64)
        for host in hosts:
            self.put(host)

    def __len__(self) -> int:
        return len(self.names)

    capacity = property(lambda self: self._amounts[0])
    used = property(lambda self: self._amounts[1])
    min_unit = property(lambda self: self._amounts[2])
    max_unit = property(lambda self: self._amounts[3])
    step = property(lambda self: self._amounts[4])
    total = property(lambda self: self._amounts[5])
    reserved = property(lambda self: self._amounts[6])
    enabled = property(lambda self: self._flags[0])
    up = property(lambda self: self._flags[1])
    zone = property(lambda self: self._coded[0])
    architecture = property(lambda self: self._coded[1])
    hypervisor = property(lambda self: self._coded[2])
    failures = property(lambda self: self._failures)
    traits = property(lambda self: self._traits)
    addresses = property(lambda self: self._addresses)

    def put(self, host: Host, *, up: bool = True) -> bool:
        """Add a host, or bring its row up to date; say whether that changed anything."""
        row = self._index.get(host.name)
        before = None if row is None else self._state(row)
        if row is None:
            row = self._append(host)
        for column, resource_class in enumerate(CLASSES):
            inventory = host.inventory(resource_class)
            self._amounts[:, row, column] = (
                inventory.capacity,
                host.used.by_class().get(resource_class, 0),
                inventory.min_unit,
                inventory.max_unit,
                max(inventory.step_size, 1),
                inventory.total,
                inventory.reserved,
            )
        self._flags[:, row] = (host.enabled, up)
        self.reasons_disabled[row], self._started[row] = host.disabled_reason or "", host.started_at
        self._coded[:, row] = (
            self._learn(host.zone),
            self._learn(host.cpu_info.get("arch", "")),
            self._learn(host.hypervisor_type.lower()),
            self._learn_set(host.aggregates),
        )
        self._addresses[:, row] = _halves_of(host.address)
        bits = [self._learn_trait(trait) for trait in host.traits]
        self._traits[row] = 0
        for bit in bits:
            self._traits[row, bit // _WORD] |= np.uint64(1 << (bit % _WORD))
        return self._state(row) != before

    def remove(self, name: str) -> None:
        """Forget a host; the last row takes its place."""
        row, last = self._index.pop(name, None), len(self.names) - 1
        if row is None:
            return
        if row != last:
            for array in (self._amounts, self._flags, self._coded, self._addresses):
                array[:, row] = array[:, last]
            self._failures[row], self._traits[row] = self._failures[last], self._traits[last]
            self.names[row], self.reasons_disabled[row] = self.names[last], self.reasons_disabled[last]
            self._started[row] = self._started[last]
            self._index[self.names[row]] = row
        self.names.pop()
        self.reasons_disabled.pop()
        self._started.pop()

    def row(self, name: str) -> int | None:
        """Return the row of a host."""
        return self._index.get(name)

    def of_class(self, column: int) -> NDArray[np.int64]:
        """Return capacity, used, min_unit, max_unit and step of one class: five lines with a place for each row."""
        return self._amounts[:_STEP, :, column]

    def rows(self, names: Collection[str]) -> Rows:
        """Return the rows of those of the hosts that are known."""
        found = self._found(names)
        return found[found >= 0]

    def marked(self, names: Collection[str]) -> Mask:
        """Return for every row whether its host is one of these."""
        mask = np.zeros(len(self), np.bool_)
        mask[self.rows(names)] = True
        return mask

    def column(self, values: Mapping[str, int]) -> NDArray[np.int64]:
        """Return for every row the number that its host has here; 0 where it has none."""
        found = np.zeros(len(self) + 1, np.int64)  # hosts that are not known share the last place, which is cut off
        found[self._found(values)] = np.fromiter(values.values(), np.int64, len(values))
        return found[:-1]

    def set_up(self, name: str, up: bool) -> None:
        """Note that a host is up, or down."""
        row = self._index.get(name)
        if row is not None:
            self._flags[1, row] = up

    def take(self, name: str, resources: Resources, sign: int = 1) -> None:
        """Note that resources were taken of a host (or given back, with -1)."""
        row = self._index.get(name)
        if row is not None:
            self._amounts[1, row] += sign * np.array(amounts(resources))

    def trial(self) -> HostTable:
        """Return a copy to take from on trial: this table changes apart from it."""
        made = copy(self)
        made.names, made.reasons_disabled = list(self.names), list(self.reasons_disabled)
        made._started = list(self._started)
        made._index = dict(self._index)
        made._amounts, made._flags, made._coded = self._amounts.copy(), self._flags.copy(), self._coded.copy()
        made._failures, made._traits = self._failures.copy(), self._traits.copy()
        made._addresses = self._addresses.copy()
        return made

    def note_failure(self, name: str, failed: bool) -> None:
        """Count builds that failed on a host in a row; one that succeeds ends the row."""
        row = self._index.get(name)
        if row is not None:
            self._failures[row] = self._failures[row] + 1 if failed else 0

    def code(self, text: str) -> int:
        """Return the number of a zone, architecture or hypervisor type; -1 for one that no host has."""
        return self._codes.get(text, -1)

    def text(self, code: int) -> str:
        """Return what a number stands for."""
        return self._texts[code]

    def in_any(self, aggregates: Collection[int]) -> Keep:
        """Return what says of rows whether their hosts are in any of these aggregates."""
        wanted = frozenset(aggregates)
        allowed = np.fromiter((not wanted.isdisjoint(known) for known in self._sets), np.bool_, len(self._sets))
        numbers = self._coded[3]
        return lambda rows: allowed[numbers[rows]]

    def aggregates(self, row: int) -> tuple[int, ...]:
        """Return the ids of the aggregates that a host is in."""
        return self._numbered[int(self._coded[3, row])]

    def seen(self, row: int) -> HostSeen:
        """Return what a host is chosen by, as it is now."""
        zone = self.text(int(self._coded[0, row]))
        return HostSeen(self.names[row], zone, self.aggregates(row), self._started[row])

    def trait_bits(self, traits: Iterable[str]) -> NDArray[np.uint64] | None:
        """Return a row of words with the bits of these traits; None if no host ever had one of them."""
        words = np.zeros(self._traits.shape[1], np.uint64)
        for trait in traits:
            bit = self._trait_bits.get(trait)
            if bit is None:
                return None
            words[bit // _WORD] |= np.uint64(1 << (bit % _WORD))
        return words

    def knows_trait(self, trait: str) -> bool:
        """Say whether any host ever had a trait."""
        return trait in self._trait_bits

    def has_trait(self, row: int, trait: str) -> bool:
        """Say whether a host has a trait."""
        bit = self._trait_bits.get(trait)
        return bit is not None and bool(int(self._traits[row, bit // _WORD]) >> (bit % _WORD) & 1)

    def _found(self, names: Collection[str]) -> Rows:
        """Return the row of each host, -1 for one that is not known."""
        return np.fromiter(map(self._index.get, names, repeat(-1)), np.intp, len(names))

    def _state(self, row: int) -> tuple[bytes, ...]:
        columns = (
            *(each[:, row] for each in (self._amounts, self._flags, self._coded, self._addresses)),
            self._traits[row],
        )
        return (*(column.tobytes() for column in columns), self.reasons_disabled[row].encode())

    def _append(self, host: Host) -> int:
        row = len(self.names)
        if row == self._room:
            more = max(16, self._room)
            self._amounts = np.concatenate([self._amounts, np.zeros((_PLANES, more, len(CLASSES)), np.int64)], axis=1)
            self._flags = np.concatenate([self._flags, np.zeros((2, more), np.bool_)], axis=1)
            self._coded = np.concatenate([self._coded, np.zeros((4, more), np.int32)], axis=1)
            self._addresses = np.concatenate([self._addresses, np.zeros((2, more), np.uint64)], axis=1)
            self._failures = np.concatenate([self._failures, np.zeros(more, np.int32)])
            self._traits = np.concatenate([self._traits, np.zeros((more, self._traits.shape[1]), np.uint64)])
            self._room += more
        self._failures[row] = 0
        self.names.append(host.name)
        self.reasons_disabled.append("")
        self._started.append(host.started_at)
        self._index[host.name] = row
        return row

    def _learn(self, text: str) -> int:
        code = self._codes.setdefault(text, len(self._codes))
        if code == len(self._texts):
            self._texts.append(text)
        return code

    def _learn_set(self, aggregates: tuple[int, ...]) -> int:
        if aggregates not in self._sets and len(self._sets) > 2 * len(self) + _WORD:
            self._forget_sets()
        number = self._sets.setdefault(aggregates, len(self._sets))
        if number == len(self._numbered):
            self._numbered.append(aggregates)
        return number

    def _forget_sets(self) -> None:
        """Number anew the sets of aggregates that hosts are in, without those that they were in once."""
        used = self._coded[3, : len(self)]
        kept = [known for known, number in self._sets.items() if not known or (used == number).any()]
        renumbered = np.zeros(len(self._sets), np.int32)
        for number, known in enumerate(kept):
            renumbered[self._sets[known]] = number
        self._coded[3, : len(self)] = renumbered[used]
        self._sets, self._numbered = {known: number for number, known in enumerate(kept)}, kept

    def _learn_trait(self, trait: str) -> int:
        bit = self._trait_bits.setdefault(trait, len(self._trait_bits))
        if bit // _WORD >= self._traits.shape[1]:
            wider = np.zeros((self._traits.shape[0], 1), np.uint64)
            self._traits = np.concatenate([self._traits, wider], axis=1)
        return bit


def amounts(resources: Resources) -> tuple[int, int, int]:
    """Return resources in the order of `CLASSES`."""
    return (resources.vcpus, resources.memory_mib, resources.disk_gib)


def halves(address: Address | None) -> tuple[int, int]:
    """Return an address in two words of 64 bits, an IPv4 one as IPv6 writes it; zeros for none."""
    number = 0 if address is None else int(address)
    if isinstance(address, IPv4Address):
        number |= 0xFFFF << 32
    return number >> _WORD, number & (1 << _WORD) - 1


@lru_cache(maxsize=_MANY)
def _halves_of(address: str) -> tuple[int, int]:
    try:
        return halves(ip_address(address))
    except ValueError:
        return halves(None)


def kept(keep: Keep | None, rows: Rows) -> Rows:
    """Return those of the rows that are kept; None keeps all."""
    return rows if keep is None else rows[keep(rows)]


def counted(number: int, one: str, many: str) -> str:
    """Write `1 is disabled`, `3 are disabled`."""
    return f"{number} {one if number == 1 else many}"
