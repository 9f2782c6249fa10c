"""The namespaces of a host's routers: what is in them is looked at, made as it should be, and told to neighbours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from floe.core.errors import HostFailure
from floe.core.host_network import HostNetwork, HostRouter, HostSegment
from floe.dataplane.checks import METADATA_ADDRESS
from floe.dataplane.linux import announcements, flows, kernel, router_rules, routers, shares, stack
from floe.dataplane.linux.loaded import LoadedRules
from floe.dataplane.linux.names import inner_leg, router_namespace
from floe.dataplane.linux.router_rules import TABLE, Translation
from floe.dataplane.linux.routers import Inside, InsidePlan
from floe.dataplane.linux.ruleset import Tables
from floe.dataplane.linux.run import ip_batch
from floe.dataplane.protocol import MetadataAddress

log = logging.getLogger(__name__)

_AGAIN_SECONDS = (1.0, 2.0)
"""A bridge takes a moment until it forwards from a new port: what was announced before nobody heard."""

State = tuple[int, HostRouter, tuple[int, ...]]
"""A namespace (inode), and the router and its networks' MTUs that it was made for."""


@dataclass(slots=True)
class _Space:
    """What is known of a router's namespace."""

    inode: int
    rules: LoadedRules
    made: State | None = None
    translation: Translation | None = None
    """What is in force, and all flows of others have ended; None where that is not known."""
    announced: list[tuple[str, str, str]] = field(default_factory=list)


