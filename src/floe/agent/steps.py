"""The steps of what a host does, timed and told while they last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from floe.agent.images import os_failure
from floe.core.clock import Clock
from floe.core.errors import HostFailure
from floe.core.messages import Progress
from floe.core.step_times import StepTime

_AGAIN, _SELDOM = 1.0, 30.0
"""Seconds between two tellings of one step, at first and at last: each is a write for its conductor."""


@dataclass(slots=True)
class Step:
    """A step under way; `remark` is what the trace shows of it."""

    name: str
    remark: str = ""
    timer: asyncio.TimerHandle | None = None
    """Tells of it while it runs."""


@dataclass(slots=True)
class Steps:
    """Times the steps of one command.

    A step that takes longer than `patience` seconds is told to those who follow while it runs.
    """

    host: str
    action_id: str
    clock: Clock
    publish: Callable[[Progress], None]
    patience: float
    done: list[StepTime] = field(default_factory=list)

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[Step]:
        """Time what happens inside; its failures carry the step's name as their stage."""
        step = Step(name)
        started = self.clock.now().timestamp()
        begun = self.clock.monotonic()
        self._tell_in(self.patience, step, started)
        try:
            yield step
        except HostFailure as failure:
            failure.stage = failure.stage or name
            raise
        except OSError as error:
            raise os_failure(error, name) from error
        finally:
            told = self.clock.monotonic() - begun
            if step.timer is not None:
                step.timer.cancel()
            self.done.append(StepTime(name=name, started=started, seconds=told, remark=step.remark))
            if told >= self.patience:
                self._tell(name, started, told, step.remark)

    def _tell_in(self, seconds: float, step: Step, started: float, before: str | None = None) -> None:
        """Tell of a step that is under way in so many seconds, and ever more seldom after that, if it goes on."""
        step.timer = asyncio.get_running_loop().call_later(seconds, self._tell_again, seconds, step, started, before)

    def _tell_again(self, seconds: float, step: Step, started: float, before: str | None) -> None:
        if step.remark != before:
            self._tell(step.name, started, None, step.remark)
        self._tell_in(min(max(2 * seconds, _AGAIN), _SELDOM), step, started, step.remark)

    def _tell(self, name: str, started: float, seconds: float | None = None, remark: str = "") -> None:
        self.publish(
            Progress(
                host=self.host,
                action_id=self.action_id,
                step=name,
                started=started,
                seconds=seconds,
                remark=remark,
            )
        )
