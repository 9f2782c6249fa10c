"""What is said to be removed from a host, held against the host: however well it is mended later, it was not true."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from floe.cloud.audit import Violation
from floe.simulation.machines import Machine
from floe.store import holdings
from floe.store.memory import MemoryStore


class RemovalWatch:
    """Accuses at the commit in which the last row goes that says where something of a server is."""

    def __init__(
        self, store: MemoryStore, machines: Mapping[str, Machine], accuse: Callable[[Violation], None]
    ) -> None:
        self._store, self._machines, self._accuse = store, machines, accuse
        self._held: set[tuple[str, str]] = set()

    def committed(self) -> None:
        """Something was committed: see that hosts of which nothing is expected any more have nothing."""
        before, self._held = self._held, self._store.read(holdings.places)
        for server_id, host in sorted(before - self._held):
            if self._machines[host].has(server_id):
                self._accuse(
                    Violation("a host has something of a server, and no row says so any more", server_id, host)
                )
