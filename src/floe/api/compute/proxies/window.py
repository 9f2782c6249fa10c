"""Until when there were proxies, and how they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from floe.core.errors import Conflict, Gone, Invalid, OverQuota
from floe.core.networks import NoRoom

UNTIL = (2, 35)
"""The last microversion that has them."""
UNTIL_OF_IMAGE_METADATA = (2, 38)


@contextmanager
def refusals() -> Iterator[None]:
    """Refuse as Nova did: of what the network API calls a conflict, no room is forbidden, and all else wrong."""
    try:
        yield
    except NoRoom as error:
        raise OverQuota(error.message) from error
    except Conflict as error:
        raise Invalid(error.message) from error


def removed(what: str) -> Gone:
    """Return the refusal of a call that Nova has removed, at all microversions."""
    return Gone(f"{what} worked with networks of the compute service alone, and is gone; use the network API.")
