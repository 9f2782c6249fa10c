"""Which hosts' guests were compared with the rows, here or by another conductor: the others are to be asked."""

from __future__ import annotations

from collections.abc import Iterable


class Compared:
    """What was compared since it was last asked for what was not.

    Each report of a host is taken by one of the conductors, which tells the others. What they tell counts for two
    rounds: it comes a little later than what it tells of, and may just miss one.
    """

    def __init__(self) -> None:
        self._here: set[str] = set()
        self._elsewhere: set[str] = set()
        self._elsewhere_before: set[str] = set()
        self._untold: set[str] = set()

    def note(self, host: str) -> None:
        """Note that a host was compared here."""
        self._here.add(host)
        self._untold.add(host)

    def note_elsewhere(self, hosts: Iterable[str]) -> None:
        """Note which hosts another conductor compared."""
        self._elsewhere.update(hosts)

    def untold(self) -> tuple[str, ...]:
        """Return, once, the hosts that were compared here."""
        hosts, self._untold = self._untold, set()
        return tuple(sorted(hosts))

    def missing(self, hosts: Iterable[str]) -> list[str]:
        """Return those of these hosts that were not compared, and begin a new round."""
        compared = self._here | self._elsewhere | self._elsewhere_before
        self._elsewhere_before = self._elsewhere
        self._here, self._elsewhere = set(), set()
        return [host for host in hosts if host not in compared]

    def discard(self, host: str) -> None:
        """Forget a host."""
        for hosts in (self._here, self._elsewhere, self._elsewhere_before, self._untold):
            hosts.discard(host)
