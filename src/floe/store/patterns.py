"""Searches by regular expression: the one door to RE2, whose time grows with the text and never explodes."""

from __future__ import annotations

import functools
import time
from typing import Any

from floe.core.errors import Invalid
from floe.core.patterns import refusal, translated

_MEMORY = 2 << 20
"""Bytes that one regular expression may take, compiled and searching; what would take more is refused."""
_SECONDS = 1.0
"""Processor time that one search over many texts may take."""
_OFTEN = 16


class Pattern:
    """A regular expression of a user: found anywhere in a text, upper and lower case alike.

    A text that is the same as the regular expression, letter by letter, fits too: clients search for a thing by its
    name, like `web (1)`, and compare the names themselves afterwards. Raises Invalid for what is none, or too large.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._search = _compiled(translated(text, name), text, name)

    def fits(self, text: str | None) -> bool:
        """Say whether a text fits. None, which is no text, never does."""
        return text is not None and (self._search.search(text) is not None or text == self._text)


class Budget:
    """What a search over many texts may cost. `spend` raises Invalid when it is used up."""

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._end = time.thread_time() + seconds
        self._calls = 0

    def spend(self) -> None:
        """Count one more text."""
        self._calls += 1
        if self._calls % _OFTEN == 0 and time.thread_time() > self._end:
            raise Invalid(
                f"This search takes too long: it was given up after {self._calls} rows. Use a simpler regular "
                "expression, or narrow the list by other filters."
            )


@functools.lru_cache(maxsize=8)
def _compiled(pattern: str, text: str, name: str) -> Any:
    import re2

    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        (why,) = error.args
        raise refusal(text, name, why.decode(errors="replace") if isinstance(why, bytes) else str(why)) from None
    finally:
        re2.purge()  # its own cache would hold 128 of them
