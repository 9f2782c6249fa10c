"""Tags: short texts that users put on a thing, to find it by."""

from __future__ import annotations

from collections.abc import Iterable

from floe.core.errors import Invalid

MAX_LENGTH = 255
"""Characters of a tag, as in Neutron."""
MAX_TAGS = 50
"""Tags of a thing, as many as a server may have."""


def checked_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as they are kept: each once, in order. Raises Invalid for too many."""
    found = tuple(sorted(set(tags)))
    if len(found) > MAX_TAGS:
        raise Invalid(f"Invalid input for tags: {len(found)} tags; a thing may have at most {MAX_TAGS}.")
    return found
