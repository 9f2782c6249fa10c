"""What a host must remember: its guests, their network, answers already given, servers that are no more.

One append-only file of JSON lines, replayed at start. Each entry is written before its command is answered, so
a killed process forgets nothing. It is not synced to the disk each time, because after a power loss
- a guest whose entry is lost is still defined at the hypervisor (libvirt syncs that), so its files are kept and
  the conductor, told of it by `HostUp`, says again what it should be;
- a lost tombstone guards against nothing: commands sent before the loss went down with their connections;
- a guest removed without a trace may be back; the next look at `HostUp` has it destroyed again.
Only that a build was called off is on the disk before it is answered: its server may soon run elsewhere, and after a
power loss this host must not take it for its own, and start it too.
`sync`, called with each heartbeat while something is unsynced, keeps even that window to seconds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec
from msgspec.structs import replace

from floe.agent import ledger_file
from floe.agent.fences import Fences
from floe.agent.ledger_entries import (
    Adopted,
    Begun,
    BegunBefore,
    Destroyed,
    Entry,
    Flushed,
    Members,
    Network,
    OfPower,
    Overtook,
    Posted,
    Remade,
    Rewired,
    Routers,
    Settled,
    Told,
    Want,
    Whole,
)
from floe.agent.passwords import Passwords
from floe.agent.wishes import Wishes
from floe.core.clock import Clock
from floe.core.errors import HostFailure
from floe.core.guest_metadata import fingerprint
from floe.core.guests import GuestMetadata, GuestSpec, PowerState
from floe.core.host_network import HostNetwork, MembersChange, RoutersChange
from floe.core.host_network_state import HostNetworkState
from floe.core.messages import ChangeNics, Destroy, Failed, Spawn, Spawned
from floe.core.nics import Nic
from floe.core.power import power_of

log = logging.getLogger(__name__)

REMEMBERED = 24 * 3600.0
"""Seconds for which a tombstone and a failure's answer are kept: far longer than any command is on its way."""

_COMPACT_AT = 1024 * 1024

_ENCODER = msgspec.json.Encoder()
_NOTHING = HostNetwork()


