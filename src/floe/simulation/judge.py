"""What must never be in a run, and what must be in order at its end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from floe.cloud import host_networks
from floe.cloud.audit import Violation, check_host, check_images, check_rows
from floe.cloud.cloud import CloudSettings
from floe.core import server_states
from floe.core.errors import FloeError
from floe.core.guest_metadata import fingerprint
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.messages import ChangePower, Command, Destroy, Destroyed, Result
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize
from floe.core.servers import RESCUED
from floe.simulation import drives
from floe.simulation.copied import left, too_many_backups
from floe.simulation.loop import Process
from floe.simulation.machines import Machine
from floe.simulation.older_copies import OlderCopies
from floe.simulation.planes import dangling, misplugged, misrouted
from floe.simulation.planting import BY_ITSELF, failed_by_itself
from floe.simulation.rebuilt import misbuilt
from floe.simulation.requests import Users
from floe.simulation.resized import missized
from floe.simulation.roles import Role
from floe.simulation.wired import miswired
from floe.store import audit as rows
from floe.store import guests, holdings, hosts, servers
from floe.store.engine import Connection
from floe.store.memory import MemoryStore

Accuse = Callable[[Violation], None]


_AFTER_POWER_LOSS = {PowerState.PAUSED: PowerState.SHUTDOWN}
"""What a guest is after it, where that is not what it was: who stood still had all in memory."""


class Judge:
    """Looks at every commit and every effect on a guest, accuses what must never be, and audits all there is."""

    def __init__(
        self,
        store: MemoryStore,
        users: Users,
        machines: Mapping[str, Machine],
        roles: Mapping[str, Role],
        images_folder: Path,
        accuse: Accuse,
    ) -> None:
        self._store, self._users, self._machines, self._roles = store, users, machines, roles
        self._images, self._accuse = images_folder, accuse
        self._finished: dict[str, set[str]] = {name: set() for name in machines}
        """Servers that each host has answered to have destroyed for good."""
        self._due: dict[str, dict[str, PowerState]] = {}
        """By host that lost its power: what guests will have to be when its agent has started."""
        self._changing: Counter[tuple[str, str]] = Counter()
        """By host and server: changes of power that the host was told of and has not answered."""
        self._said: dict[int, tuple[float, str]] = {}
        """What kind of events for one were published while somebody was there for them, and when."""
        self._takers: dict[int, Process] = {}
        self._places: drives.Places = frozenset()
        self._copies = OlderCopies(store, accuse)
        self._missing: set[Violation] = set()
        """Hosts that conductors took for dead when that was looked at last."""

    # -- at every instant -----------------------------------------------------------------------------

    def committed(self) -> None:
        """Something was committed: see that the limits hold."""
        for told in self._store.read(rows.instant):
            self._accuse(Violation(*told))
        self._users.posted.committed()
        self._users.lives.committed()
        self._copies.committed()
        for violation in dangling(self._planes()):
            self._accuse(violation)
        before, self._places = self._places, self._store.read(drives.places)
        if came := self._places - before:
            for violation in self._store.read(lambda conn: drives.misplaced(conn, came)):
                self._accuse(violation)

    def said(self, number: int, event: str, now: float) -> None:
        """An event for one was published, and somebody was there for it."""
        self._said[number] = (now, event)

    def took(self, number: int, process: Process) -> None:
        """A process takes an event for one: see that no other one has."""
        other = self._takers.setdefault(number, process)
        if other is not process:
            what = self._said[number][1]
            self._accuse(Violation("an event for one was taken by two", what, f"{other.name}, {process.name}"))

    def untaken(self, since: float, until: float) -> list[Violation]:
        """Return which events for one were published in that time, in which nothing was amiss, and taken by nobody."""
        return [
            Violation("an event for one was taken by nobody", event, f"published at {when:.3f}")
            for number, (when, event) in self._said.items()
            if since <= when <= until and number not in self._takers
        ]

    def told(self, host: str, command: Command) -> None:
        """A host was told a command."""
        if isinstance(command, ChangePower | Rebuild | Resize):
            self._changing[host, command.server_id] += 1
        if isinstance(command, Rebuild | Resize):  # each attempt that fails boots what there was
            self._machines[host].forget_boots(command.server_id, command.before.disks[0].make)

    def answered(self, host: str, command: Command, result: Result) -> None:
        """A host answered a command."""
        if isinstance(command, ChangePower | Rebuild | Resize):
            self._changing[host, command.server_id] -= 1
        if isinstance(command, Destroy) and command.final and isinstance(result, Destroyed):
            self._finished[host].add(command.server_id)

    def forgot(self, host: str) -> None:
        """A host may have forgotten what it answered."""
        self._finished[host].clear()

    def lost_power(self, host: str) -> None:
        """The power of a host is about to fail: it may forget what it answered, and guests will have to be as before.

        One that ran runs again, one that was off stays off, one whose memory is on the disk keeps it.
        """
        self.forgot(host)
        machine = self._machines[host]
        if host in self._due:
            return  # it failed before, and nobody has been at the guests since
        self._due[host] = {}
        if machine.remembers():
            for server_id, power in machine.host.guests.items():
                state = self._state_on(host, server_id)
                if state == server_states.state_of(power, rescued=state == RESCUED):
                    self._due[host][server_id] = _AFTER_POWER_LOSS.get(power, power)

    def copied(self) -> Callable[[], None]:
        """Copy what an older copy of the database is about; return what puts it back."""
        back = self._copies.copied()

        def put_back() -> None:
            back()
            self._users.posted.restored()

        return put_back

    def died(self, host: str, server_id: str) -> None:
        """A guest ended by itself; who was at its boot, and died before that was answered, cannot know of it."""
        if self._changing[host, server_id]:
            self._machines[host].forget_boots(server_id)
        self._due.get(host, {}).pop(server_id, None)

    def back(self, host: str) -> None:
        """The agent of a host has started: see that guests are what they have to be if it lost its power before."""
        machine = self._machines[host]
        for server_id, power in self._due.pop(host, {}).items():
            excused = server_id in machine.refused or machine.given_up(server_id)
            wanted = self._state_on(host, server_id)
            found = machine.host.guests.get(server_id)
            if found is not power and wanted is not None and not excused:
                what = f"{host}: {'gone' if found is None else found.name}, not {power.name}"
                self._accuse(Violation("a guest is not what it was before its host lost its power", server_id, what))

    def _state_on(self, host: str, server_id: str) -> str | None:
        """Return the vm_state of a server that is on a host and that nothing is being done with."""
        server = self._store.read(lambda conn: servers.get(conn, server_id))
        if server is None or server.host != host or not server_states.settled(server.vm_state, server.task_state):
            return None
        return server.vm_state

    def started(self, host: str, server_id: str) -> None:
        """A guest was started: see that it was not destroyed for good before."""
        if server_id in self._finished[host]:
            self._accuse(Violation("a guest was started after its host had destroyed it for good", server_id, host))

    def booted_twice(self, host: str, server_id: str) -> None:
        """A guest was booted for a boot that was done: whoever asked for it asked for one."""
        self._accuse(Violation("a guest was booted twice for one boot", server_id, host))

    def damaged(self, host: str, server_id: str) -> None:
        """A guest was started from a disk that is not what it was made as."""
        self._accuse(Violation("a guest was started from a damaged disk", server_id, host))

    def harmed(self, host: str, server_id: str) -> None:
        """A running guest was ended: see whether anybody wanted that.

        Whoever wanted it may have given it up since the host was told: then the server's row follows the guest.
        """
        if self._changing[host, server_id] > 0:
            return
        server = self._store.read(lambda conn: servers.get(conn, server_id))
        if server is not None and server.host == host and server_states.runs(server.vm_state, server.task_state):
            self._accuse(Violation("a running guest was destroyed", server_id, host))

    # -- when nothing is under way --------------------------------------------------------------------

    def audit(self) -> list[Violation]:
        """Check all that has to hold when nothing is under way."""

        def look(conn: Connection) -> list[Violation]:
            found = rows.rows(conn)
            bad = check_rows(found, quiet=True) + self._users.check(conn)
            bad += check_images(found, (path.name for path in self._images.iterdir()), quiet=True)
            for name, machine in self._machines.items():
                whole = host_networks.whole(conn, name, CloudSettings().dns_domain)
                bad += [
                    each
                    for each in check_host(name, found, whole, machine.view())
                    if not _came_back_unknown(conn, machine, each.subject)
                ]
                bad += [Violation("the base of a guest's disk is gone", ident, name) for ident in machine.baseless()]
            bad += misrouted(conn, self._planes()) + misplugged(conn, self._planes())
            bad += miswired(conn, self._machines) + misbuilt(conn, self._machines)
            bad += missized(conn, self._machines)
            bad += left(self._machines) + too_many_backups(conn)
            return bad + self._check_told(conn) + self._check_known(conn)

        return self._store.read(look)

    def _planes(self) -> Mapping[str, HostNetwork]:
        return {name: machine.network for name, machine in self._machines.items()}

    def _check_known(self, conn: Connection) -> list[Violation]:
        """Check that whoever conducts knows the hosts that there are, all of which live by now."""
        known = {host.name for host in hosts.every(conn)}
        found = [Violation("a host that lives is not known", name) for name in sorted(self._machines.keys() - known)]
        missing = {
            Violation("a host that lives is taken for dead", name, role.name)
            for role in self._roles.values()
            if role.conductor is not None
            for name in known & self._machines.keys()
            if role.conductor.fleet.missing(name)
        }
        before, self._missing = self._missing, missing
        return found + sorted(missing & before, key=str)  # it may have said very late that it stops; it is heard soon

    def _check_told(self, conn: Connection) -> list[Violation]:
        """Check that guests may read about themselves what their servers' rows say."""
        zones = {host.name: host.zone for host in hosts.every(conn)}
        return [
            Violation("a guest was not told what changed", guest.server_id, agent.host)
            for role in self._roles.values()
            for agent in role.agents
            for told in (agent.told(),)
            for guest in guests.described(conn, agent.host, zones.get(agent.host, ""), limit=1000)
            if told.get(guest.server_id) not in (None, fingerprint(guest.metadata))
        ]


def _came_back_unknown(conn: Connection, machine: Machine, server_id: str) -> bool:
    """Say whether a loss of power brought something back of which no row says any more that it was there.

    Rows say it for as long as history is kept: for some seconds here, and for months outside.
    """
    return server_id in machine.returned and holdings.begun(conn, server_id, machine.name) is None


class Watch(logging.Handler):
    """Takes unexpected exceptions for violations: what goes wrong on purpose raises a FloeError."""

    def __init__(self, accuse: Accuse) -> None:
        super().__init__(logging.ERROR)
        self._accuse = accuse

    def emit(self, record: logging.LogRecord) -> None:
        """Note one."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, FloeError):
            said = str(error).partition("\n")[0]
            rule = BY_ITSELF if failed_by_itself(error) else "an unexpected error"
            self._accuse(Violation(rule, type(error).__name__, f"{said}; {record.msg}"))
