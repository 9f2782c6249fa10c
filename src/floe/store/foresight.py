"""What a transaction is going to read next, asked in one message.

Each way to a database across a network and back costs both sides a wait. Reads whose arguments are known can go
together, ahead of whoever runs them: the answers are kept until the transaction writes something.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Connection

Read = Callable[[Connection], Any]


def foresee(conn: Connection, *reads: Read) -> None:
    """Have the database asked at once what each of these asks where nothing is found.

    They are run without an answer to see what that is, so they are functions of the store, which read and no more.
    Whoever runs one of them on this connection before anything is written has its answer there. SQLite is not asked:
    it is no way off.
    """
    if conn.dialect.name == "postgresql":
        # Only here: the driver takes a while to be read.
        from floe.store.postgres_statements import statements

        statements(conn).foresee(conn.dialect, reads)
