"""Servers that are deleted in the middle of a move, at any of its steps: both halves go, and what travels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from databases import NewDatabase
from msgspec.structs import replace
from scripted_hosts import KIT
from test_every_step import EPHEMERAL, check, impatient, plans, sent

from floe.cloud import server_resize, servers
from floe.conductor.conductor import Conductor
from floe.conductor.performing import BEFORE, IN
from floe.core.context import Context
from floe.store.schema import create_all

USER = Context(request_id="r", user_id="u" * 32, project_id="p" * 32, roles=frozenset({"member"}))
AT_HOME = {"confirmResize", "revertResize"}
"""Steps of a resize that stays on its host."""
ENDS = {"confirmResize": server_resize.confirm, "revertResize": server_resize.revert}
STEPS = [
    (kind, node.name) for kind in ("migrate", *ENDS) for node in plans()[kind].leaves() if node.name not in AT_HOME
]


@dataclass
class Deleter:
    """Deletes a server as soon as a step comes to a point."""

    point: str
    step: str
    cloud: Any
    server: str = ""
    done: bool = False

    async def observe(self, point: str, name: str) -> None:
        if self.server and not self.done and (point, name) == (self.point, self.step):
            self.done = True
            await servers.delete(self.cloud, USER, self.server)


@pytest.mark.parametrize("point", [BEFORE, IN])
@pytest.mark.parametrize(("kind", "step"), STEPS)
async def test_a_server_that_is_deleted_while_it_moves_leaves_nothing_anywhere(
    tmp_path: Path, new_database: NewDatabase, kind: str, step: str, point: str
) -> None:
    cloud = KIT.make_cloud(tmp_path, new_database)
    await cloud.db.write(create_all)
    hosts = {name: KIT.ScriptedHost(name, sends=sent(cloud)) for name in ("h1", "h2")}
    deleter = Deleter(point, step, cloud)
    settings = replace(KIT.SETTINGS, start_grace=3000.0)
    conductor = Conductor(cloud, settings=settings, place="here", sleep=impatient, observer=deleter.observe)
    for host in hosts.values():
        await cloud.bus.serve(host.name, host.handle)
    await conductor.start()
    for host in hosts.values():
        await cloud.bus.publish(host.up())
        await KIT.until(lambda host=host: conductor.fleet.alive(host.name))
    site = KIT.Site(cloud, conductor, hosts)
    server = await site.post(**EPHEMERAL)
    await site.settle()
    if kind in ENDS:
        await server_resize.migrate(cloud, USER, server.id)
        await site.settle()
    deleter.server = server.id
    begin = ENDS.get(kind, server_resize.migrate)
    await begin(cloud, USER, server.id)
    await site.settle()
    if point == IN and not deleter.done:  # what the database does has no such point
        deleter.point = BEFORE
        await servers.delete(cloud, USER, server.id)
    await conductor.runner.sweep()
    await site.settle()
    for host in hosts:
        await conductor.events.check(host)
    await site.settle()
    check(site, server.id, "deleted")
    await conductor.stop()
    await cloud.bus.close()
    cloud.db.close()
