"""Logs: one line per event on standard error, with time, level, and where it came from."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}


class _OneLine(logging.Formatter):
    """Keeps an event in one line: what a tenant named must not look like another event, or move the cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return super().formatMessage(record).translate(_CONTROL)


def configure(level: str) -> None:
    """Send this process's logs to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = _OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn.access").disabled = True
    for chatty in ("uvicorn.error", "alembic"):
        logging.getLogger(chatty).setLevel("WARNING")


class Rarely:
    """Says what one kind of caller can make happen any number of times: once, and again after a quiet minute.

    The next time it is said with how often it happened unsaid, so that a log cannot be filled by whoever is refused.
    """

    def __init__(
        self, logger: logging.Logger, *, quiet: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._quiet = quiet
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}

    def warning(self, kind: str, text: str, *values: object) -> None:
        """Log a warning of a kind, or hold it back; there are few kinds, and none that a tenant chooses."""
        self._say(logging.WARNING, kind, text, *values)

    def error(self, kind: str, text: str, *values: object) -> None:
        """Do the same with an error."""
        self._say(logging.ERROR, kind, text, *values)

    def _say(self, level: int, kind: str, text: str, *values: object) -> None:
        now = self._clock()
        last, unsaid = self._kinds.get(kind, (float("-inf"), 0))
        if now - last < self._quiet:
            self._kinds[kind] = (now, unsaid + 1)
            return
        before = f" ({unsaid} more since it was last said)" if unsaid else ""
        self._logger.log(level, text + before, *values)
        self._kinds[kind] = (now, 0)
