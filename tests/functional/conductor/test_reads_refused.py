"""A database that is away when a workflow reads it: what was asked for waits, and does not fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from floe.conductor.conductor import Conductor
from floe.core.errors import StoreUnavailable

from .conftest import SETTINGS, Failed, Site, until


class Refusing:
    """A database that refuses one read; which, is counted from when `counts` is set."""

    def __init__(self, db: Any, which: int) -> None:
        self._db, self.left, self.counts, self.refused = db, which, False, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def read(self, fn: Callable[[Any], Any], *foreseen: Any) -> Any:
        if self.counts:
            self.left -= 1
            if self.left == 0:
                self.refused = True
                raise StoreUnavailable("The database does not answer.")
        return await self._db.read(fn, *foreseen)


@pytest.mark.once
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("which", range(1, 16))
async def test_whichever_read_is_refused_a_create_and_a_delete_are_done(cloud: Any, failing: bool, which: int) -> None:
    db = Refusing(cloud.db, which)
    reading = replace(cloud, db=db)
    conductor = Conductor(reading, settings=replace(SETTINGS, sweep=0.01))
    await conductor.start()
    site = Site(reading, conductor)
    host = await site.add_host("h1")
    await site.add_host("h2", memory_mib=2048)
    if failing:
        host.script.append(Failed(kind="host_failure", message="It broke.", stage="disk"))
    db.counts = True
    server = await site.post()
    await until(lambda: site.server(server.id).vm_state != "building")
    assert site.server(server.id).vm_state == "active"
    await site.delete(server)
    await until(lambda: site.server(server.id).deleted_at is not None)
    await conductor.stop()
