"""Spawns that are asked of a host at the same time: one message asks for all, and one answers each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

import msgspec

from floe.bus.codec import encode
from floe.bus.protocol import Bus, host_failure
from floe.conductor.gathering import Gathering
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Result, Spawn, SpawnAll, SpawnAnswer, Spawned, SpawnedAll

log = logging.getLogger(__name__)

MOST_BYTES = 512 * 1024
"""Of one message: half of what a bus between machines may be trusted to carry. A spawn that is larger goes alone."""
_ROUNDS = 1_000
"""Of one host at once: a slow guest keeps none that is asked for later from being asked for."""


class _Asked(msgspec.Struct, frozen=True):
    spawn: Spawn
    timeout: float


class SpawnsTogether:
    """Asks hosts for guests. `patience` is what a host has, in seconds, to answer several in one message.

    One that takes longer is asked for again by itself, which the host joins with the work under way; so is each of a
    message that was lost, by whoever asked for it.
    """

    def __init__(self, bus: Bus, patience: float) -> None:
        self._bus, self._patience = bus, patience
        self._hosts: dict[str, Gathering[_Asked, SpawnAnswer]] = {}

    async def ask(self, host: str, spawn: Spawn, timeout: float) -> Result:
        """Return the host's answer. Raises HostFailure and Unavailable as `Bus.request` does."""
        gathering = self._hosts.get(host)
        if gathering is None:

            async def together(asked: Sequence[_Asked]) -> list[SpawnAnswer | Exception]:
                return await self._together(host, asked)

            gathering = self._hosts[host] = Gathering("spawns", together, at_once=_ROUNDS)
        answer = await gathering.do(_Asked(spawn, timeout))
        if answer.failed is not None:
            raise host_failure(host, answer.failed)
        if answer.spawned is not None:
            return answer.spawned
        return await self._bus.request(host, spawn, timeout=timeout)

    def forget(self, host: str) -> None:
        """Forget a host that was removed."""
        self._hosts.pop(host, None)

    # -- inside ---------------------------------------------------------------------------------------

    async def _together(self, host: str, asked: Sequence[_Asked]) -> list[SpawnAnswer | Exception]:
        answers = await asyncio.gather(*(self._portion(host, portion) for portion in _portions(asked)))
        return [answer for portion in answers for answer in portion]

    async def _portion(self, host: str, asked: Sequence[_Asked]) -> Sequence[SpawnAnswer | Exception]:
        longest = max(each.timeout for each in asked)
        try:
            if len(asked) == 1:
                result = await self._bus.request(host, asked[0].spawn, timeout=longest)
                return [SpawnAnswer(spawned=result) if isinstance(result, Spawned) else _strange(host, result)]
            spawns = tuple(each.spawn for each in asked)
            result = await self._bus.request(host, SpawnAll(spawns=spawns, patience=self._patience), timeout=longest)
        except HostFailure as error:
            if len(asked) == 1:
                return [error]
            log.warning("host %s could not take %d spawns at once: %s", host, len(asked), error.message)
            return [SpawnAnswer()] * len(asked)  # of each it may say why
        except Unavailable as error:
            return [Unavailable(error.message) for _ in asked]
        if isinstance(result, SpawnedAll) and len(result.answers) == len(asked):
            return result.answers
        return [_strange(host, result) for _ in asked]


def _strange(host: str, result: Result) -> HostFailure:
    return HostFailure(f"The host answered Spawn with {type(result).__name__}.", host=host)


def _portions(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Part them so that each message is within its bound."""
    if len(asked) == 1:
        yield list(asked)
        return
    portion, size = list[_Asked](), 0
    for each in asked:
        bytes_ = len(encode(each.spawn))
        if portion and size + bytes_ > MOST_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(each)
        size += bytes_
    if portion:
        yield portion