class RouterSpaces:
    """Knows the namespaces by router. Each router keeps at most `connections`."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._spaces: dict[str, _Space] = {}
        self._announcing: set[asyncio.Task[None]] = set()

    async def look(self, network: HostNetwork, namespaces: Mapping[str, int], *, again: bool) -> dict[str, Inside]:
        """Return what is inside the namespaces there are; with `again` also where it was made as it should be."""
        segments = {segment.network_id: segment for segment in network.segments}
        found: dict[str, Inside] = {}
        for router in network.routers:
            inode = namespaces.get(router_namespace(router.router_id))
            if inode is None:
                continue
            space = self._spaces.get(router.router_id)
            if again or space is None or space.made != _state(inode, router, segments):
                with contextlib.suppress(HostFailure):  # it went meanwhile, and what needs it says so
                    found[router.router_id] = await _look(router)
        return found

    async def make(
        self, network: HostNetwork, looked: Mapping[str, Inside], renewed: Sequence[str]
    ) -> tuple[dict[str, str], set[str]]:
        """Make what was looked at, and all that is renewed, as it should be.

        Returns the routers of which something failed, and why; and those that nothing may reach, as nothing judges it.
        """
        segments = {segment.network_id: segment for segment in network.segments}
        namespaces = kernel.namespaces()
        failed: dict[str, str] = {}
        unsafe: set[str] = set()
        wanted = {router.router_id for router in network.routers}
        self._spaces = {key: space for key, space in self._spaces.items() if key in wanted}
        for router in network.routers:
            ident = router.router_id
            if ident not in looked and ident not in renewed:
                continue
            inode = namespaces.get(router_namespace(ident))
            if inode is None:
                failed[ident] = f"Network namespace {router_namespace(ident)} of the router is not there."
                unsafe.add(ident)
                continue
            space = self._spaces.get(ident)
            if space is None or space.inode != inode:
                space = self._spaces[ident] = _Space(inode=inode, rules=LoadedRules(router_namespace(ident)))
            space.made = None
            try:
                seen = looked[ident] if ident in looked and ident not in renewed else await _look(router)
                problem = await self._make(router, segments, space, seen)
            except HostFailure as error:
                problem = f"{error.message} {error.detail}".strip()
                unsafe.add(ident)
            if problem:
                failed[ident] = problem
            else:
                space.made = _state(inode, router, segments)
        return failed, unsafe

    async def _make(
        self, router: HostRouter, segments: Mapping[str, HostSegment], space: _Space, seen: Inside
    ) -> str | None:
        """Make one: the rules first, then what they judge. Ends what a translation carried that is no more."""
        name = router_namespace(router.router_id)
        if seen.unlike:
            await kernel.in_namespace(name, lambda: stack.route(seen.devices))
        await space.rules.load(self._tables(router))
        before, now = space.translation, router_rules.translation(router)
        todo = routers.within(router, segments, seen)
        problem = await _batch(name, todo)
        ended = before.ended(now) if before is not None else None
        if ended is None or ended:
            space.translation = None
            count = await kernel.in_namespace(name, lambda: flows.end(now, ended))
            if count:
                log.info("router %s: %d flow(s) of addresses that it no longer has were ended", router.router_id, count)
        space.translation = now
        macs = {inner_leg(leg.port_id): leg.mac for leg in router.legs}
        space.announced = [(device, macs[device], address) for device, address in todo.announced]
        return problem

    async def announce(self) -> None:
        """Tell neighbours of the addresses that are new, now and again a little later."""
        fresh = {key: space.announced for key, space in self._spaces.items() if space.announced}
        for space in self._spaces.values():
            space.announced = []
        if not fresh:
            return
        await _announce(fresh)
        task = asyncio.create_task(_announce_again(fresh), name="announce addresses of routers")
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    async def close(self) -> None:
        """Announce no more."""
        for task in self._announcing:
            task.cancel()
        await asyncio.gather(*self._announcing, return_exceptions=True)

    def forget(self) -> None:
        """Know nothing of any namespace."""
        self._spaces.clear()

    async def drift(self, network: HostNetwork, inside: Mapping[str, Inside]) -> list[str]:
        """Return how what is inside differs from what should be; what is not there at all is told elsewhere."""
        segments = {segment.network_id: segment for segment in network.segments}
        found: list[str] = []
        for router in network.routers:
            ident = router.router_id
            seen, space = inside.get(ident), self._spaces.get(ident)
            if seen is None:
                continue
            found += [
                f"router {ident}: not done yet: ip {line}" for line in routers.within(router, segments, seen).lines
            ]
            found += [f"router {ident}: {path} is not {value}" for path, value in seen.unlike.items()]
            rules = space.rules if space is not None else LoadedRules(router_namespace(ident))
            found += [f"router {ident}: {text}" for text in await rules.drift(self._tables(router))]
        return found

    def _tables(self, router: HostRouter) -> Tables:
        return {shares.TABLE: shares.of_router(self._connections), TABLE: router_rules.rules(router)}

    def metadata(self, namespaces: Mapping[str, int]) -> list[MetadataAddress]:
        """Return where guests ask at the routers that have been made."""
        return [
            MetadataAddress(router_id=ident, namespace=name, address=METADATA_ADDRESS, namespace_id=namespaces[name])
            for ident, space in sorted(self._spaces.items())
            if space.made is not None and space.made[1].interfaces and (name := router_namespace(ident)) in namespaces
        ]


def _state(inode: int, router: HostRouter, segments: Mapping[str, HostSegment]) -> State:
    return inode, router, tuple(segments[leg.network_id].mtu for leg in router.legs)


async def _look(router: HostRouter) -> Inside:
    def looked() -> Inside:
        devices = kernel.devices()
        return Inside(
            devices=devices,
            addresses=kernel.addresses(),
            routes=frozenset(kernel.routes()),
            unlike=stack.unrouted(devices),
        )

    return await kernel.in_namespace(router_namespace(router.router_id), looked)


async def _batch(namespace: str, todo: InsidePlan) -> str | None:
    """Run the lines inside a namespace, each whatever became of the others; return what failed."""
    numbers, said = await ip_batch(todo.lines, namespace)
    return f"ip {'; '.join(todo.lines[number] for number in numbers)}: {said}" if numbers else None


async def _announce(fresh: Mapping[str, list[tuple[str, str, str]]]) -> None:
    for ident, addresses in fresh.items():
        with contextlib.suppress(HostFailure):  # the router went meanwhile
            await kernel.in_namespace(router_namespace(ident), _told(addresses))


async def _announce_again(fresh: Mapping[str, list[tuple[str, str, str]]]) -> None:
    for seconds in _AGAIN_SECONDS:
        await asyncio.sleep(seconds)
        await _announce(fresh)


def _told(addresses: list[tuple[str, str, str]]) -> Callable[[], None]:
    return lambda: announcements.announce(addresses)
