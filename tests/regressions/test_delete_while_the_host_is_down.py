"""A server deleted while its host is down is gone for its user, and for the host when it comes back."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("ends", ["stop", "crash"])
async def test_a_host_that_comes_back_gives_up_the_guests_of_deleted_servers(start: Any, kit: Any, ends: str) -> None:
    user = await start(hosts=1)
    cloud = user.cloud
    ident, other = await user.built(), await user.built(name="b")
    (agent,) = cloud.node.agents
    await getattr(agent, ends)()
    if ends == "crash":
        cloud.node.conductor.fleet.lost(agent.host)
    else:
        await kit.until(lambda: not cloud.node.conductor.fleet.alive(agent.host))
    await user.delete(ident)
    await kit.until(lambda: user.gone(ident))
    guests = cloud.node.fake_hosts[agent.host].guests
    assert set(guests) == {ident, other}, "nobody could tell the host"
    await agent.start()
    await kit.until(lambda: set(guests) == {other})
    await kit.until(lambda: kit.violations(cloud) == [])
    assert (await user.server(other))["status"] == "ACTIVE"
