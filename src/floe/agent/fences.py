"""Which attempt at an action a host heard of last: whoever was overtaken is no longer obeyed.

A conductor that stands still between proving that an action is its own and telling a host of it is overtaken meanwhile.
What it says then is in time, and no longer its to say: an undo would take away the guest that the next one built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from floe.agent.ledger_entries import Overtook
from floe.core.disks import ROOT
from floe.core.guests import GuestSpec
from floe.core.messages import Destroy

_MOST = 10_000
"""Actions that are remembered, the latest: few are ever overtaken."""


class Fences:
    """The part of a ledger that this is about. First attempts overtake nobody, and cost no entry."""

    def __init__(self, append: Callable[[Overtook], bool], now: Callable[[], float]) -> None:
        self._append, self._now = append, now
        self._latest: dict[tuple[str, str], Overtook] = {}

    def heard(self, server_id: str, action_id: str, attempt: int) -> bool:
        """Note an attempt at an action, 0 where nobody counts; False if a later one was heard of before."""
        known = self._latest.get((server_id, action_id))
        latest = 1 if known is None else known.attempt
        if attempt > latest:
            self._append(Overtook(at=self._now(), server_id=server_id, action_id=action_id, attempt=attempt))
        return not 0 < attempt < latest

    def latest(self, server_id: str, action_id: str) -> int:
        """Return the latest attempt at an action that was heard of, of those that overtook another; 0 if none did."""
        known = self._latest.get((server_id, action_id))
        return 0 if known is None else known.attempt

    def take(self, entry: Overtook) -> None:
        """Take an entry into account."""
        self._latest.pop((entry.server_id, entry.action_id), None)
        self._latest[entry.server_id, entry.action_id] = entry
        if len(self._latest) > _MOST:
            del self._latest[next(iter(self._latest))]

    def forget(self, before: float) -> None:
        """Forget what was heard before a moment."""
        self._latest = {key: entry for key, entry in self._latest.items() if entry.at > before}

    def entries(self) -> Iterator[Overtook]:
        """Return entries that say all of it."""
        yield from self._latest.values()


def of_builder(command: Destroy, builder: str | None, guest: GuestSpec | None) -> Destroy:
    """Return a command as one of the action that built the guest, where it names the make of that one's root disk."""
    if command.make is None or builder is None or guest is None:
        return command
    root = next((disk for disk in guest.disks if disk.role == ROOT), None)
    return command if root is None or root.make != command.make else replace(command, action_id=builder)