class Ledger:
    """The memory of one host; `network` is the state that its data plane should have, `wishes` is about its guests."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.network = HostNetworkState()
        self.guests: dict[str, GuestSpec] = {}
        self.wishes, self.fences = Wishes(self._append, self._now), Fences(self._append, self._now)
        self.passwords = Passwords(self._append, self.guests)
        self._actions: dict[str, str] = {}
        self._settled: dict[str, Settled] = {}
        self._tombstones: dict[str, Destroyed] = {}
        self._undone: dict[tuple[str, str], Destroyed] = {}
        self._prints: dict[str, str] = {}
        self._clock, self._path = clock, path
        self._unsynced = False
        self._size = 0
        self._compact_at = _COMPACT_AT
        for entry in ledger_file.entries(path):
            self._take(entry)
        self._file: IO[bytes] = self._open()

    # -- questions ----------------------------------------------------------------------------------

    def refusal(self, server_id: str, action_id: str) -> str | None:
        """Return why a spawn must not happen, None if it may."""
        if server_id in self._tombstones:
            return "The server was deleted."
        if (server_id, action_id) in self._undone:
            return "This build of the server was called off."
        return None

    def answer(self, server_id: str, action_id: str) -> Spawned | Failed | None:
        """Return what a spawn was answered, None if it was not (or by another action)."""
        settled = self._settled.get(server_id)
        if settled is None or settled.action_id != action_id:
            return None
        return settled.spawned or settled.failed

    def is_built(self, server_id: str) -> bool:
        """Say whether some spawn of the server succeeded here."""
        settled = self._settled.get(server_id)
        return settled is not None and settled.spawned is not None

    def is_gone(self, server_id: str) -> bool:
        """Say whether a command to destroy the server was the last to be said of it."""
        if server_id in self._tombstones:
            return True
        return server_id not in self.guests and any(server_id == undone for undone, _ in self._undone)

    def builder(self, server_id: str) -> str | None:
        """Return the id of the action whose guest is here, None if there is no guest or it is not known."""
        return self._actions.get(server_id) or None

    def told(self) -> dict[str, str]:
        """Return fingerprints of what guests may read about themselves, by server."""
        for server_id in self._prints.keys() - self.guests.keys():
            del self._prints[server_id]
        for server_id in self.guests.keys() - self._prints.keys():
            self._prints[server_id] = fingerprint(self.guests[server_id].metadata)
        return dict(self._prints)

    def dead(self) -> frozenset[str]:
        """Return the servers that were destroyed for good, of the last day."""
        return frozenset(self._tombstones)

    # -- entries ------------------------------------------------------------------------------------

    def begin(self, command: Spawn, *, present: bool = False) -> None:
        """Remember a guest and its network before anything is made. Raises HostFailure when it cannot be written.

        A guest that is `present` stays that of the action that built it until this spawn succeeds, so that the
        undo of a spawn that fails cannot take it away.
        """
        guest = _without_secrets(command.guest)
        action_id = self._actions.get(guest.server_id, command.action_id) if present else command.action_id
        self._note(Begun(action_id=action_id, guest=guest, network=command.network), "the new guest")

    def settle(self, command: Spawn, result: Spawned | Failed) -> None:
        """Remember the answer to a spawn; a failed one's guest and ports are forgotten."""
        said = (command.action_id, command.guest.server_id, command.network.generation)
        entry = Settled(self._now(), *said)
        if isinstance(result, Spawned):
            entry.spawned = result
        else:
            entry.failed = result
        self._append(entry)

    def adopt(self, guest: GuestSpec, network: HostNetwork | None) -> None:
        """Remember a guest that nobody knows any more who built here. Raises HostFailure where it cannot.

        One entry says all of it: a guest that began and was never built is cleared away at the next start.
        """
        self._note(Adopted(self._now(), "", _without_secrets(guest), network or _NOTHING), "the guest")

    def remake(self, guest: GuestSpec, network: HostNetwork = _NOTHING) -> None:
        """Remember that a guest has other disks, whose files are there. Raises HostFailure where it cannot."""
        self._note(Remade(_without_secrets(guest), network), "the guest")

    def destroyed(self, command: Destroy) -> bool:
        """Remember that a server is, or is about to be, no more: from here on it is not spawned again.

        False if the disk would not have it.
        """
        ports, said = self._ports_of(command.server_id, command.port_ids), (command.action_id, command.server_id)
        return self._append(Destroyed(self._now(), *said, command.final, ports, command.generation))

    def abandon(self, server_id: str) -> None:
        """Forget a build that a crash cut short; the same action may try it again."""
        guest = self.guests.get(server_id)
        if guest is not None:
            ports = self._ports_of(server_id, ())
            self._append(Destroyed(at=self._now(), action_id="", server_id=server_id, final=False, port_ids=ports))

    def unplug(self, server_id: str) -> None:
        """Take a failed build's ports out of the network, ahead of the entry that settles it."""
        self._unplug(server_id, (), 0)

    def tell(self, server_id: str, metadata: GuestMetadata) -> None:
        """Remember what a guest may now read about itself."""
        self._append(Told(server_id=server_id, metadata=replace(metadata, admin_password=None)))

    def rewire(self, command: ChangeNics, nics: Sequence[Nic], gone: Sequence[str] = ()) -> None:
        """Remember which NICs a guest is to have, with the ports they need, and those that go. Raises HostFailure."""
        told = (command.network, tuple(gone), command.network.generation)
        self._note(Rewired(command.server_id, tuple(nics), *told), "the NIC", stage="ports")

    def replace_network(self, whole: HostNetwork) -> None:
        """Take a whole network state, unless a newer one is known."""
        if whole.generation >= self.network.generation:
            self._append(Whole(network=whole))

    def change_members(self, change: MembersChange) -> bool:
        """Take a difference of security groups' members; False if what is known ends before it begins."""
        if not self.network.takes(change):
            return False
        self._append(Members(change=change))
        return True

    def change_routers(self, change: RoutersChange) -> None:
        """Take a change of routers, unless a newer whole is known."""
        if change.generation >= self.network.generation:
            self._append(Routers(change=change))

    def follow(self, server_id: str, state: PowerState) -> None:
        """Remember that a guest is doing something else, for whatever reason: then that is what it should do."""
        if server_id in self.guests and self.is_built(server_id):
            self.wishes.follow(server_id, power_of(state))

    # -- the file -----------------------------------------------------------------------------------

    @property
    def unsynced(self) -> bool:
        """Whether something was written since the last sync."""
        return self._unsynced

    def sync(self) -> None:
        """Bring what was written to the disk; blocks for as long as that takes. What fails is to be done still."""
        self._unsynced = False
        try:
            os.fdatasync(self._file.fileno())
        except OSError:
            self._unsynced = True
            raise

    def compact(self) -> None:
        """Write the file anew, without what is out of date."""
        self._forget_old()
        entries: list[Entry] = [Network.of(self.network)]
        entries += [*self._tombstones.values(), *self._undone.values(), *self.fences.entries()]
        for server_id, guest in self.guests.items():
            entries.append(Begun(action_id=self._actions[server_id], guest=guest, network=_NOTHING))
            if self.is_built(server_id):
                entries.append(self._settled[server_id])
                if server_id not in self.wishes.unflushed:
                    entries.append(Flushed(server_id=server_id))
        entries += [settled for settled in self._settled.values() if settled.failed is not None]
        entries += [*self.wishes.entries(), *self.passwords.entries()]
        data = b"".join(_ENCODER.encode(entry) + b"\n" for entry in entries)
        ledger_file.replace(self._path, data)
        self._file.close()
        self._file = self._open()
        self._compact_at = max(_COMPACT_AT, 4 * len(data))

    def close(self) -> None:
        """Sync and let go of the file."""
        if not self._file.closed:
            if self._unsynced:
                self.sync()
            self._file.close()

    def drop(self) -> None:
        """Let go of the file as a killed process does."""
        self._file.close()

    def _note(self, entry: Entry, what: str, stage: str = "disk") -> None:
        """Take and write an entry. Raises HostFailure where the disk would not have it."""
        if not self._append(entry):
            raise HostFailure(f"The host's disk is full: it cannot even note down {what}.", stage=stage)

    def _append(self, entry: Entry) -> bool:
        """Take an entry into account and write it; False if the disk would not have it."""
        line = _ENCODER.encode(entry) + b"\n"
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
        except OSError as error:
            log.error("the ledger %s cannot be written: %s", self._path, error)
            os.ftruncate(self._file.fileno(), self._size)
            if not isinstance(entry, Begun | Adopted | Want | Posted | Remade):
                self._take(entry)
            return False
        self._size += len(line)
        self._unsynced = True
        self._take(entry)
        if self._size > self._compact_at:
            self._compact_quietly()
        return True

    def _compact_quietly(self) -> None:
        try:
            self.compact()
        except OSError as error:
            self._compact_at = self._size + _COMPACT_AT
            log.warning("the ledger %s cannot be compacted now: %s", self._path, error)

    def _take(self, entry: Entry) -> None:
        if isinstance(entry, BegunBefore):
            entry = Begun(action_id=entry.action_id, guest=entry.guest.guest(), network=entry.network)
        if isinstance(entry, Begun):
            self._say_of(entry.guest, self.passwords.merged(entry.guest.server_id, entry.guest.metadata))
            self._actions[entry.guest.server_id] = entry.action_id
            self.network.merge(entry.network)
        elif isinstance(entry, Adopted):
            server_id = entry.guest.server_id
            self._take(Begun(action_id=entry.action_id, guest=entry.guest, network=entry.network))
            self._settled[server_id] = entry.settled()
        elif isinstance(entry, Settled):
            self._settled[entry.server_id] = entry
            if entry.spawned is not None and entry.server_id in self._actions:
                self._actions[entry.server_id] = entry.action_id
                self.wishes.made(entry.server_id)
            if entry.failed is not None:
                self._drop(entry.server_id, (), entry.generation)
        elif isinstance(entry, Destroyed):
            if entry.final:
                self._tombstones[entry.server_id] = entry
            elif entry.action_id:
                self._undone[entry.server_id, entry.action_id] = entry
                if self.builder(entry.server_id) not in (None, entry.action_id):
                    return  # a later action has built the server here since: nothing of that is undone
                self.passwords.leave(entry.server_id)
            self._settled.pop(entry.server_id, None)
            self._drop(entry.server_id, entry.port_ids, entry.generation)
            if not entry.final and not entry.action_id:  # cut short: the same command may bring its ports again,
                self.network.unlearn(entry.port_ids)  # with rules as they were then, so all is asked for anew
        elif isinstance(entry, Remade):
            server_id, before = entry.guest.server_id, self.guests.get(entry.guest.server_id)
            self._say_of(entry.guest, self.passwords.merged(server_id, entry.guest.metadata))
            self.network.merge(entry.network)
            fresh = before is None or not entry.guest.makes <= before.makes
            (self.wishes.made if fresh else self.wishes.kept)(server_id)
        elif isinstance(entry, Told | Posted | Rewired):
            self._take_changed(entry)
        elif isinstance(entry, Whole | Members | Routers):
            entry.apply(self.network)
        elif isinstance(entry, OfPower):
            self.wishes.take(entry)
        elif isinstance(entry, Overtook):
            self.fences.take(entry)
        else:
            self.network = entry.state()

    def _take_changed(self, entry: Told | Posted | Rewired) -> None:
        guest = self.guests.get(entry.server_id)
        if isinstance(entry, Rewired):
            self.network.merge(entry.network)
            self.network.remove_ports(entry.gone, entry.generation)
            if guest is not None:
                self.guests[entry.server_id] = replace(guest, nics=entry.nics)
        elif isinstance(entry, Posted):
            if (posted := self.passwords.take(entry)) is not None:
                self._say_of(self.guests[entry.server_id], posted)
        elif guest is not None:
            known = guest.metadata  # files are brought by a create alone
            told = replace(entry.metadata, admin_password=known.admin_password, files=known.files)
            self._say_of(guest, self.passwords.merged(entry.server_id, told))

    def _say_of(self, guest: GuestSpec, metadata: GuestMetadata) -> None:
        self.guests[guest.server_id] = replace(guest, metadata=metadata)
        self._prints.pop(guest.server_id, None)

    def _drop(self, server_id: str, port_ids: tuple[str, ...], generation: int) -> None:
        self._unplug(server_id, port_ids, generation)
        self.guests.pop(server_id, None)
        self.wishes.drop(server_id)
        self.passwords.drop(server_id)
        self._actions.pop(server_id, None)

    def _unplug(self, server_id: str, port_ids: tuple[str, ...], generation: int) -> None:
        """Forget ports of a server."""
        self.network.remove_ports_of(server_id, self._ports_of(server_id, port_ids), generation)

    def _ports_of(self, server_id: str, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return the named ports and those that the guest was given here."""
        guest = self.guests.get(server_id)
        own = (nic.port_id for nic in guest.nics) if guest is not None else ()
        return tuple(dict.fromkeys((*named, *own)))

    def _forget_old(self) -> None:
        oldest = self._now() - REMEMBERED
        self.wishes.forget(oldest)
        self.fences.forget(oldest)
        self._tombstones = {k: v for k, v in self._tombstones.items() if v.at > oldest}
        self._undone = {k: v for k, v in self._undone.items() if v.at > oldest}
        self.passwords.forget({server_id for server_id, _ in self._undone} - self._tombstones.keys())
        self._settled = {
            k: v for k, v in self._settled.items() if v.at > oldest or (v.spawned is not None and k in self.guests)
        }

    def _open(self) -> IO[bytes]:
        file = ledger_file.opened(self._path, os.O_APPEND)
        self._size = os.fstat(file.fileno()).st_size
        return file

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _without_secrets(guest: GuestSpec) -> GuestSpec:
    return replace(guest, metadata=replace(guest.metadata, admin_password=None))
