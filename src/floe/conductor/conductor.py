"""The conductor role: it owns every action from the request's commit to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from floe.cloud.cloud import Cloud
from floe.cloud.own_actions import Leases
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.host_events import HostEvents
from floe.conductor.network_change import NetworkChange
from floe.conductor.performing import Observer, Performer, unobserved
from floe.conductor.registry import Workflows, sagas
from floe.conductor.removal import Removal
from floe.conductor.runner import Runner
from floe.conductor.sweeps import Sweeps
from floe.core.callers import work_for_the_cloud
from floe.core.health import OK
from floe.core.messages import ActionWaits, ForOne, NetworkChanged
from floe.store import actions, conductors
from floe.store.engine import Connection, Isolation

log = logging.getLogger(__name__)


class Conductor:
    """One conductor of any number, on a `host`. A `place` is what one process at a time can run at.

    Who starts at a place knows by that, whatever clocks say, that the one before it there is dead, and goes on at once
    with what that had in hand. What others have in hand is theirs until their leases run out.
    """

    def __init__(
        self,
        cloud: Cloud,
        *,
        settings: ConductorSettings | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        host: str = "localhost",
        place: str | None = None,
        observer: Observer = unobserved,
        workflows: Workflows = sagas,
    ) -> None:
        settings = settings or ConductorSettings()
        self._cloud, self._host, self._place = cloud, host, place
        self.owner = actions.owner_at(place or "", cloud.new_id())
        """By which its leases are known; another one with every start."""
        self.fleet = Fleet(cloud.db, cloud.bus, cloud.clock, settings)
        self.runner = Runner(
            cloud.db,
            cloud.clock,
            workflows(cloud, self.fleet, settings),
            Performer(self.fleet.command, Removal(self.fleet, settings), observer),
            settings,
            owner=self.owner,
            sleep=sleep,
            waited_for=self.fleet.waited_for.add,
            look_at=self._look_soon,
        )
        self.leases = Leases(
            owner=self.owner, lease=settings.lease, take=self.runner.go_on, at_work=self.runner.at_work
        )
        """For a cloud whose requests begin actions in its name."""
        self.networks = NetworkChange(cloud, self.fleet)
        self.events = HostEvents(
            cloud,
            self.fleet,
            owner=self.owner,
            progress=self.runner.progress,
            at_work_on=self.runner.at_work_on,
            nudge_network=self.networks.nudge,
            sleep=sleep,
        )
        self.sweeps = Sweeps(
            cloud,
            self.fleet,
            host=host,
            owner=self.owner,
            sleep=sleep,
            actions=self.runner.sweep,
            renew=self.runner.renew,
            networks=self.networks.nudge,
            check=self.events.check,
        )

    async def start(self) -> None:
        """Listen to the hosts, and go on with every action that is open."""
        # In a task of its own: whoever calls this does not become the cloud by it.
        await asyncio.get_running_loop().create_task(self._begin(), name="conductor-start")

    async def _begin(self) -> None:
        work_for_the_cloud()
        now = self._cloud.clock.now()

        def begin(conn: Connection) -> int:
            conductors.put(conn, self._host, now)
            return actions.break_leases(conn, self._place) if self._place else 0

        if broken := await self._cloud.db.write(begin, Isolation.READ_COMMITTED):
            log.info("%d actions were left by the conductor before this one, which died; they go on", broken)
        await self.fleet.start()
        await self._cloud.bus.listen(self.events.hear)
        await self._cloud.bus.share(self._take)
        await self.runner.sweep()
        self.networks.nudge()
        await self.sweeps.start()

    async def stop(self) -> None:
        """Let go of everything where it stands."""
        await self._cloud.bus.leave(self.events.hear)
        await self._cloud.bus.leave(self._take)
        await self.runner.stop()
        await self.networks.stop()
        await self.events.stop()
        await self.sweeps.stop()

    async def parts(self) -> dict[str, str]:
        """Say whether the rounds turn, and how many hosts live."""
        late, hosts = self.sweeps.late(), self.fleet.table.names
        alive = sum(map(self.fleet.alive, hosts))
        some = f"ok: {alive} of {len(hosts)} are alive" if alive < len(hosts) else OK
        none = f"none of {len(hosts)} is alive" if hosts else "there is none"
        return {
            "conductor": f"its rounds have not turned for {late:.0f} s" if late else OK,
            "hosts": some if alive else none,
        }

    async def idle(self) -> None:
        """Wait until no action is in hand and no host is being told anything; for trials and tests."""
        await self.runner.idle()
        await self.networks.idle()
        await self.events.idle()

    def _look_soon(self, host: str) -> None:
        self.events.look_soon(host)  # they are made after the runner, whose progress they tell

    async def _take(self, event: ForOne) -> None:
        """Do what there is to be done about an event."""
        if isinstance(event, ActionWaits):
            self.runner.wake(event.action_id, event.action)
        elif isinstance(event, NetworkChanged):
            self.networks.nudge(members=event.members)
        else:
            await self.events.take(event)
