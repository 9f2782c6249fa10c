"""Processes of one role each, which find the others over a bus and in a database that they share.

Any number of each may run. What is imported here is what a role needs: a host reads nothing of the database's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from floe.api.metrics import Metrics
from floe.api.status import Status
from floe.assembly.process import Part, Plain, Process
from floe.assembly.surroundings import Surroundings
from floe.core.counters import Counters
from floe.core.errors import Unavailable
from floe.core.health import OK
from floe.places import known_name
from floe.pools import Pool

if TYPE_CHECKING:
    from floe.cloud.pools import Pools

log = logging.getLogger(__name__)

_LOOK = 0.2
"""Seconds between looks whether the bus is there."""
_FETCHING = 4
"""Threads of an agent for bytes of images."""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A process, and the ASGI application that it answers requests with, also while it starts."""

    process: Process
    app: Any
    counters: Counters


def api(
    around: Surroundings, *, place: str, passwords: Mapping[str, str], token_keys: Sequence[bytes], url: str
) -> Role:
    """Return an API that runs at a place, and that clients reach at a URL."""
    from floe.assembly import bus_file, control
    from floe.cloud import conductors, keys
    from floe.cloud.health import Ground

    async def conducted() -> dict[str, str]:
        """Say whether anybody does what requests begin."""
        try:
            up = [detail.up for detail in await conductors.listed(cloud)]
        except Unavailable:
            return {"conductors": "nobody knows: the database does not say"}
        few = f"ok: {sum(up)} of {len(up)} are up" if sum(up) < len(up) else OK
        return {"conductors": few if any(up) else "none is up: what is asked for is begun once one is"}

    async def healthy() -> dict[str, str]:
        return await process.health()

    bare = control.make_cloud(around, token_keys=token_keys, url=url)
    images, cloud = control.make_images(bare, place)
    served = control.make_api(cloud, images, passwords=passwords, healthy=healthy)
    bus, database = _bus(around), control.database(cloud, around.settings, Ground(cloud, around.room))
    parts = [
        Plain(stop=_closing(cloud.pools)),
        database,
        *bus_file.parts_of(cloud, around.settings),  # before the bus: this process's own key may be new in it
        bus,
        control.image_store(cloud, around.settings),
        Plain(start=lambda: keys.demand_known(cloud)),
        served,
        Plain(parts=conducted),
    ]
    process = Process(around.clock, parts, engines={"database": database, "bus": bus})
    return Role(process=process, app=served.app, counters=around.counters)


def conductor(around: Surroundings, *, place: str, token_keys: Sequence[bytes]) -> Role:
    """Return a conductor that runs at a place."""
    from floe.assembly import control
    from floe.cloud import keys
    from floe.cloud.health import Ground

    settings = around.settings
    cloud = control.make_cloud(around, token_keys=token_keys, url=settings.public_url, images=False)
    host = known_name(settings.state, settings.host)
    name = f"{host}-{settings.instance}" if settings.instance else host
    works = control.make_conductor(cloud, settings, host=name, place=place, alone=False)
    bus, database = _bus(around), control.database(cloud, settings, Ground(cloud, around.room))
    parts: list[Part] = [
        Plain(stop=_closing(cloud.pools)),
        database,
        bus,
        Plain(start=lambda: keys.demand_known(cloud)),
        works,
    ]
    return _with_status(around, Process(around.clock, parts, engines={"database": database, "bus": bus}))


def agent(around: Surroundings, *, names: Sequence[str], before: Sequence[Part] = ()) -> Role:
    """Return the agents of hosts of these names; what is `before` has started when the bus is looked for."""
    from floe.assembly import hosts, images

    fetching = Pool("blobs", _FETCHING, most_waiting=1024, counters=around.counters)
    machines = hosts.make_hosts(around, images.source(around, fetching), images.sink(around, fetching), lambda: names)
    bus = _bus(around)
    parts: list[Part] = [Plain(stop=_closing(machines.threads, fetching)), *before, bus, machines.agents]
    return _with_status(around, Process(around.clock, parts, engines={"bus": bus}))


def _with_status(around: Surroundings, process: Process) -> Role:
    return Role(process=process, app=Status(Metrics(around.counters), process.health), counters=around.counters)


def _bus(around: Surroundings) -> Part:
    async def parts() -> dict[str, str]:
        return {"bus": around.bus.trouble or OK}

    async def start() -> None:
        try:
            await around.open_bus()
        except Unavailable as error:
            log.warning("the start waits for the bus: %s", error.message)
            while around.bus.trouble:  # noqa: ASYNC110  # it goes on trying
                await asyncio.sleep(_LOOK)

    return Plain(start=start, stop=around.bus.close, parts=parts)


def _closing(*threads: Pool | Pools) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        for each in threads:
            each.close()

    return close
