"""Has done together what is asked for at the same time: one read, one look, one message for many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST = 32
"""Asked for in one round: what is left goes with the next, and others have their turn between."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked(Generic[T, R]):
    item: T
    done: asyncio.Future[R]


class Gathering(Generic[T, R]):
    """Nothing waits for company: a round is what one turn of the event loop asked for, and what came during the last.

    `together` returns for each item, in their order, what its caller gets, or the exception that it is told by; what it
    raises itself is everybody's. With `at_once`, that many rounds go on at the same time.
    """

    def __init__(
        self,
        name: str,
        together: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]],
        *,
        most: int = MOST,
        at_once: int = 1,
    ) -> None:
        self._name, self._together, self._most, self._at_once = name, together, most, at_once
        self._waiting: deque[_Asked[T, R]] = deque()
        self._rounds: set[asyncio.Task[None]] = set()
        self._due = False

    async def do(self, item: T) -> R:
        """Return what came of this one. Whoever is cancelled is left out, if that is in time."""
        loop = asyncio.get_running_loop()
        asked: _Asked[T, R] = _Asked(item, loop.create_future())
        self._waiting.append(asked)
        if not self._due:
            self._due = True
            loop.call_soon(self._begin)
        return await asked.done

    def _begin(self) -> None:
        self._due = False
        while self._waiting and len(self._rounds) < self._at_once:
            asked = [each for each in self._next() if not each.done.done()]
            if asked:
                task = asyncio.get_running_loop().create_task(self._round(asked), name=self._name)
                self._rounds.add(task)
                task.add_done_callback(self._ended)

    def _next(self) -> list[_Asked[T, R]]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most))]

    async def _round(self, asked: Sequence[_Asked[T, R]]) -> None:
        try:
            results = await self._together([each.item for each in asked])
            for each, result in zip(asked, results, strict=True):
                if each.done.done():
                    continue
                if isinstance(result, Exception):
                    each.done.set_exception(result)
                else:
                    each.done.set_result(result)
        except Exception as error:
            for each in asked:
                if not each.done.done():
                    each.done.set_exception(error)
        finally:
            for each in asked:
                each.done.cancel()  # what is done by now stays as it is

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        if self._waiting and not self._due:
            self._due = True
            task.get_loop().call_soon(self._begin)
