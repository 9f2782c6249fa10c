"""How the names of domains, projects, users, groups and roles are compared: without case."""

from __future__ import annotations


def fold(name: str) -> str:
    """Return what a name is compared by: Unicode's case folding, so that `STRASSE` is `straße`.

    Nothing else is done to it: a letter with its accent in one code point or in two makes two names.
    """
    return name.casefold()


def same_name(one: str, other: str) -> bool:
    """Say whether two names are the same but for case."""
    return fold(one) == fold(other)
