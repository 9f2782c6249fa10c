"""Tells hosts who became a member of security groups and who is none any more: differences, gathered for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from floe.cloud import group_members
from floe.cloud.cloud import Cloud
from floe.conductor.fleet import Fleet
from floe.core.counters import Count
from floe.core.errors import HostFailure, Unavailable
from floe.core.host_network import MembersChange
from floe.core.messages import ChangeMembers, MembersChanged

log = logging.getLogger(__name__)

CHANGES = Count("floe_group_changes", "Differences of security groups' members that hosts took.")
GAPS = Count("floe_group_gaps", "Whole networks sent to hosts for what they lacked of groups' members.")

_PATIENCE_SECONDS = 1.0
"""How long a round waits for the slowest host."""


class GroupMembers:
    """Tells in rounds; `busy` says whether a host is being sent its whole network, `want_wholes` has that done.

    Hosts that are down, busy or slow are behind: they are told when they can be, and nobody waits for them.
    """

    def __init__(
        self, cloud: Cloud, fleet: Fleet, busy: Callable[[str], bool], want_wholes: Callable[[], None]
    ) -> None:
        self._cloud, self._fleet, self._busy, self._want_wholes = cloud, fleet, busy, want_wholes
        self._round: asyncio.Task[None] | None = None
        self._again = False
        self._since = 0
        """Up to here all hosts were told, but for those that are behind."""
        self._behind: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        """Up to where nothing concerned a host, however long ago it was told something."""
        self._asking: dict[str, asyncio.Task[MembersChanged | None]] = {}

    def look(self, position: int | None = None) -> None:
        """Look whether there is anything to tell up to a position, if that is known, and tell it soon."""
        if position != self._since or any(self._may_be_told(host) for host in self._behind):
            self._again = True
            if self._round is None:
                self._round = asyncio.get_running_loop().create_task(self._rounds(), name="group-members")

    @property
    def telling(self) -> bool:
        """Whether hosts are being told."""
        return self._round is not None or bool(self._asking)

    async def idle(self) -> None:
        """Wait until no host is being told."""
        while self.telling:
            await asyncio.wait([*self._asking.values(), *([self._round] if self._round else [])])
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Tell no more hosts."""
        tasks = [*self._asking.values(), *([self._round] if self._round else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _rounds(self) -> None:
        try:
            while self._again:
                await asyncio.sleep(self._fleet.settings.gather)
                self._again = False
                await self._tell()
        except Exception:
            log.exception("members of security groups could not be told to hosts, and are told later")
        finally:
            self._round = None

    async def _tell(self) -> None:
        """Read what changed, tell it to all hosts that it concerns, and write where they are."""
        back = {host: at for host, at in self._behind.items() if self._may_be_told(host)}
        since, seen = min([self._since, *back.values()]), dict(self._seen)
        news = await self._cloud.db.read(lambda conn: group_members.news(conn, since, seen))
        self._seen |= dict.fromkeys(news.unconcerned, news.position)
        ready = {host: change for host, change in news.changes.items() if self._may_be_told(host)}
        answers = await self._ask_all(ready)
        late = {host: min(since, self._behind.get(host, since)) for host in news.changes if host not in answers}
        self._behind = {host: at for host, at in self._behind.items() if host not in back} | late
        positions = {host: news.position for host, answer in answers.items() if answer.taken}
        lacking = sorted({*news.gaps, *(host for host, answer in answers.items() if not answer.taken)})
        were = {host: answer.at for host, answer in answers.items() if answer.at > news.known[host]}
        if positions or lacking:
            await self._cloud.db.write(lambda conn: group_members.told(conn, positions, lacking, were))
        self._since = news.position
        self._cloud.counters.add(CHANGES, amount=len(positions))
        if lacking or were:
            self._cloud.counters.add(GAPS, amount=len(lacking))
            self._want_wholes()

    async def _ask_all(self, changes: Mapping[str, MembersChange]) -> dict[str, MembersChanged]:
        """Return the answers of those hosts that give one soon."""
        if not changes:
            return {}
        loop = asyncio.get_running_loop()
        for host, change in changes.items():
            task = loop.create_task(self._ask(host, change), name=f"members-{host}")
            self._asking[host] = task
            task.add_done_callback(partial(self._answered, host))
        tasks = {host: self._asking[host] for host in changes}
        await asyncio.wait(tasks.values(), timeout=_PATIENCE_SECONDS)
        return {host: answer for host, task in tasks.items() if task.done() and (answer := task.result()) is not None}

    def _answered(self, host: str, _task: asyncio.Task[MembersChanged | None]) -> None:
        del self._asking[host]

    async def _ask(self, host: str, change: MembersChange) -> MembersChanged | None:
        try:
            answer = await self._cloud.bus.request(
                host, ChangeMembers(change=change), timeout=self._fleet.settings.answer
            )
        except (HostFailure, Unavailable) as error:
            log.debug("host %s was not told of groups' members, and is told later: %s", host, error)
            return None
        return answer if isinstance(answer, MembersChanged) else None

    def _may_be_told(self, host: str) -> bool:
        return self._fleet.alive(host) and not self._busy(host) and host not in self._asking
