"""Ports that administrators bind to hosts in a run, while servers take them, and users change and remove them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from floe.cloud import ports
from floe.cloud.cloud import Cloud
from floe.simulation.routed import Args, Routed
from floe.simulation.site import Site, operator_of, user_of
from floe.store import hosts as host_rows

NOWHERE = "h9"
"""A host that there is not."""


class Pinned:
    """Administrators who bind ports, of those that users of `routed` may have; `mine` is told of a new one."""

    def __init__(self, routed: Routed, site: Site, mine: Callable[[int, str], None]) -> None:
        self._routed, self._site, self._mine = routed, site, mine

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for."""
        deeds: dict[str, Callable[[Cloud, str, Args], Awaitable[None]]] = {
            "new": self._new,
            "bind": self._bind,
            "let-go": self._let_go,
            "switch": self._switch,
        }
        await deeds[args["do"]](cloud, name, args)

    async def _new(self, cloud: Cloud, name: str, args: Args) -> None:
        """Make a port that is bound, for a server to take perhaps."""
        project, host = args["project"], await self._host(cloud, args)
        network_id = self._routed.network(project, args["other"]) or self._site.network_ids[project]
        (made,) = await ports.create(
            cloud, operator_of(project, name), [{"network_id": network_id, "name": name, "host": host}]
        )
        self._mine(project, made.id)

    async def _bind(self, cloud: Cloud, name: str, args: Args) -> None:
        """Bind a port to a host, or to another one."""
        if port_id := await self._routed.port(cloud, args["project"], args["other"]):
            host = await self._host(cloud, args)
            await ports.update(cloud, operator_of(args["project"], name), port_id, {"host": host})

    async def _let_go(self, cloud: Cloud, name: str, args: Args) -> None:
        if port_id := await self._routed.port(cloud, args["project"], args["other"]):
            await ports.update(cloud, operator_of(args["project"], name), port_id, {"host": ""})

    async def _switch(self, cloud: Cloud, name: str, args: Args) -> None:
        """Take a port out of service, or back."""
        if port_id := await self._routed.port(cloud, args["project"], args["other"]):
            await ports.update(cloud, user_of(args["project"], name), port_id, {"up": args["pick"] % 2 > 0})

    async def _host(self, cloud: Cloud, args: Args) -> str:
        known: list[str] = [host.name for host in await cloud.db.read(host_rows.every)]
        return NOWHERE if not known or args["pick"] % 7 == 0 else known[args["pick"] % len(known)]
