"""A host that comes back under another name keeps its guests: a new name is no reason to destroy anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from floe.places import host_name


async def test_the_guests_of_a_renamed_host_run_on_and_are_found_again(start: Any, kit: Any) -> None:
    user = await start(hosts=1)
    cloud = user.cloud
    ident = await user.built()
    (agent,) = cloud.node.agents
    await agent.stop()
    renamed = kit.agent_of(cloud, "fake-1", name="other-name")
    await renamed.start()
    await kit.until(lambda: cloud.node.conductor.fleet.alive("other-name"))
    await cloud.settled()
    await cloud.node.conductor.sweeps.slow()
    await cloud.settled()
    assert set(cloud.node.fake_hosts["fake-1"].guests) == {ident}
    assert (cloud.folder / "hosts" / "fake-1" / "guests" / ident).exists()
    assert (await user.server(ident))["status"] == "ACTIVE"
    await renamed.stop()
    await agent.start()
    await kit.until(lambda: kit.violations(cloud) == [])


def test_a_hosts_name_stays_when_the_machine_gets_another(tmp_path: Path) -> None:
    folder = tmp_path / "hosts"
    folder.mkdir()
    (folder / "name").write_text("as-it-was\n")
    assert host_name(tmp_path, "") == "as-it-was"
