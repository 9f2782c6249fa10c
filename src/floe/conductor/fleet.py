"""What a conductor knows of the hosts in memory: the scheduler's table, and which host lives.

Nothing here is the truth: a stale row costs a retry of a claim, a wrong guess about a host's life a retry of a command.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from floe.bus.protocol import Bus
from floe.conductor.compared import Compared
from floe.conductor.spawns import SpawnsTogether
from floe.core.clock import Clock
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import PowerState
from floe.core.hosts import Host
from floe.core.messages import Command, Destroy, Result, Spawn
from floe.core.resources import Resources
from floe.scheduler.hosts import HostTable
from floe.scheduler.weighers import Multipliers
from floe.store import hosts as rows
from floe.store.engine import Connection, Transactions

log = logging.getLogger(__name__)
R = TypeVar("R")
Pause = Callable[[float], Awaitable[None]]


async def _nothing_to_prove() -> None:
    """Ask without more ado."""


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a host is asked: how that waits, what it proves each time before it asks, what it is told of."""

    pause: Pause
    prove: Callable[[], Awaitable[None]] = _nothing_to_prove
    """Raises when whoever asks has no right to any more: it may have stood still since it last looked."""
    recovered: Callable[[str], None] = lambda _remark: None
    go_ahead: Callable[[int], Awaitable[int]] | None = None
    """Goes ahead of a later attempt that a host heard of, and returns which this one is then; raises as `prove`."""


_FIRST_WAIT, _LONGEST_WAIT = 0.05, 5.0
_MOST_TOLD = 10_000
_MOST_ATTEMPTS = 1_000_000
"""A host that says that it heard of more at one action is not believed."""


class ConductorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a conductor is, in seconds, and how much it does at once."""

    lease: float = 30.0
    renew: float = 30.0 / 8
    """Between looks for leases that are due, an eighth of one."""
    sweep: float = 1.0
    slow_sweep: float = 60.0
    purge: float = 60.0
    """Between looks for what is history by now."""
    reclaim: float = 5.0
    """Between looks for soft-deleted servers whose time is over."""
    write_seen: float = 15.0
    """Between writes of when hosts were last heard of: many heartbeats, one commit."""
    host_down: float = 30.0
    """Without a heartbeat for this long, a host is down."""
    start_grace: float = 12.0
    """After the start, what needs a host waits this long (more than a heartbeat) for hosts not heard of yet."""
    spawn: float = 1800.0
    destroy: float = 300.0
    power: float = 900.0
    """More than a guest may take to shut down by itself."""
    snapshot: float = 7200.0
    host_wait: float = 86400.0
    """A change of a guest's power waits so long for a host that is down."""
    gather: float = 0.2
    """Changes of security groups' members that come within this long cost a host one message."""
    company_of_reports: float = 0.5
    """What a host says again of itself waits so long for what others say again: one look for all of them."""
    answer: float = 20.0
    """One request's time; a command that takes longer is repeated, and the host joins it with the one under way."""
    company: float = 0.2
    """What a host is given to answer several spawns in one message; one that takes longer is asked for by itself."""
    limit: int = 128
    """Actions of a kind at once."""
    hosts_per_create: int = 3
    trace_after: float = 0.5
    multipliers: Multipliers = Multipliers()


class Down(Unavailable):
    """A host is down: a command to it waits for nothing."""


@dataclass(slots=True, eq=False)
class Promise:
    """What a host was promised to be claimed for a server: the table counts it, until it is known what came of it."""

    host: str
    resources: Resources
    doubtful: bool = False
    """Whether the host's row was read meanwhile: with the claim or without, nobody can say."""


