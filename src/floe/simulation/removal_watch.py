"""What is said to be removed from a host, held against the host: however well it is mended later, it was not true."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from floe.cloud.audit import Violation
from floe.simulation.machines import Machine
from floe.simulation.roles import Role
from floe.store import allocations, guests, holdings, servers
from floe.store.engine import Connection
from floe.store.memory import MemoryStore


class RemovalWatch:
    """Accuses at the commit in which the last row goes that says where something of a server is.

    Not where it goes with all history of a server: whoever is told of its guest later still knows that it is past.
    """

    def __init__(
        self, store: MemoryStore, machines: Mapping[str, Machine], accuse: Callable[[Violation], None]
    ) -> None:
        self._store, self._machines, self._accuse = store, machines, accuse
        self._held: set[tuple[str, str]] = set()

    def committed(self) -> None:
        """Something was committed: see that hosts of which nothing is expected any more have nothing."""
        before, self._held = self._held, self._store.read(holdings.places)
        for server_id, host in sorted(before - self._held):
            if self._machines[host].has(server_id) and self._is_known(server_id):
                self._accuse(
                    Violation("a host has something of a server, and no row says so any more", server_id, host)
                )

    def _is_known(self, server_id: str) -> bool:
        return self._store.read(lambda conn: servers.get(conn, server_id, deleted=True)) is not None

    def remembered(self, roles: Iterable[Role]) -> list[Violation]:
        """Return what hosts remember of servers that are not theirs, when nothing is under way."""
        return [
            Violation("a host remembers a server that is gone, or elsewhere", server_id, agent.host)
            for role in roles
            for agent in role.agents
            for server_id in sorted(self._foreign(agent.host, agent.told()))
        ]

    def _foreign(self, host: str, known: Mapping[str, str]) -> set[str]:
        def own(conn: Connection) -> set[str]:
            return {row.server_id for row in guests.on_host(conn, host)} | allocations.halves(conn, host)

        return known.keys() - self._store.read(own)
