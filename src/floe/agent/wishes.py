"""What a host should have of its guests, what it answered to who said so, and since when its machine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import count

from msgspec.structs import replace

from floe.agent.ledger_entries import Answered, Damaged, Flushed, Machine, OfPower, Want
from floe.core.errors import HostFailure
from floe.core.messages import ChangePower, Failed, PowerChanged
from floe.core.power import Power, Wanted
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize

ANSWERS = 10_000
"""How many answers are kept at most, the latest; each is asked for again within seconds, if at all."""

_FIRST = Wanted()


class Wishes:
    """The part of a ledger that power is about. A guest of which nothing was said since it was made should run.

    `append` has the ledger write an entry, and take it: False if the disk would not have it.
    """

    def __init__(self, append: Callable[[OfPower], bool], now: Callable[[], float]) -> None:
        self._append, self._now = append, now
        self.machine = ""
        """The boot id of the machine that the guests ran on, "" if it is not known."""
        self.unflushed: dict[str, int] = {}
        """Guests whose disks may be damaged if the machine's power fails: made just now, as the how manieth."""
        self._making = count()
        self.damaged: set[str] = set()
        """Those with which that happened: they are not started any more."""
        self.sound: set[str] = set()
        """Those whose disks are on the disk for certain, of guests that the ledger does not know too."""
        self._wanted: dict[str, Want] = {}
        self._answers: dict[tuple[str, str], Answered] = {}

    def of(self, server_id: str) -> Wanted:
        """Return what a guest should be."""
        want = self._wanted.get(server_id)
        return _FIRST if want is None else want.wanted

    def booted(self, server_id: str) -> int:
        """Return the latest boot of a guest that somebody asked for, as far as that was answered."""
        want = self._wanted.get(server_id)
        return _FIRST.boots if want is None else want.booted

    def answer(self, server_id: str, action_id: str) -> PowerChanged | Failed | None:
        """Return what an action was answered that changed the power of a guest, None if it was not."""
        answered = self._answers.get((server_id, action_id))
        return None if answered is None else answered.changed or answered.failed

    def take(self, entry: OfPower) -> None:
        """Take an entry into account."""
        if isinstance(entry, Want):
            self._wanted[entry.server_id] = entry
        elif isinstance(entry, Flushed):
            self.unflushed.pop(entry.server_id, None)
            self.sound.add(entry.server_id)
        elif isinstance(entry, Damaged):
            self.unflushed.pop(entry.server_id, None)
            self.damaged.add(entry.server_id)
        elif isinstance(entry, Machine):
            self.machine = entry.boot_id
        else:
            self._answers[entry.server_id, entry.action_id] = entry
            want = self._wanted.get(entry.server_id)
            if entry.changed is not None and want is not None:
                self._wanted[entry.server_id] = Want(
                    server_id=entry.server_id, wanted=want.wanted, booted=want.wanted.boots
                )
            if len(self._answers) > ANSWERS:
                del self._answers[next(iter(self._answers))]

    def made(self, server_id: str) -> None:
        """Take into account that a guest was made, with disks of its own."""
        self.damaged.discard(server_id)
        self.sound.discard(server_id)
        self.unflushed[server_id] = next(self._making)

    def kept(self, server_id: str) -> None:
        """Take into account that a guest has no other disks than it had before others came, which were safe by then."""
        self.damaged.discard(server_id)
        self.unflushed.pop(server_id, None)
        self.sound.add(server_id)

    def drop(self, server_id: str) -> None:
        """Forget a guest that is no more."""
        self._wanted.pop(server_id, None)
        self.unflushed.pop(server_id, None)
        self.damaged.discard(server_id)
        self.sound.discard(server_id)

    def forget(self, before: float) -> None:
        """Forget answers of before a moment."""
        self._answers = {key: answered for key, answered in self._answers.items() if answered.at > before}

    def entries(self) -> Iterator[OfPower]:
        """Return entries that say all of it."""
        if self.machine:
            yield Machine(boot_id=self.machine)
        yield from self._answers.values()
        yield from self._wanted.values()
        yield from map(Damaged, sorted(self.damaged))
        yield from map(Flushed, sorted(self.sound))

    # -- what is written ------------------------------------------------------------------------------

    def want(self, command: ChangePower | Rebuild | Resize) -> None:
        """Remember what a guest should be before anything is done to it. Raises HostFailure where it cannot."""
        if not self._append(self._want(command.server_id, command.wanted)):
            raise HostFailure("The host's disk is full: it cannot even note down what is wanted.", stage="guest")

    def changed(self, command: ChangePower | Rebuild | Resize, result: PowerChanged | Failed) -> None:
        """Remember the answer to a change of a guest's power."""
        entry = Answered(at=self._now(), server_id=command.server_id, action_id=command.action_id)
        if isinstance(result, PowerChanged):
            entry.changed = result
        else:
            entry.failed = result
        self._append(entry)

    def follow(self, server_id: str, power: Power) -> None:
        """Remember that a guest has this power now, for whatever reason: then it should have it."""
        kept = self.of(server_id)
        if kept.power is not power:
            self._append(self._want(server_id, replace(kept, power=power)))

    def flushed(self, server_ids: Iterable[str]) -> None:
        """Remember that the disks of guests are on the disk."""
        for server_id in sorted(set(server_ids) - self.sound):
            self._append(Flushed(server_id=server_id))

    def flushed_meanwhile(self, due: Mapping[str, int]) -> None:
        """Remember that disks are on the disk of guests that were `unflushed`, where they are still the same ones."""
        self.flushed(server_id for server_id, made in due.items() if self.unflushed.get(server_id) == made)

    def power_failed(self, unbuilt: Set[str], strange: Set[str]) -> None:
        """Remember of which guests the disks may be damaged now.

        `unbuilt` are those whose build was not answered, `strange` those of which the ledger does not know: the power
        may have taken what it knew.
        """
        for server_id in sorted(self.unflushed.keys() | unbuilt | (strange - self.sound)):
            self._append(Damaged(server_id=server_id))

    def damage(self, server_id: str) -> None:
        """Remember that the disks of a guest may be damaged."""
        self._append(Damaged(server_id=server_id))

    def runs_since(self, boot_id: str) -> None:
        """Remember which boot of the machine this is."""
        if boot_id != self.machine:
            self._append(Machine(boot_id=boot_id))

    def _want(self, server_id: str, wanted: Wanted) -> Want:
        return Want(server_id=server_id, wanted=wanted, booted=self.booted(server_id))
