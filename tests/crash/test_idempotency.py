"""The process dies between the commit of a create and its answer; the client, who knows nothing, sends it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import servers
from floe.core.context import Context
from floe.core.idempotency import once
from floe.core.new_servers import NewServer

ANN = Context(request_id="r", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))
NEW = NewServer(
    name="a", flavor_id="0", image_id="11111111-1111-4111-8111-111111111111", networks="auto", admin_password=None
)


class Dying:
    """A database whose process dies before or after the first commit that it is asked for."""

    def __init__(self, db: Any, when: str) -> None:
        self._db, self._when, self.dead = db, when, asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    async def write(self, fn: Any, *isolation: Any) -> Any:
        if self._when == "after":
            await self._db.write(fn, *isolation)
        self.dead.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_create_whose_answer_was_lost_with_the_process_is_sent_again_and_happens_once(
    new_town: Callable[[], Any], when: str
) -> None:
    town = new_town()
    request = once("a-key", b"the same body")
    try:
        await town.boot()
        await town.settled()
        doomed = Dying(town.db, when)
        first = asyncio.ensure_future(servers.create(replace(town.cloud, db=doomed), ANN, NEW, request))
        await doomed.dead.wait()
        await town.lose_process()
        await town.boot()
        again = [await servers.create(town.cloud, ANN, NEW, request) for _ in range(2)]
        await town.settled()
        assert not first.done()
        first.cancel()
        ids = {server.id for made in again for server in made.servers}
        assert len(ids) == 1
        assert len({made.admin_password for made in again}) == 1
        assert set(town.machines["h1"].guests) | set(town.machines["h2"].guests) == ids
        assert town.server(ids.pop()).vm_state == "active"
    finally:
        await town.close()
