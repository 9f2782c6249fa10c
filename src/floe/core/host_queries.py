"""The scheduler hint `query`: a condition on hosts, as the JSON filter of the compute API has it.

    ["and", [">=", "$free_ram_mb", 1024], ["not", ["in", "$hypervisor_hostname", "h1", "h2"]]]

It is read whole at the create, kinds of values included, so that no host it is asked of can make it fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from floe.core.errors import Invalid

MAX_CHARACTERS = 4096
MAX_DEPTH = 16
MAX_TERMS = 128
"""Things compared, in all: each is looked at for every host."""
NUMBERS = (
    *("free_ram_mb", "free_disk_mb", "total_usable_ram_mb", "total_usable_disk_gb", "disk_mb_used"),
    *("vcpus_total", "vcpus_used"),
)
TEXTS = ("host", "nodename", "hypervisor_hostname")
"""Variables by their kind. Of a host that is its own hypervisor the three names are one."""

_COMPARISONS = ("=", "<", ">", "in", "<=", ">=")
_JOINS = ("not", "or", "and")
_LARGEST = 2**53
"""Up to which whole numbers and fractions compare exactly."""


class Variable(msgspec.Struct, frozen=True):
    """What a host says of itself, by name, without the dollar."""

    name: str


Operand: TypeAlias = Variable | str | int | float


class Comparison(msgspec.Struct, frozen=True):
    """The first operand compared with each of the others: all must hold; of `in` one."""

    sign: Literal["=", "<", ">", "in", "<=", ">="]
    first: Operand
    others: tuple[Operand, ...]


class Join(msgspec.Struct, frozen=True):
    """Conditions together. `not` holds where one of its own does not, as in the compute API."""

    word: Literal["not", "or", "and"]
    of: tuple[Condition, ...]


Condition: TypeAlias = Comparison | Join


def read(text: Any) -> Condition | None:
    """Read a query; None is one that asks nothing (`[]`, or an empty text). Raises Invalid, saying what is wrong."""
    if not isinstance(text, str):
        raise _wrong("it must be a text that holds a JSON list")
    if len(text) > MAX_CHARACTERS:
        raise _wrong(f"it has {len(text)} characters, and {MAX_CHARACTERS} are the most")
    try:
        found = msgspec.json.decode(text or "[]")
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise _wrong("it is not JSON") from None
    except RecursionError:
        raise _too_deep() from None
    if found == []:
        return None
    condition = _condition(found, 1)
    if (terms := _terms(condition)) > MAX_TERMS:
        raise _wrong(f"it compares {terms} things, and {MAX_TERMS} are the most")
    return condition


def variables(condition: Condition) -> tuple[str, ...]:
    """Return the names of a condition's variables, each once, in the order in which they stand there."""
    if isinstance(condition, Join):
        named = [name for each in condition.of for name in variables(each)]
    else:
        operands = (condition.first, *condition.others)
        named = [operand.name for operand in operands if isinstance(operand, Variable)]
    return tuple(dict.fromkeys(named))


def _condition(found: Any, depth: int) -> Condition:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if not isinstance(found, list) or not found:
        raise _wrong(f"{_shown(found)} stands where a list like ['=', '$host', 'h1'] is meant")
    word, rest = found[0], found[1:]
    if word in _JOINS:
        if not rest:
            raise _wrong(f"{word!r} has nothing after it")
        return Join(word, tuple(_condition(each, depth + 1) for each in rest))
    if word not in _COMPARISONS:
        raise _wrong(f"{_shown(word)} is none of {', '.join((*_COMPARISONS, *_JOINS))}")
    if len(rest) < 2:
        raise _wrong(f"{word!r} compares at least two things")
    operands = tuple(_operand(each) for each in rest)
    _check_alike(word, operands)
    return Comparison(word, operands[0], operands[1:])


def _terms(condition: Condition) -> int:
    return sum(map(_terms, condition.of)) if isinstance(condition, Join) else 1 + len(condition.others)


def _operand(found: Any) -> Operand:
    if isinstance(found, str):
        if not found.startswith("$"):
            return found
        if found[1:] not in (*NUMBERS, *TEXTS):
            known = ", ".join(f"${name}" for name in (*NUMBERS, *TEXTS))
            raise _wrong(f"{_shown(found)} is no variable; there are {known}")
        return Variable(found[1:])
    if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > _LARGEST:
        raise _wrong(f"{_shown(found)} is no variable, text, or number of at most {_LARGEST}")
    return found


def _check_alike(sign: str, operands: Sequence[Operand]) -> None:
    if len({_is_text(operand) for operand in operands}) > 1:
        raise _wrong(f"{sign!r} compares a number with a text")


def _is_text(operand: Operand) -> bool:
    return operand.name in TEXTS if isinstance(operand, Variable) else isinstance(operand, str)


def _shown(found: Any) -> str:
    return repr(found)[:80]


def _too_deep() -> Invalid:
    return _wrong(f"its lists lie more than {MAX_DEPTH} deep")


def _wrong(why: str) -> Invalid:
    return Invalid(f"Scheduler hint query cannot be read: {why}.")
