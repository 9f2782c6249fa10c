"""The conductor role: it owns every action from the request's commit to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from floe.cloud.cloud import Cloud
from floe.cloud.health import Seen
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.host_events import HostEvents
from floe.conductor.image_sweep import ImageSweep
from floe.conductor.network_change import NetworkChange
from floe.conductor.performing import Observer, Performer, unobserved
from floe.conductor.registry import sagas
from floe.conductor.removal import Removal
from floe.conductor.runner import Runner
from floe.conductor.sweeps import Sweeps
from floe.store import actions, conductors
from floe.store.engine import Connection

log = logging.getLogger(__name__)


class Conductor:
    """One conductor. `sole` says that no other one can be alive, so that leases found at the start are dead ones."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        settings: ConductorSettings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sole: bool = True,
        host: str = "localhost",
        observer: Observer = unobserved,
    ) -> None:
        settings = settings or ConductorSettings()
        self._cloud, self._sole, self._host = cloud, sole, host
        self.fleet = Fleet(cloud.db, cloud.bus, cloud.clock, settings)
        self.runner = Runner(
            cloud.db,
            cloud.clock,
            sagas(cloud, self.fleet, settings),
            Performer(self.fleet.command, Removal(self.fleet, settings), observer),
            settings,
            owner=cloud.new_id(),
            sleep=sleep,
        )
        self.networks = NetworkChange(cloud, self.fleet)
        self.events = HostEvents(
            cloud, self.fleet, progress=self.runner.progress, nudge_network=self.networks.nudge, sleep=sleep
        )
        images = ImageSweep(cloud)
        self.sweeps = Sweeps(
            cloud,
            self.fleet,
            host=host,
            sleep=sleep,
            actions=self.runner.sweep,
            renew=self.runner.renew,
            networks=self.networks.nudge,
            check=self.events.check,
            blobs=images.settle,
            stray_blobs=images.strays,
        )
        self._started = False

    async def start(self) -> None:
        """Listen to the hosts, and go on with every action that is open."""
        now = self._cloud.clock.now()

        def begin(conn: Connection) -> int:
            conductors.put(conn, self._host, now)
            return actions.break_leases(conn) if self._sole else 0

        if broken := await self._cloud.db.write(begin):
            log.info("%d actions were left by a conductor that died; they go on", broken)
        await self.fleet.start()
        await self._cloud.bus.listen(self.events.handle)
        self._started = True
        await self.runner.sweep()
        self.networks.nudge()
        self.sweeps.start()

    async def stop(self) -> None:
        """Let go of everything where it stands."""
        self._started = False
        await self.runner.stop()
        await self.networks.stop()
        await self.events.stop()
        await self.sweeps.stop()

    def seen(self) -> Seen:
        """Return which hosts live, and whether the rounds turn."""
        hosts = sorted(self.fleet.table.names)
        alive = [host for host in hosts if self.fleet.alive(host)]
        return Seen(alive=alive, down=[host for host in hosts if host not in set(alive)], late=self.sweeps.late())

    def nudge(self, action_id: str) -> None:
        """Take up an action; call it in the event loop, after the commit that added it."""
        if self._started:
            self.runner.wake(action_id)

    def nudge_network(self) -> None:
        """Bring hosts up to date whose network was changed by the commit just made."""
        if self._started:
            self.networks.nudge()

    async def idle(self) -> None:
        """Wait until no action is in hand and no host is being told anything; for trials and tests."""
        await self.runner.idle()
        await self.networks.idle()
        await self.events.idle()