class Fleet:
    """The hosts. `table` is for the scheduler."""

    def __init__(self, db: Transactions, bus: Bus, clock: Clock, settings: ConductorSettings) -> None:
        self.table = HostTable()
        self.settings = settings
        self._db, self._bus, self._clock = db, bus, clock
        self._spawns = SpawnsTogether(bus, settings.company)
        self._heard: dict[str, float] = {}
        """When each host was last heard of, the longest silent ones first."""
        self._unwritten: dict[str, datetime] = {}
        self._forced_down: set[str] = set()
        self._gone: set[str] = set()
        """Hosts that said that they stop, or were silent for too long."""
        self._read_at: datetime | None = None
        self._expected: set[str] = set()
        self._later: dict[str, Callable[[], object]] = {}
        self.compared = Compared()
        """The hosts whose guests were compared with the rows."""
        self._promises: dict[str, set[Promise]] = {}
        self._doubtful: set[str] = set()
        """Hosts that may not have what the table says; the next look at what changed is at them too."""
        self._deaf = False
        """Whether the bus was away when hosts were last looked through."""
        self._strangers: set[str] = set()
        """Hosts that live and were no host's rows when they were heard of."""
        self.dirty = False
        """Whether something was given back, so that the table is to be read again when there is time."""
        self.owed: set[str] = set()
        """Hosts that something was not cleaned up on because they were down: to be looked at once they are back."""
        self.waited_for: set[str] = set()
        """Hosts that are down and that actions wait for, those of other conductors as far as this one read of them."""
        self.power: dict[str, PowerState] = {}
        """What a guest under construction last said of itself, by server id."""

    async def refresh(self, names: Collection[str] = ()) -> int:
        """Read the hosts that changed since the last time, and those named; return how many the table knew otherwise.

        A change that was committed after a later one was read is missed: a host that was not as it is known to be is
        read by its name. Those that are gone are forgotten: where there are fewer than the table has, it is all read.
        """
        since, self.dirty = self._read_at, False
        names, self._doubtful = self._doubtful.union(names), set()
        before = set(self.table.names)  # those that are learnt while it is read may not be there yet

        def read(conn: Connection) -> tuple[list[Host], set[str]]:
            named = {name: rows.get(conn, name) for name in sorted(names)}
            gone = {name for name, host in named.items() if host is None}
            found = [*rows.every(conn, since), *filter(None, named.values())]
            if rows.count(conn) < len((before | {host.name for host in found}) - gone):
                found = rows.every(conn)
                gone = before - {host.name for host in found}
            return found, gone

        found, gone = await self._db.read(read)
        different = 0
        for host in found:
            different += self.learn(host)
            self._read_at = max(self._read_at or host.updated_at, host.updated_at)
        for name in gone & before:
            log.info("host %s was removed", name)
            self.forget(name)
            different += 1
        return different

    async def start(self) -> None:
        """Read all hosts. Those that should be there are awaited: work on them goes on, but nothing new goes there."""
        await self.refresh()
        self._expected = set(self._heard) - set(self._unwritten)
        for name in self._expected:
            self.table.set_up(name, False)

    def learn(self, host: Host) -> bool:
        """Take over a host's row; say whether the table knew it otherwise."""
        if host.forced_down:
            self._forced_down.add(host.name)
        else:
            self._forced_down.discard(host.name)
        if host.name not in self._heard:
            self._heard[host.name] = self._clock.monotonic()
        if not host.connected:
            self._gone.add(host.name)  # that it is back it says itself: a row may be read long after it fell silent
        promised = self._promises.get(host.name, ())
        for promise in promised:
            promise.doubtful = True
            host = replace(host, used=host.used + promise.resources)
        return self.table.put(host, up=self.alive(host.name) and host.name not in self._expected)

    def heard(self, name: str) -> None:
        """Note a sign of life of a host; where its row is not known, another conductor has written it meanwhile."""
        if self.table.row(name) is None:
            self._doubtful.add(name)
            self.dirty = True
            if len(self._strangers) < _MOST_TOLD:
                self._strangers.add(name)
            return
        self._heard.pop(name, None)
        self._heard[name] = self._clock.monotonic()
        self._unwritten[name] = self._clock.now()
        if name in self._gone or name in self._expected:
            self._gone.discard(name)
            self._expected.discard(name)
            self.table.set_up(name, self.alive(name))
            self._settle()

    async def strangers(self) -> list[str]:
        """Return the hosts that were heard of since this was last asked, and that have no row to this day."""
        if not self._strangers:
            return []
        heard, self._strangers = self._strangers, set()
        await self.refresh(heard)
        return sorted(name for name in heard if self.table.row(name) is None)

    def lost(self, name: str) -> None:
        """Note that a host is gone until it is heard of again."""
        self._gone.add(name)
        self._unwritten.pop(name, None)
        self.table.set_up(name, False)

    def told_power(self, server_id: str, state: PowerState) -> None:
        """Keep what a guest under construction says of itself; too many are those that other conductors build."""
        self.power.pop(server_id, None)
        self.power[server_id] = state
        if len(self.power) > _MOST_TOLD:
            del self.power[next(iter(self.power))]

    def forget(self, name: str) -> None:
        """Forget a host that was removed."""
        self.table.remove(name)
        self._heard.pop(name, None)
        self._unwritten.pop(name, None)
        for names in (self._forced_down, self._gone, self._expected, self.compared, self.owed, self.waited_for):
            names.discard(name)
        self._later.pop(name, None)
        self._spawns.forget(name)
        self._settle()

    def alive(self, name: str) -> bool:
        """Say whether a host is thought to live."""
        return name in self._heard and name not in self._gone and name not in self._forced_down

    def missing(self, name: str) -> bool:
        """Say whether a host that should live is not heard of: not yet, or not any more."""
        unheard = name not in self._heard or name in self._gone or name in self._expected
        return unheard and name not in self._forced_down

    def silent(self) -> list[str]:
        """Return the hosts that have become late with their heartbeat.

        While the bus is away nobody is heard of, which says nothing of the hosts: they have all that time once it is
        back.
        """
        if self._bus.trouble:
            self._deaf = True
            return []
        if self._deaf:
            self._deaf = False
            self._heard = dict.fromkeys(self._heard, self._clock.monotonic())
        late = self._clock.monotonic() - self.settings.host_down
        silent = itertools.takewhile(lambda heard: heard[1] < late, self._heard.items())
        return [name for name, _ in silent if name not in self._gone]

    def awaited(self, host: str | None = None) -> bool:
        """Say whether a host (any, where none is named or known) has not been heard of since the start."""
        if host is not None:
            return host in self._expected
        return bool(self._expected) or not len(self.table)

    def expected(self) -> list[str]:
        """Return the hosts that have not been heard of since the start."""
        return sorted(self._expected)

    def stop_awaiting(self) -> None:
        """Take hosts that were not heard of since the start for lost, until they are."""
        for name in self._expected:
            log.warning("host %s has not been heard of since the start: it is down", name)
            self.lost(name)
        self._expected.clear()
        self._settle()

    def once_settled(self, name: str, call: Callable[[], object]) -> None:
        """Do what can wait about a host when none is awaited any more: now, if that is so. The latest call counts."""
        self._later[name] = call
        self._settle()

    def _settle(self) -> None:
        if self._later and not self._expected:
            calls, self._later = self._later, {}
            for call in calls.values():
                call()

    def uncompared(self) -> list[str]:
        """Return the hosts that live and whose guests were not compared since this was last asked."""
        return self.compared.missing(filter(self.alive, self.table.names))

    def seen(self) -> dict[str, datetime]:
        """Return, once, when hosts were last heard of."""
        times, self._unwritten = self._unwritten, {}
        return times

    def took(self, name: str, resources: Resources, sign: int = 1) -> None:
        """Note a claim (or a release, with -1) that was committed."""
        self.table.take(name, resources, sign)

    def promise(self, name: str, resources: Resources) -> Promise:
        """Count what is about to be claimed of a host, so that nobody else goes for the same; to be settled."""
        promise = Promise(name, resources)
        self._promises.setdefault(name, set()).add(promise)
        self.took(name, resources)
        return promise

    def settle(self, promise: Promise, host: str | None) -> None:
        """Note on which host the claim was made in the end; None where it was not."""
        outstanding = self._promises[promise.host]
        outstanding.discard(promise)
        if not outstanding:
            del self._promises[promise.host]
        if promise.doubtful:
            self._doubtful.add(promise.host)
        if host != promise.host:
            self.took(promise.host, promise.resources, -1)
            if host is not None:
                self.took(host, promise.resources)
                self._doubtful.add(host)

    async def command(
        self,
        host: str,
        command: Command,
        *,
        returns: type[R],
        seconds: float,
        asking: Asking,
    ) -> R:
        """Send a command until it is answered; repeats are harmless. One that a death made needful is told of.

        Raises HostFailure when the host says that it failed, Unavailable when the host is down, or when nothing
        was heard in `seconds`.
        """
        waited, wait, begun = 0.0, _FIRST_WAIT, self._clock.monotonic()
        what, tries, cut_short, behind = type(command).__name__, 0, False, False
        while True:
            if not self.alive(host):
                raise Down(f"Host {host!r} is down.")
            left = seconds - max(waited, self._clock.monotonic() - begun)
            if left <= 0:
                raise Unavailable(f"Host {host!r} did not answer {what} in {seconds:g} s.")
            await asking.prove()
            patience, asked = min(self.settings.answer, left), self._clock.monotonic()
            try:
                result = await self._ask(host, command, patience)
            except Unavailable as error:
                tries += 1
                told = logging.INFO if tries == 1 else logging.DEBUG  # how it goes on is told when it does
                log.log(told, "%s to host %s waits: %s", what, host, error.message)
                if not cut_short and self._clock.monotonic() - asked < patience:
                    cut_short = True
                    asking.recovered(f"host {host} did not get to answer {what.lower()}; it was asked again")
                await asking.pause(wait)
                await self.refresh()  # an operator may have said that it is down
                waited, wait = waited + wait, min(wait * 2, _LONGEST_WAIT)
                continue
            except HostFailure as error:
                if behind or asking.go_ahead is None or not isinstance(command, Spawn | Destroy):
                    raise
                if not 0 < command.attempt <= error.heard < _MOST_ATTEMPTS:
                    raise
                command, behind = replace(command, attempt=await asking.go_ahead(error.heard)), True
                log.warning("host %s heard of attempt %d: this one is counted after it", host, error.heard)
                continue
            if tries:
                log.info("%s to host %s was answered at try %d", what, host, tries + 1)
            if not isinstance(result, returns):
                raise HostFailure(f"The host answered {what} with {type(result).__name__}.", host=host)
            return result

    async def _ask(self, host: str, command: Command, patience: float) -> Result:
        if isinstance(command, Spawn):
            return await self._spawns.ask(host, command, patience)
        return await self._bus.request(host, command, timeout=patience)
