"""An agent that finds at its start a port it cannot plug starts all the same, and serves the rest."""

from __future__ import annotations

from typing import Any

from floe.dataplane.fake import FakePlane, FakeScript


async def test_one_bad_port_keeps_no_host_from_starting(start: Any, kit: Any) -> None:
    user = await start(hosts=1)
    cloud = user.cloud
    bad, good = await user.built(), await user.built(name="b")
    (agent,) = cloud.node.agents
    ports = {port.server_id: port.port_id for port in agent._plane.applied.ports}
    await agent.stop()
    fleet = cloud.node.conductor.fleet
    await kit.until(lambda: not fleet.alive("fake-1"))
    plane = FakePlane(FakeScript(faults={ports[bad]: "the tap cannot be made"}))
    again = kit.agent_of(cloud, "fake-1", plane=plane)
    cloud.node.agents[0] = again
    await again.start()
    await kit.until(lambda: fleet.alive("fake-1"))
    third = await user.built(name="c")
    await user.delete(good)
    await kit.until(lambda: user.gone(good))
    assert {port.server_id for port in plane.applied.ports} == {third}
    assert set(cloud.node.fake_hosts["fake-1"].guests) == {bad, third}, "a guest that runs is not harmed"
    plane.script.faults.clear()
    await again._look()
    assert {port.server_id for port in plane.applied.ports} == {bad, third}
    assert kit.violations(cloud) == []
