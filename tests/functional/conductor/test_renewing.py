"""What a conductor has in hand stays its own while it lives: all leases that are due are renewed in one write."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings
from floe.conductor.renewing import OVER
from floe.core.actions import Action
from floe.core.entries import FAILED
from floe.core.messages import Destroy, Failed
from floe.store import actions, leases

from .conftest import IMAGE, SETTINGS, Site, new_action, new_server, until

LEASE = timedelta(seconds=SETTINGS.lease)


class Counting:
    """The database, which counts the writes."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def write(self, *args: Any) -> Any:
        self.writes += 1
        return await self._db.write(*args)


async def building(site: Site, many: int) -> list[str]:
    """Have builds under way on a host, none of which ends; return their servers."""
    host = await site.add_host("h1", memory_mib=1024 * many)
    host.script.extend(asyncio.Event() for _ in range(many))
    made = [(await site.post()).id for _ in range(many)]
    await until(lambda: all(found.lease_until is not None for found in builds(site, made)))
    await until(lambda: not host.script)
    return made


def builds(site: Site, servers: list[str]) -> list[Action]:
    return [site.actions(ident)[-1] for ident in servers]


async def test_all_leases_that_are_due_are_renewed_in_one_write_and_no_sooner(cloud: Cloud) -> None:
    db = Counting(cloud.db)
    conductor = Conductor(replace(cloud, db=db), settings=SETTINGS)
    await conductor.start()
    site = Site(replace(cloud, db=db), conductor)
    made = await building(site, 3)
    before, db.writes = builds(site, made), 0

    cloud.clock.advance(SETTINGS.lease / 5)  # type: ignore[attr-defined]
    await conductor.runner.renew()
    assert db.writes == 0
    cloud.clock.advance(SETTINGS.lease / 10)  # type: ignore[attr-defined]
    await conductor.runner.renew()
    await conductor.runner.renew()
    assert db.writes == 1
    assert {found.lease_until for found in builds(site, made)} == {cloud.clock.now() + LEASE}
    assert [found.writes for found in builds(site, made)] == [found.writes + 1 for found in before]
    assert [found.state for found in builds(site, made)] == ["running"] * 3
    await conductor.stop()


def test_between_two_renewals_a_conductor_may_stand_still_for_half_a_lease() -> None:
    patience = ConductorSettings()
    assert patience.lease * OVER + patience.renew <= patience.lease / 2


async def test_what_another_one_took_meanwhile_is_left_to_it(site: Site) -> None:
    made = await building(site, 2)
    lost, kept = builds(site, made)
    site.cloud.clock.advance(SETTINGS.lease + 1)  # type: ignore[attr-defined]
    now = site.cloud.clock.now()

    def take(conn: Any) -> None:
        assert actions.take(conn, lost, lost.attempts, "another", "running", now, now + timedelta(seconds=5))

    await site.cloud.db.write(take)
    await site.conductor.runner.renew()
    lost, kept = builds(site, made)
    assert (lost.lease_owner, lost.lease_until) == ("another", now + timedelta(seconds=5))
    assert (kept.lease_owner, kept.lease_until) == (site.conductor.owner, now + LEASE)


async def test_an_action_that_is_over_or_nobodys_is_not_kept(cloud: Cloud) -> None:
    now = cloud.clock.now()
    over, nobodys = (new_action(cloud, new_server(cloud, 1024).id, "create", IMAGE) for _ in range(2))

    def write(conn: Any) -> dict[str, int]:
        for action in (over, nobodys):
            actions.add(conn, action)
        assert actions.take(conn, over, 0, "me", "running", now, now + LEASE)
        actions.close(conn, over.id, "succeeded", None, now)
        return leases.keep(conn, "me", [over.id, nobodys.id, "unknown"], now, now + LEASE)

    assert await cloud.db.write(write) == {}
    await cloud.bus.close()


async def test_what_came_of_a_step_is_seen_while_it_is_taken_back_for_long(cloud: Cloud) -> None:
    conductor = Conductor(cloud, settings=SETTINGS)
    await conductor.start()
    site = Site(cloud, conductor)
    host = await site.add_host("h1")
    broken = Failed(kind="host_failure", message="It broke.", stage="guest")
    host.script.append(broken)
    host.destroy_script.extend([broken] * 1000)
    server = await site.post()
    await until(lambda: host.sent(Destroy))
    cloud.clock.advance(SETTINGS.lease / 2)  # type: ignore[attr-defined]
    await conductor.runner.renew()
    (action,) = site.actions(server.id)
    steps = await cloud.db.read(lambda conn: actions.journal(conn, action.id))
    assert {step.name: step.state for step in steps}["spawn"] == FAILED
    assert action.lease_until == cloud.clock.now() + LEASE
    await conductor.stop()
