"""How a part of a running cloud is, so far as a create needs it: `ok`, or what is the matter."""

from __future__ import annotations

from collections.abc import Mapping

OK = "ok"


def good(parts: Mapping[str, str]) -> bool:
    """Say whether all parts are such that servers can be created; a part may be so and have more to say."""
    return all(state.split(":")[0] == OK for state in parts.values())
