"""What carries the frames of the bus between machines in a simulation: the product's own bus runs over it.

It stands for a NATS server and the connections to it. What is on its way while a machine is cut off waits, as the
machines' kernels have it wait, and comes late if the cut ends soon; a longer one is noticed, and ends the connection
with all that waits, and the server goes on sending to a connection that is none until it notices.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

import msgspec

from floe.bus.address import NatsAddress
from floe.bus.connection import PING_SECONDS, PONG_SECONDS, Delivered, Interest
from floe.bus.envelope import read
from floe.core.errors import Unavailable
from floe.simulation.bus import Weather
from floe.simulation.loop import Process, VirtualLoop

ADDRESS = NatsAddress(servers=("nats://simulated:4222",))
_LONGEST_WAIT = 4.0
"""Seconds between two attempts to connect, at most."""
_POINTS = {"do": "bus.send", "one": "publish", "all": "publish", "part": "publish"}
"""Where a process can die that has just sent something, by the second token of the subject."""


class Network:
    """The server. `most_bytes` is how large a frame it takes; the rest is as of `SimulatedBus`."""

    def __init__(
        self,
        loop: VirtualLoop,
        dice: Random,
        weather: Weather,
        *,
        most_bytes: int,
        latency: Callable[[], float],
        pause: Callable[[str], Awaitable[None]],
        note: Callable[..., None],
        said: Callable[[int, str], None],
        took: Callable[[int, Process], None],
        takers: Callable[[Sequence[Any], Random], Sequence[Any]],
    ) -> None:
        self.loop, self.dice, self.weather, self.most_bytes = loop, dice, weather, most_bytes
        self.latency, self.pause, self.note = latency, pause, note
        self._said, self._took, self._takers, self._numbers = said, took, takers, 0
        self._links: list[SimulatedLink] = []

    def link(self, process: Process, names: Sequence[str]) -> Callable[..., SimulatedLink]:
        """Return what makes the connection of a process, which is cut off by any of these names."""

        def connect(
            _address: NatsAddress, _name: str, *, lost: Callable[[str], None], back: Callable[[], Awaitable[None]]
        ) -> SimulatedLink:
            self._links = [link for link in self._links if link.process.alive]
            self._links.append(SimulatedLink(self, process, names, lost, back))
            return self._links[-1]

        return connect

    def cut(self, name: str) -> None:
        """Take note that nothing reaches a machine or a program any more, which it notices by and by."""
        self.weather.cut.add(name)
        for link in self._links:
            if name in link.names and link.process.alive:
                wait = self.dice.uniform(PONG_SECONDS, PING_SECONDS + PONG_SECONDS)
                self.at(self.loop.time() + wait, link.notice)

    def mend(self, name: str) -> None:
        """Take note that it is reached again."""
        self.weather.cut.discard(name)
        for link in self._links:
            if name in link.names and link.process.alive and not link.is_cut:
                link.mended()

    def at(self, when: float, call: Callable[..., None], *args: Any) -> None:
        """Have something done that is in no process's power."""
        self.loop.call_at(when, call, *args, context=contextvars.Context())

    def carry(self, sender: SimulatedLink, subject: str, data: bytes, reply: str) -> None:
        """Take a frame from a connection."""
        if sender.is_cut:
            sender.held.append(lambda: self.carry(sender, subject, data, reply))
        elif late := self.weather.lateness(subject.split(".")[:2], self.dice):
            self.note("very late", subject.split(".")[0 if subject[0] == "_" else 1])
            self.at(self.loop.time() + late, self._route, sender, subject, data, reply)
        else:
            self._route(sender, subject, data, reply)

    def _route(self, sender: SimulatedLink, subject: str, data: bytes, reply: str) -> None:
        interested = [
            (link, interest)
            for link in self._links
            if link.process.alive and link.joined
            for interest in link.interests
            if _matches(interest.subject, subject)
        ]
        if reply and not interested:
            self._deliver(sender, sender, Delivered(reply, b"", "", nobody=True), 0)
        sharing = [(link, interest) for link, interest in interested if interest.queue]
        number = 0
        if interested and subject.startswith("floe.one"):
            number = self._numbers = self._numbers + 1
            self._said(number, _name_of(data))
        for link in dict.fromkeys(link for link, interest in interested if not interest.queue):
            self._deliver(sender, link, Delivered(subject, data, reply, nobody=False), number)
        if sharing:
            for link, interest in self._takers(sharing, self.dice):
                self._deliver(sender, link, Delivered(subject, data, reply, nobody=False), number, interest)

    def _deliver(
        self, sender: SimulatedLink, to: SimulatedLink, what: Delivered, number: int, taker: Interest | None = None
    ) -> None:
        """Have it come: not at all, once, or twice; at once, late, or very late."""
        weather, dice = self.weather, self.dice
        between = what.subject in {"floe.one", "floe.all"} and sender is not to
        lost = 1 - (1 - weather.lost) * (1 - (weather.unheard if between else 0.0))
        if lost and dice.random() < lost:
            self.note("lost", what.subject.split(".")[1])
            return
        for _ in range(2 if weather.repeated and dice.random() < weather.repeated else 1):
            late = dice.random() * 4.0 if weather.late and dice.random() < weather.late else 0.0
            when = self.loop.time() + self.latency() + sender.slow + to.slow + late
            if not late:
                when = to.latest[sender] = max(when, to.latest.get(sender, 0.0) + 1e-6)
            self.at(when, self._arrive, to, what, number, taker, to.life)

    def _arrive(self, to: SimulatedLink, what: Delivered, number: int, taker: Interest | None, life: int) -> None:
        if to.life != life or not to.process.alive:
            return
        if to.is_cut:
            to.held.append(lambda: self._arrive(to, what, number, taker, life))
            return
        for interest in list(to.interests):
            wanted = interest is taker if taker is not None else not interest.queue
            if wanted and _matches(interest.subject, what.subject):
                to.process.call(self._hand, to, interest, what, number)

    def _hand(self, to: SimulatedLink, interest: Interest, what: Delivered, number: int) -> None:
        if interest in to.interests:
            if number:
                self._took(number, to.process)
            interest.received(what)


