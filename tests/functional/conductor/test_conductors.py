"""A conductor writes that it lives, as it writes when hosts were heard of, and says when it stops."""

from __future__ import annotations

from floe.cloud import conductors
from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor

from .conftest import SETTINGS


async def told(cloud: Cloud) -> dict[str, bool]:
    return {each.role.host: each.up for each in await conductors.listed(cloud)}


async def test_a_conductor_is_up_while_it_runs_and_down_when_it_stopped(cloud: Cloud) -> None:
    conductor = Conductor(cloud, settings=SETTINGS, host="ctl")
    await conductor.start()
    assert await told(cloud) == {"ctl": True}
    await conductor.stop()
    assert await told(cloud) == {"ctl": False}
    again = Conductor(cloud, settings=SETTINGS, host="ctl")
    await again.start()
    assert await told(cloud) == {"ctl": True}, "the same conductor, started once more"
    await again.stop()


async def test_a_conductor_that_only_runs_on_stays_up_and_one_that_died_does_not(cloud: Cloud) -> None:
    alive = Conductor(cloud, settings=SETTINGS, sole=False, host="alive")
    dead = Conductor(cloud, settings=SETTINGS, sole=False, host="dead")
    await alive.start()
    await dead.start()
    for _ in range(3):
        cloud.clock.advance(30)  # type: ignore[attr-defined]
        await alive.sweeps.write_seen()
    assert await told(cloud) == {"alive": True, "dead": False}
    await dead.stop()
    await alive.stop()
