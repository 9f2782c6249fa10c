"""What is told of a database that does not do its work: to whoever asked in our words, to the operator in its own."""

from __future__ import annotations

import logging
import sqlite3

import sqlalchemy as sa

from floe.core.errors import StoreUnavailable, Unavailable
from floe.logs import Rarely

log = logging.getLogger(__name__)

_WHY = {
    sqlite3.SQLITE_BUSY: "another process has it locked",
    sqlite3.SQLITE_LOCKED: "another process has it locked",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_IOERR: "its disk fails",
    sqlite3.SQLITE_CANTOPEN: "its file cannot be opened",
    sqlite3.SQLITE_READONLY: "its file may not be written",
    sqlite3.SQLITE_PERM: "its file may not be opened",
    sqlite3.SQLITE_CORRUPT: "its file is damaged",
    sqlite3.SQLITE_NOTADB: "its file is damaged",
    sqlite3.SQLITE_NOMEM: "there is no memory left",
}
"""What is wrong with the database, and no fault of the one who asked, nor of the statement."""


class Trouble:
    """Turns errors of the database into what may be told of them; what it said itself is for the log."""

    def __init__(self) -> None:
        self._log = Rarely(log)

    def refusal(self, error: BaseException, what: str) -> Unavailable | None:
        """Return what may be told of an error of a database that had to `write` or `read`; None if it is another."""
        raw = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        if not isinstance(raw, sqlite3.Error):
            return None
        code = getattr(raw, "sqlite_errorcode", 0) & 0xFF
        why = _WHY.get(code)
        if why is None and not isinstance(raw, sqlite3.OperationalError):
            return None
        self._log.error(f"{what} {code}", "the database could not %s: %s", what, error)
        why = why or "it did not take the statement"
        return StoreUnavailable(f"The database could not {what}: {why}. Nothing was changed; try again later.")
