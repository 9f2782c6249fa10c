"""A host whose answer to a network change was lost kept its old security group rules for a minute.

The conductor waited for the answer far longer than for any other, and changes that came meanwhile waited with it.
Found by simulation, as the run that took longest to come to rest.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from floe.bus.local import LocalBus
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.network_change import NetworkChange
from floe.core.clock import FixedClock
from floe.core.hosts import Host
from floe.core.messages import ApplyNetwork, Command, NetworkApplied, Result
from floe.simulation.database import SimulatedDatabase
from floe.simulation.site import make_cloud
from floe.simulation.storage import SimulatedBlobs
from floe.store import host_networks
from floe.store.memory import MemoryStore

NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def test_a_network_change_without_an_answer_is_given_up_after_the_time_of_one_request(tmp_path: Path) -> None:
    asked: list[int] = []

    async def silent_at_first(command: Command) -> Result:
        assert isinstance(command, ApplyNetwork)
        asked.append(command.network.generation)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return NetworkApplied(generation=command.network.generation)

    async def pause(_point: str) -> None:
        return

    store, bus = MemoryStore(), LocalBus()
    db = SimulatedDatabase(store, pause=pause, refusal=lambda: None, committed=lambda: None)
    cloud = make_cloud(db, bus, SimulatedBlobs(pause, tmp_path), FixedClock(), lambda: "id")
    fleet = Fleet(db, bus, cloud.clock, ConductorSettings(answer=0.01))
    fleet.learn(Host(name="h1", created_at=NOW, updated_at=NOW, started_at=NOW, last_seen=NOW))
    store.write(lambda conn: host_networks.want(conn, ["h1"]))
    await bus.serve("h1", silent_at_first)
    change = NetworkChange(cloud, fleet)
    async with asyncio.timeout(20):
        change.nudge()
        await change.idle()
        assert store.read(host_networks.stale) == ["h1"]
        change.nudge()
        await change.idle()
    assert store.read(host_networks.stale) == []
    assert asked == [1, 1]
    await bus.close()
    store.close()
