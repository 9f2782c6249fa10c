"""The whole cloud in one process: every role, with a bus and a database of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from floe.agent.agent import Agent
from floe.assembly import control, hosts, images, surroundings
from floe.assembly.process import Part, Plain, Process
from floe.bus.local import LocalBus
from floe.cloud.health import Ground
from floe.core.errors import Invalid
from floe.core.health import OK
from floe.places import known_name, place
from floe.pools import Pool
from floe.settings import ROLES, Settings

_HOSTS_SECONDS = 10.0
"""For which a start waits for its hosts to be heard of."""


class Node:
    """One process that has all roles.

    `passwords` are those of the users `admin` and `demo` at the first start; `url` is where clients reach it.
    It is an ASGI application, which answers 503 until it has started. Make it while its state directory is held.
    A share of its writes, `repeated_writes`, runs twice; that is for trials. Raises Invalid for settings that do not
    name all roles.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        passwords: Mapping[str, str],
        token_keys: Sequence[bytes],
        url: str,
        repeated_writes: float = 0.0,
    ) -> None:
        self.settings = settings
        _demand_all(settings)
        self.bus = LocalBus()
        around = surroundings.whole(settings, self.bus)
        cloud = control.make_cloud(around, token_keys=token_keys, url=url, repeated_writes=repeated_writes)
        here = place(settings.state)
        self.images, cloud = control.make_images(cloud, here)
        host = known_name(settings.state, settings.host)
        self.conductor = control.make_conductor(cloud, settings, host=host, place=here, alone=True)
        self.cloud = replace(cloud, leases=self.conductor.leases)
        self.api = control.make_api(self.cloud, self.images, passwords=passwords, healthy=self.health)
        self.ground = Ground(self.cloud, around.room)
        self._fetching = Pool("image-fetches", 4, counters=around.counters)
        self._images_for_hosts = images.source(around, self._fetching, cloud.blobs)
        machines = hosts.make_hosts(
            around,
            self._images_for_hosts,
            images.sink(around, self._fetching, self.cloud),
            lambda: hosts.names_of_all(settings),
        )
        self.hosts, self.fake_hosts = machines.agents, machines.fake
        self._threads = machines.threads
        roles: list[Part] = [self.api, self.conductor, self.hosts]
        self._process = Process(
            around.clock,
            [
                Plain(stop=self._close_threads),
                control.database(self.cloud, settings, self.ground),
                Plain(stop=self.bus.close, parts=self._bus_parts),
                control.image_store(self.cloud, settings),
                *roles,
                Plain(start=self._hosts_known),
            ],
        )

    @property
    def agents(self) -> list[Agent]:
        """The agents of this process's hosts, once it has started."""
        return self.hosts.all

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        await self.api.app(scope, receive, send)

    async def health(self) -> dict[str, str]:
        """Return the state of each part: `ok`, or what is the matter."""
        return await self._process.health()

    async def start(self) -> None:
        """Bring everything up, from the ground to the roof. Raises FloeError with what is missing."""
        await self._process.start()

    async def stop(self) -> None:
        """Take everything down again, from the roof to the ground; guests go on running."""
        await self._process.stop()

    async def idle(self) -> None:
        """Wait until nothing is being done any more; for trials and tests."""
        await self.bus.idle()
        await self.conductor.idle()
        await self.images.idle()

    async def _hosts_known(self) -> None:
        """Wait a while for the conductor to hear of every agent: a server can be placed on those alone.

        Serving begins all the same then, and `health` says how many there are.
        """
        fleet = self.conductor.fleet
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HOSTS_SECONDS):
                for agent in self.agents:
                    while fleet.missing(agent.host):  # noqa: ASYNC110  # a few turns
                        await asyncio.sleep(0.002)
                fleet.stop_awaiting()  # hosts of an earlier start that this process does not run

    async def _bus_parts(self) -> dict[str, str]:
        return {"bus": self.bus.trouble or OK}

    async def _close_threads(self) -> None:
        self.cloud.pools.close()
        self._threads.close()
        self._fetching.close()


def _demand_all(settings: Settings) -> None:
    """Raise Invalid for roles that would not find the others, which are in no process that they can reach."""
    if settings.bus:
        raise Invalid(f"bus is {settings.bus!r}, which `floe up` has no use for: its bus is within it. Leave bus out.")
    named = [name for name in ROLES if name in settings.role_names()]
    if missing := [name for name in ROLES if name not in named]:
        raise Invalid(
            f"roles is {settings.roles!r}, without {' and '.join(missing)}: `floe up` has all roles and a bus "
            "within it. Roles in processes of their own need a database and a bus that several processes "
            "can share: see `floe api`, `floe conductor` and `floe agent`. "
            f"Leave roles out, or name all: {','.join(ROLES)}."
        )
