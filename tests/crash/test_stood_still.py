"""A conductor stands still while it waits to ask a host again: another one has long done what it was at."""

from __future__ import annotations

from collections.abc import Callable

from floe.core.clock import Clock
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Result

from .conftest import Town, until
from .overtaking import Ask, overtaken


class SleepingClock:
    """The clock of a machine that sleeps: what counts its seconds sleeps too."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock.now

    def monotonic(self) -> float:
        return 0.0


async def one_that_stood_still_asks_nothing_more(
    new_town: Callable[[], Town], refusal: Exception, clock: Callable[[Clock], Clock] = lambda clock: clock
) -> None:
    asked: list[Ask] = []

    async def destroy(ask: Ask) -> Result:
        asked.append(ask)
        if len(asked) == 1:
            raise refusal
        return await ask()

    async with overtaken(new_town, destroy, clock) as found:
        (flow,) = found.slow.runner._flows.values()
        found.bus.goes_on.set()
        await until(lambda: flow not in found.slow.runner._flows.values())
        assert len(asked) == 1


async def test_after_a_host_failed_it_asks_nothing_more(new_town: Callable[[], Town]) -> None:
    await one_that_stood_still_asks_nothing_more(new_town, HostFailure("It is busy.", host="h1"))


async def test_after_a_host_did_not_answer_it_asks_nothing_more(new_town: Callable[[], Town]) -> None:
    await one_that_stood_still_asks_nothing_more(new_town, Unavailable("Nothing was heard."))


async def test_after_its_machine_slept_it_asks_nothing_more(new_town: Callable[[], Town]) -> None:
    await one_that_stood_still_asks_nothing_more(new_town, Unavailable("Nothing was heard."), SleepingClock)
