"""Passwords in a run: which guests were told that theirs is kept, what users cleared, and what the rows show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from floe.agent.agent import Agent
from floe.cloud import server_passwords
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import FloeError
from floe.core.servers import BUILDING, RESIZED
from floe.store import holdings
from floe.store.engine import Connection
from floe.store.memory import MemoryStore
from floe.store.servers import servers

_SHOWN = (servers.c.id, servers.c.host, servers.c.vm_state, servers.c.task_state, servers.c.password)
_ROWS = servers.select().with_only_columns(*_SHOWN).where(servers.c.deleted_at.is_(None))


class Posted:
    """What a guest was told is kept is shown in the end, unless it was cleared, and nothing cleared comes back."""

    def __init__(self, store: MemoryStore, accuse: Callable[[Violation], None]) -> None:
        self._store, self._accuse = store, accuse
        self._kept: dict[str, str] = {}
        """By server, the latest password that its guest was told is kept."""
        self._at: dict[str, str] = {}
        """By server, the host that told it so."""
        self._said: dict[str, list[tuple[str, str]]] = {}
        """By server, the hosts where its guest posted, with what."""
        self._tried: dict[str, list[str]] = {}
        """By server whose guest posted, what it did since, without a word of what became of it."""
        self._asked: set[str] = set()
        """Servers whose passwords users asked to clear."""
        self._shown: dict[str, str] = {}
        self._gone: set[tuple[str, str]] = set()
        """Server and password of all that was cleared."""
        self._away: set[tuple[str, str]] = set()
        """Those of them that may not come back: whatever an older copy of the database brings is there again."""
        self._excused: set[str] = set()
        """Servers whose host lost what it had not said, or that left it before it said that again, or without it."""
        self._set_back: dict[str, str | None] = {}
        """Servers of which an older copy was put back, and where they were: their hosts say again what they know."""

    @property
    def known(self) -> Sequence[str]:
        """The servers whose guests have posted something."""
        return list(self._kept)

    async def post(self, agent: Agent, server_id: str, password: str) -> None:
        """Have a guest post one. Nobody is promised one of a guest that is being built, or that nobody wants."""
        before = self._settled(agent.host, server_id)
        self._tried.setdefault(server_id, []).append(password)
        self._said.setdefault(server_id, []).append((agent.host, password))
        with contextlib.suppress(FloeError):
            await agent.post_password(server_id, password)
            if before and self._settled(agent.host, server_id):
                self._kept[server_id], self._at[server_id] = password, agent.host
                self._tried[server_id].clear()

    async def clear(self, cloud: Cloud, context: Context, server_id: str) -> None:
        """Have a user clear one."""
        self._asked.add(server_id)
        await server_passwords.clear(cloud, context, server_id)

    def committed(self) -> None:
        """Something was committed: see that no password comes back, or goes by itself."""
        if not self._tried:
            return
        rows = self._store.read(lambda conn: conn.execute(_ROWS).all())
        # One that leaves its host, be it to come back there, takes with it what that had not said again.
        self._excused.update(row.id for row in rows if self._set_back.get(row.id, row.host) != row.host)
        self._excused.update(self._left_for_dead(rows))
        living = {row.id: row.password for row in rows}
        for server_id, password in living.items():
            if (server_id, password) in self._away:
                self._accuse(Violation("a password came back that was cleared", server_id))
        for server_id, password in self._shown.items():
            if server_id in living and living[server_id] is None:
                if server_id not in self._asked:
                    self._accuse(Violation("a password is gone that nobody cleared", server_id))
                self._gone.add((server_id, password))
                self._away.add((server_id, password))
        self._shown = {server_id: password for server_id, password in living.items() if password is not None}

    def lost(self, host: str) -> None:
        """A host lost its ledger."""
        rows = self._store.read(lambda conn: conn.execute(_ROWS).all())
        self._excused.update(row.id for row in rows if row.host == host)

    def restored(self) -> None:
        """An older copy of the database was put back: what it shows is shown, though nothing was committed since."""
        self._away.clear()
        rows = self._store.read(lambda conn: conn.execute(_ROWS).all())
        self._shown = {row.id: row.password for row in rows if row.password is not None}
        self._set_back |= {row.id: row.host for row in rows}
        self._excused.update(row.id for row in rows if row.id in self._at and row.host != self._at[row.id])

    def check(self, conn: Connection) -> list[Violation]:
        """Compare what was promised with what is shown, when nothing is under way."""
        living = {row.id: row.password for row in conn.execute(_ROWS).all()}
        return [
            Violation("a password that was kept is not shown", server_id)
            for server_id, password in self._kept.items()
            if server_id in living and server_id not in self._excused
            if living[server_id] != password and living[server_id] not in self._from_before(server_id)
            if living[server_id] not in self._later(server_id) or (server_id, password) not in self._gone
        ]

    def _left_for_dead(self, rows: Sequence[Any]) -> set[str]:
        """Return servers that are done leaving a host which could not be asked what their guests had posted there."""
        elsewhere = {
            (row.id, self._at[row.id])
            for row in rows
            if row.id in self._at and row.host != self._at[row.id]
            if row.task_state is None and row.vm_state != RESIZED
        }
        owed = self._store.read(holdings.places) if elsewhere else set()
        return {server_id for server_id, _ in elsewhere & owed}

    def _later(self, server_id: str) -> list[str | None]:
        """Return what may be shown once the password that was kept is cleared."""
        return [None, *self._tried.get(server_id, ())]

    def _from_before(self, server_id: str) -> list[str]:
        """Return what its guest posted before it moved, which its new host did not know of when it posted again."""
        return [password for host, password in self._said.get(server_id, ()) if host != self._at[server_id]]

    def _settled(self, host: str, server_id: str) -> bool:
        rows = self._store.read(lambda conn: conn.execute(_ROWS).all())
        return any(row.id == server_id and row.host == host and row.vm_state != BUILDING for row in rows)