class SimulatedLink:
    """See `Link`: one process's connection. It is cut off while any of its `names` is."""

    def __init__(
        self,
        network: Network,
        process: Process,
        names: Sequence[str],
        lost: Callable[[str], None],
        back: Callable[[], Awaitable[None]],
    ) -> None:
        self._network, self.process, self.names, self._lost, self._back = network, process, names, lost, back
        self.trouble = "not connected yet"
        self.interests: list[Interest] = []
        """What the server knows to be wanted."""
        self._wanted: list[Interest] = []
        self.held: list[Callable[[], None]] = []
        """What waits for the end of a cut."""
        self.latest: dict[SimulatedLink, float] = {}
        self.joined = False
        """Whether the server has it for a connection."""
        self.life = 0
        """How often it was connected."""

    @property
    def is_cut(self) -> bool:
        """Whether nothing comes through now."""
        return not self._network.weather.cut.isdisjoint(self.names)

    @property
    def slow(self) -> float:
        """For how many more seconds a frame is on its way here, or from here."""
        return max((self._network.weather.slow.get(name, 0.0) for name in self.names), default=0.0)

    @property
    def most_bytes(self) -> int:
        """See `Link.most_bytes`."""
        return 0 if self.trouble else self._network.most_bytes

    async def open(self, patience: float) -> None:
        """See `Link.open`."""
        if self.is_cut:
            raise Unavailable("The bus cannot be reached.")
        self._join()

    async def close(self) -> None:
        """See `Link.close`."""
        self.trouble, self.joined = "closed", False
        self.interests.clear()
        self._wanted.clear()

    async def receive(self, interest: Interest) -> None:
        """See `Link.receive`."""
        self._wanted.append(interest)
        if not self.trouble:
            network = self._network
            network.at(self._after_what_was_sent(), self._subscribe, interest, self.life)
            await asyncio.sleep(max(0.0, self.latest[self] - network.loop.time()) + network.latency())

    async def ignore(self, interest: Interest) -> None:
        """See `Link.ignore`."""
        self._wanted.remove(interest)
        self.interests = [known for known in self.interests if known is not interest]

    async def send(self, subject: str, data: bytes, reply: str = "") -> None:
        """See `Link.send`."""
        if self.trouble:
            raise Unavailable(f"The bus cannot be reached: {self.trouble}.")
        network, life = self._network, self.life
        network.at(self._after_what_was_sent(), self._take, subject, data, reply, life)
        kind = subject.split(".")[1]
        await network.pause("bus.answer" if subject.startswith("_R") else _POINTS.get(kind, "here"))

    def notice(self) -> None:
        """Take the connection for broken, if nothing has come through since it was cut off."""
        if self.is_cut and not self.trouble:
            self.process.call(self._break)

    def mended(self) -> None:
        """Go on with what waited; where the connection broke meanwhile, make a new one."""
        held, self.held = self.held, []
        if not self.trouble:
            for call in held:
                call()
        else:
            network = self._network
            wait = network.dice.uniform(0.05, _LONGEST_WAIT)
            network.at(network.loop.time() + wait, self.process.call, self._come_back)

    # -- inside ---------------------------------------------------------------------------------------

    def _after_what_was_sent(self) -> float:
        """Return when the server has what is sent now."""
        network = self._network
        self.latest[self] = max(network.loop.time() + network.latency(), self.latest.get(self, 0.0) + 1e-6)
        return self.latest[self]

    def _subscribe(self, interest: Interest, life: int) -> None:
        if self.is_cut:
            self.held.append(lambda: self._subscribe(interest, life))
        elif self.life == life and interest in self._wanted:
            self.interests.append(interest)

    def _take(self, subject: str, data: bytes, reply: str, life: int) -> None:
        if self.life == life:  # what the kernel still had goes with the connection
            self._network.carry(self, subject, data, reply)

    def _break(self) -> None:
        if self.is_cut and not self.trouble:
            self._network.note("bus lost", self.process.name)
            self.trouble = "the server answers nothing"
            self.life += 1
            self.held.clear()
            self._lost(self.trouble)

    def _come_back(self) -> None:
        if self.trouble and not self.is_cut and self.trouble != "closed":
            self._network.note("bus back", self.process.name)
            self._join()
            self.process.start(self._say_back())

    async def _say_back(self) -> None:
        await self._back()

    def _join(self) -> None:
        self.trouble, self.joined, self.interests = "", True, list(self._wanted)
        self.life += 1


def _matches(pattern: str, subject: str) -> bool:
    if "*" not in pattern:
        return pattern == subject
    wanted, found = pattern.split("."), subject.split(".")
    return len(wanted) == len(found) and all(a in {"*", b} for a, b in zip(wanted, found, strict=True))


def _name_of(frame: bytes) -> str:
    """Return what kind of event a frame is, or is a part of."""
    said = read(frame)
    if said.part[1] > 1:
        return "an event in parts"
    return msgspec.msgpack.decode(said.body, type=tuple[str, msgspec.Raw])[0]
