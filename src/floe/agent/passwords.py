"""What guests posted for their users to read, as far as a host remembers it: see `core.guest_passwords`."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from itertools import chain, islice

from msgspec.structs import replace

from floe.agent.ledger_entries import Posted
from floe.core.errors import Conflict, HostFailure, NotFound
from floe.core.guest_passwords import is_there
from floe.core.guests import GuestMetadata, GuestSpec

_TOGETHER = 20
"""How many are said with a heartbeat."""


class Passwords:
    """The part of a ledger that passwords are about; which guest has which is in its metadata.

    `append` has the ledger write an entry, and take it: False if the disk would not have it.
    """

    def __init__(self, append: Callable[[Posted], bool], guests: Mapping[str, GuestSpec]) -> None:
        self._append, self._guests = append, guests
        self._unsaid: dict[str, None] = {}
        """The servers whose rows may not know of their guest's latest turn: those that were said last come last."""
        self._left: dict[str, Posted] = {}
        """What guests had of which that was so when they were removed, their servers going on elsewhere."""

    def check(self, server_id: str) -> int:
        """Return the turn of a guest that may post a password. Raises NotFound, and Conflict where it has one."""
        guest = self._guests.get(server_id)
        if guest is None:
            raise NotFound("guest", server_id)
        if is_there(guest.metadata.password_turn):
            raise Conflict("there is a password already, which nobody has cleared")
        return guest.metadata.password_turn

    def post(self, server_id: str, password: str) -> None:
        """Remember what a guest posted. Raises NotFound, Conflict, and HostFailure where it cannot be written."""
        turn = self.check(server_id) + 1
        if not self._append(Posted(server_id=server_id, password=password, turn=turn)):
            raise HostFailure("The host's disk is full: it cannot note down the password.", stage="disk")

    def due(self) -> list[Posted]:
        """Return some of those that rows may not know of, in turns."""
        some = list(islice(self._unsaid, _TOGETHER))
        for server_id in some:
            del self._unsaid[server_id]
            self._unsaid[server_id] = None
        return [self.of(server_id) for server_id in some]

    def of(self, server_id: str) -> Posted:
        """Return what a guest has."""
        metadata = self._guests[server_id].metadata
        return Posted(server_id=server_id, password=metadata.password, turn=metadata.password_turn)

    def merged(self, server_id: str, told: GuestMetadata) -> GuestMetadata:
        """Return what a host is told of a guest, with the password of the later turn of what is told and known."""
        guest = self._guests.get(server_id)
        self._left.pop(server_id, None)
        if guest is None or told.password_turn >= guest.metadata.password_turn:
            self._unsaid.pop(server_id, None)
            return told
        self._unsaid.setdefault(server_id)
        return replace(told, password=guest.metadata.password, password_turn=guest.metadata.password_turn)

    def take(self, entry: Posted) -> GuestMetadata | None:
        """Take an entry into account; return what its guest may read now, None where there is none any more."""
        guest = self._guests.get(entry.server_id)
        if guest is None:
            self._left[entry.server_id] = entry
            return None
        self._unsaid.setdefault(entry.server_id)
        return replace(guest.metadata, password=entry.password, password_turn=entry.turn)

    def leave(self, server_id: str) -> None:
        """Keep of a guest that goes, while its server goes on elsewhere, what its row may not know."""
        if server_id in self._unsaid:
            self._left[server_id] = self.of(server_id)

    def left(self, server_id: str) -> Posted | None:
        """Return what is kept of a guest that went."""
        return self._left.get(server_id)

    def drop(self, server_id: str) -> None:
        """Forget a guest that is no more."""
        self._unsaid.pop(server_id, None)

    def forget(self, known: Container[str]) -> None:
        """Forget what is kept of guests that went, but for servers that are still known to have been here."""
        self._left = {server_id: posted for server_id, posted in self._left.items() if server_id in known}

    def entries(self) -> Iterator[Posted]:
        """Return entries that say of which guests rows may not know."""
        return chain(map(self.of, self._unsaid), self._left.values())
