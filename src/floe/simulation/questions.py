"""What is asked of hosts, and when: who asks has proved it of late, and what comes too late is not done.

What is done too late, or for one who was overtaken, mostly does no harm, as there is more than one net under it; so it
does not show in what there is at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from floe.bus.codec import encode
from floe.cloud.audit import Violation
from floe.core.errors import NotAcceptable
from floe.core.messages import Command, Destroy, Failed, Result, Spawn, SpawnAll, SpawnedAll
from floe.simulation.leases import Leases
from floe.simulation.loop import current

UNPROVEN = "a host was asked on behalf of an action by one who had not proved for long that it is its own"
UNNUMBERED = "a host was told that it is asked in another attempt at an action than it is"
TOO_LATE = "a host did what it was told when whoever asked had given up"
OVERTAKEN = "a host obeyed one who was overtaken"
NOT_UNDERSTOOD = "a host did not understand what it was told"

SLACK = 2.1
"""Seconds that two clocks may be apart by their jumps, and a little."""


class Questions:
    """All that is asked. `lease` is for how long one holds an action, in seconds, of which half is trusted."""

    def __init__(
        self, leases: Leases, accuse: Callable[[Violation], None], *, time: Callable[[], float], lease: float
    ) -> None:
        self._leases, self._accuse, self._time, self._lease = leases, accuse, time, lease
        self._until: dict[tuple[str, bytes], float] = {}
        """By host and command: when the last of those who asked it gives up."""
        self._attempts: dict[tuple[str, str, str], int] = {}
        """By host, server and action: the latest attempt that the host was told of."""
        self._too_early: dict[int, list[Spawn | Destroy]] = {}
        """By command that is being done: what of it is to be refused."""

    def asked(self, host: str, command: Command, timeout: float) -> None:
        """Somebody asks a host something, and waits so long for the answer."""
        now, key = self._time(), (host, encode(command))
        self._until[key] = max(self._until.get(key, 0.0), now + timeout)
        for each in _fenced(command):
            attempt = self._leases.attempt_of_ours(each.action_id)
            if attempt not in {None, each.attempt}:
                self._accuse(Violation(UNNUMBERED, each.action_id, f"{each.attempt}, and it is {attempt}"))
            age = self._leases.unproven(each.action_id)
            if age is not None and age > self._lease / 2 + SLACK and not self._just_woke():
                self._accuse(Violation(UNPROVEN, each.action_id, f"{type(each).__name__} to {host}, {age:.1f} s after"))

    def came(self, host: str, command: Command) -> None:
        """A host has taken a command for one that is to be done."""
        until = self._until.get((host, encode(command)))
        if until is not None and self._time() > until + SLACK and not self._just_woke():
            late = f"{type(command).__name__}, {self._time() - until:.1f} s late"
            self._accuse(Violation(TOO_LATE, host, late))

    def told(self, host: str, command: Command) -> None:
        """A host begins to do what it was told."""
        for each in _fenced(command):
            key = host, _server_of(each), each.action_id
            if each.attempt < self._attempts.get(key, 0):
                self._too_early.setdefault(id(command), []).append(each)
            else:
                self._attempts[key] = each.attempt

    def answered(self, host: str, command: Command, result: Result) -> None:
        """A host answers what it was told."""
        if isinstance(result, Failed) and result.kind == NotAcceptable.kind:
            self._accuse(Violation(NOT_UNDERSTOOD, host, f"{type(command).__name__}: {result.message}"))
        early = self._too_early.pop(id(command), [])
        for each, refused in _answers(command, result):
            if each in early and not refused:
                what = f"{host}: {type(each).__name__} of attempt {each.attempt}, and had heard of a later one"
                self._accuse(Violation(OVERTAKEN, each.action_id, what))

    def forgot(self, host: str) -> None:
        """A host may have forgotten whom it heard."""
        self._attempts = {key: attempt for key, attempt in self._attempts.items() if key[0] != host}

    # -- inside ---------------------------------------------------------------------------------------

    def _just_woke(self) -> bool:
        """Whether the process that this runs in stood still: what it looked at before may have changed meanwhile."""
        process = current()
        return process is not None and self._time() - process.resumed_at < SLACK


def _fenced(command: Command) -> Iterator[Spawn | Destroy]:
    """Give what of a command is said in the name of an attempt at an action."""
    for each in command.spawns if isinstance(command, SpawnAll) else (command,):
        if isinstance(each, Spawn | Destroy) and each.attempt:
            yield each


def _answers(command: Command, result: Result) -> Iterator[tuple[Spawn | Destroy, bool]]:
    """Give each of these, and whether it was refused, or is not answered yet."""
    if isinstance(command, SpawnAll):
        if isinstance(result, SpawnedAll):
            for spawn, answer in zip(command.spawns, result.answers, strict=True):
                if spawn.attempt:
                    yield spawn, answer.spawned is None
    else:
        for each in _fenced(command):
            yield each, isinstance(result, Failed)


def _server_of(command: Spawn | Destroy) -> str:
    return command.server_id if isinstance(command, Destroy) else command.guest.server_id
