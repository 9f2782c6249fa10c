"""The bus of a run: one that all programs share, or the product's own between machines, which each has an end of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from floe.bus.nats import NatsBus
from floe.bus.protocol import Bus
from floe.bus.wire import BROKEN, FORGED, UNKNOWN, UNREAD
from floe.cloud.audit import Violation
from floe.core.counters import Counters
from floe.simulation.bus import SimulatedBus, Weather
from floe.simulation.heard import Handed, HeardBus
from floe.simulation.judge import Judge
from floe.simulation.loop import VirtualLoop, current
from floe.simulation.network import ADDRESS, Network
from floe.simulation.parts import Parts
from floe.simulation.questions import Questions
from floe.simulation.roles import Role

_NEVER = (UNKNOWN, FORGED, BROKEN)
"""Why something is not read that nobody here says."""
_OPENS_IN = 10.0


class Buses:
    """Gives programs their bus. `frame` is how large a frame of the one between machines is, 0 for the other."""

    def __init__(
        self,
        loop: VirtualLoop,
        dice: Random,
        weather: Weather,
        *,
        frame: int,
        latency: Callable[[], float],
        pause: Callable[[str], Awaitable[None]],
        note: Callable[..., None],
        judge: Judge,
        questions: Questions,
        parts: Parts,
    ) -> None:
        takers = parts.takers
        self._weather, self._pause, self._note = weather, pause, note
        self._judge, self._questions = judge, questions
        self._counters, self._handed = Counters(), Handed(loop.time)
        self.lost = self._handed.lost

        def said(number: int, event: str) -> None:
            judge.said(number, event, loop.time())

        common: dict[str, Any] = {"latency": latency, "pause": pause, "note": note, "said": said, "took": judge.took}
        self._network = Network(loop, dice, weather, most_bytes=frame, takers=takers, **common) if frame else None
        self._shared = SimulatedBus(
            loop,
            dice,
            weather,
            asked=questions.asked,
            told=self._told,
            answered=self._answered,
            takers=takers,
            **common,
        )

    async def of(self, role: Role) -> Bus:
        """Return the bus of the process that this runs in, ready to be used. Raises Unavailable."""
        process = current()
        assert process is not None
        if self._network is None:
            return self._shared
        bus = NatsBus(
            ADDRESS,
            role.name,
            counters=self._counters,
            clock=role.clock.monotonic,
            connect=self._network.link(process, (role.name, *role.hosts)),
        )
        await bus.open(_OPENS_IN)
        return HeardBus(
            bus,
            pause=self._pause,
            note=self._note,
            handed=self._handed,
            asked=self._questions.asked,
            came=self._questions.came,
            told=self._told,
            answered=self._answered,
        )

    def cut(self, name: str) -> None:
        """Cut a machine, or a program, off."""
        self._weather.cut.add(name)
        if self._network is not None:
            self._network.cut(name)

    def mend(self, name: str) -> None:
        """Have it reached again."""
        self._weather.cut.discard(name)
        if self._network is not None:
            self._network.mend(name)

    def heal(self) -> None:
        """Have everybody reached again, in time."""
        self._weather.very_late.clear()
        self._weather.slow.clear()
        for name in sorted(self._weather.cut):
            self.mend(name)

    def unread(self) -> list[Violation]:
        """Return what came over the bus that nobody can have said."""
        found = (why for why in _NEVER if self._counters.total(UNREAD, why))
        return [Violation("something came over the bus that nobody said", why) for why in found]

    # -- inside ---------------------------------------------------------------------------------------

    def _told(self, host: str, command: Any) -> None:
        self._judge.told(host, command)
        self._questions.told(host, command)

    def _answered(self, host: str, command: Any, result: Any) -> None:
        self._judge.answered(host, command, result)
        self._questions.answered(host, command, result)
