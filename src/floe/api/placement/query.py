"""How Placement's query strings ask for resources, traits, trees and aggregates."""

from __future__ import annotations

import re
from uuid import UUID

from floe.api.kit.call import Call
from floe.api.kit.query import Param, Query, items
from floe.cloud.providers import ProviderQuery
from floe.core.errors import Invalid
from floe.core.ids import is_uuid

_RESOURCE = re.compile(r"([A-Z0-9_]+):(\d{1,18})")
_TRAIT = re.compile(r"[A-Z0-9_]{1,255}")
_GROUPED = re.compile(r"(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{1,64}|)")


def query_fault(name: str, wrong: str) -> str:
    """Say what is wrong with a parameter, in Placement's words."""
    return f"Invalid query string parameters: {name}: {wrong}."


def table(*params: Param) -> Query:
    """Return the table of a call's parameters; Placement refuses others at every version."""
    return Query(*params, fault=query_fault)


def resources(text: str, name: str = "resources") -> dict[str, int]:
    """Read `VCPU:2,MEMORY_MB:1024`. Raises Invalid."""
    found: dict[str, int] = {}
    for part in items(text, name):
        match = _RESOURCE.fullmatch(part.strip())
        if match is None or int(match[2]) < 1 or match[1] in found:
            raise Invalid(
                f"Badly formed {name} parameter: expected a comma separated list of CLASS:AMOUNT, each class once and "
                f"amounts of 1 or more; got {text[:80]!r}."
            )
        found[match[1]] = int(match[2])
    return found


def traits(call: Call, values: list[str]) -> ProviderQuery:
    """Read `required` parameters: traits, `!TRAIT` from 1.22 on, `in:A,B` and repeats from 1.39 on. Raises Invalid."""
    if len(values) > 1 and call.version < (1, 39):
        values = values[-1:]
    required: set[str] = set()
    forbidden: set[str] = set()
    choices: list[frozenset[str]] = []
    for value in values:
        if value.startswith("in:") and call.version >= (1, 39):
            choices.append(frozenset(_trait(part, value) for part in items(value[3:], "required")))
            continue
        for part in items(value, "required"):
            if part.startswith("!") and call.version >= (1, 22):
                forbidden.add(_trait(part[1:], value))
            else:
                required.add(_trait(part, value))
    both = required & forbidden
    if both:
        raise Invalid(f"Conflicting required and forbidden traits found: {', '.join(sorted(both))}.")
    return ProviderQuery(required=frozenset(required), forbidden=frozenset(forbidden), required_any=tuple(choices))


def in_aggregates(call: Call, values: list[str]) -> tuple[tuple[frozenset[str], ...], frozenset[str]]:
    """Read `member_of`: sets of aggregates of each of which one is wanted, and unwanted ones. Raises Invalid."""
    wanted: list[frozenset[str]] = []
    unwanted: set[str] = set()
    for value in values:
        negative = value.startswith("!") and call.version >= (1, 32)
        found = items(value.removeprefix("!" if negative else "").removeprefix("in:"), "member_of")
        for ident in found:
            if not is_uuid(ident):
                raise Invalid(
                    f"Invalid query string parameters: Expected 'member_of' to hold uuids; got {value[:80]!r}."
                )
        idents = frozenset(_dashed(ident) for ident in found)
        if negative:
            unwanted |= idents
        else:
            wanted.append(idents)
    return tuple(wanted), frozenset(unwanted)


def _dashed(ident: str) -> str:
    return str(UUID(ident))


def uuid(text: str, name: str) -> str:
    """Return a UUID. Raises Invalid."""
    if not is_uuid(text):
        raise Invalid(f"Invalid query string parameters: {name} must be a uuid (it is {text[:80]!r}).")
    return text.lower()


def grouped(call: Call) -> dict[str, dict[str, list[str]]]:
    """Return the parameters of each request group by its suffix."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name, value in call.query:
        match = _GROUPED.fullmatch(name)
        if match is not None:
            groups.setdefault(match[2], {}).setdefault(match[1], []).append(value)
    return groups


def _trait(text: str, value: str) -> str:
    text = text.strip()
    if not _TRAIT.fullmatch(text):
        raise Invalid(
            f"Invalid query string parameters: Expected 'required' to hold names of traits; got {value[:80]!r}."
        )
    return text
