"""Brings the network of stale hosts up to date, one message at a time per host, until it has the latest.

That is its whole, or where routers alone changed, these.

Members of security groups are told as differences, see `conductor.group_members`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from functools import partial

from floe.cloud import host_networks
from floe.cloud.cloud import Cloud
from floe.conductor.fleet import Fleet
from floe.conductor.group_members import GroupMembers
from floe.core.errors import HostFailure, NotAcceptable, Unavailable
from floe.core.host_network import HostNetwork, RoutersChange
from floe.core.messages import ApplyNetwork, ChangeRouters, NetworkApplied

log = logging.getLogger(__name__)


class NetworkChange:
    """Many changes that come together cost a host one message; what fails is left to the sweep."""

    def __init__(self, cloud: Cloud, fleet: Fleet) -> None:
        self._cloud, self._fleet = cloud, fleet
        self._members = GroupMembers(cloud, fleet, lambda host: host in self._tasks, self.nudge)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._again = self._stopping = False
        self._amiss: dict[str, str] = {}
        """What stood in the log last of a host that could not be told, so that it stands there once."""

    def nudge(self, *, members: bool = False) -> None:
        """Look which hosts are stale, and see to those that live; once more if it comes while that is done.

        Where it is the `members` of groups that changed, they are looked at alone, in the round that comes next.
        """
        if members and not self._stopping:
            self._members.look()
        elif not self._stopping:
            self._again = True
            if self._looking is None:
                self._looking = asyncio.get_running_loop().create_task(self._look(), name="networks")

    async def _look(self) -> None:
        try:
            while self._again:
                self._again = False
                stale, position = await self._cloud.db.read(host_networks.behind)
                self._send_wholes(stale)
                self._members.look(position)
        except Exception:
            log.exception("it could not be seen which hosts' networks are out of date; the next round looks again")
        finally:
            self._looking = None

    def _send_wholes(self, stale: Iterable[str]) -> None:
        for host in stale:
            if host not in self._tasks and self._fleet.alive(host):
                task = asyncio.get_running_loop().create_task(self._update(host), name=f"network-{host}")
                self._tasks[host] = task
                task.add_done_callback(partial(self._forget, host))

    async def idle(self) -> None:
        """Wait until no host is being told."""
        while self._looking or self._tasks or self._members.telling:
            looking = [self._looking] if self._looking else []
            await asyncio.gather(*looking, *self._tasks.values(), self._members.idle(), return_exceptions=True)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Tell no more hosts."""
        self._stopping = True
        tasks = [*self._tasks.values(), *([self._looking] if self._looking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, self._members.stop(), return_exceptions=True)

    def _forget(self, host: str, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(host, None)

    async def _update(self, host: str) -> None:
        domain, ahead, all_of_it = self._cloud.settings.dns_domain, False, False
        try:
            while True:
                lacks = partial(host_networks.lacks, host=host, dns_domain=domain, all_of_it=all_of_it)
                sent = await self._cloud.db.read(lacks)
                if sent is None:
                    return
                generation = await self._send(host, sent)
                if generation is None:
                    all_of_it = True
                    continue
                note = partial(host_networks.applied, host=host, sent=sent, generation=generation)
                await self._cloud.db.write(note)
                if self._amiss.pop(host, None) is not None:
                    log.info("host %s takes changes of its network again", host)
                if (generation < sent.generation and isinstance(sent, HostNetwork)) or ahead:
                    return  # a host that is always ahead is asked by the sweep again
                ahead = generation > sent.generation
        except (HostFailure, Unavailable) as error:
            why = f"{error.message} {getattr(error, 'detail', '')}".rstrip()
            told = logging.DEBUG if self._amiss.get(host) == why else logging.WARNING
            self._amiss[host] = why
            log.log(told, "network of host %s is not up to date, and is tried again: %s", host, why)
        except Exception:
            log.exception("network of host %s was not brought up to date", host)

    async def _send(self, host: str, sent: HostNetwork | RoutersChange) -> int | None:
        """Return the generation of the whole that a host has then; None if it takes nothing but that."""
        command = ApplyNetwork(network=sent) if isinstance(sent, HostNetwork) else ChangeRouters(change=sent)
        try:
            answer = await self._cloud.bus.request(host, command, timeout=self._fleet.settings.answer)
        except HostFailure as error:
            if isinstance(command, ChangeRouters) and error.cause == NotAcceptable.kind:
                return None  # a release from before there were such changes
            raise
        if not isinstance(answer, NetworkApplied):
            text = f"The host answered {type(command).__name__} with {type(answer).__name__}."
            raise HostFailure(text, host=host)
        return answer.generation
