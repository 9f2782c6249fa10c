"""All that a host knows of what its network should be, put together of what came, in whatever order it came.

Each entry is known from a generation, and none that is older takes its place. See `core.host_network`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from floe.core.host_network import (
    HostGroup,
    HostNetwork,
    HostPort,
    HostRouter,
    HostSegment,
    MembersChange,
    RoutersChange,
)

TOMBSTONES = 2048
"""Removed ports that a host remembers for certain; at twice as many it forgets the older half."""

ASIDE = 64
"""Routers that a host keeps although no port is on their networks; of more, it forgets those known from longest ago."""


@dataclass(slots=True)
class HostNetworkState:
    """All that an agent knows of its host's network, merged from fragments and wholes by generation."""

    generation: int = 0
    segments: dict[str, HostSegment] = field(default_factory=dict)
    ports: dict[str, HostPort] = field(default_factory=dict)
    groups: dict[str, HostGroup] = field(default_factory=dict)
    routers: dict[str, HostRouter] = field(default_factory=dict)
    learnt: dict[str, int] = field(default_factory=dict)
    """Per segment, port, group or router, the generation it was learnt at; a removed port stays here as a tombstone."""
    members_at: int = 0
    """The latest position that a whole or a difference of groups' members told of."""
    known_at: dict[str, int] = field(default_factory=dict)
    """Per group id, the position at which its members are known."""
    aside: dict[str, HostNetwork] = field(default_factory=dict)
    """Routers, with their networks, that no port here needs, known from later than the last whole.

    A command that is late may bring a port that does, and with it what the router was before.
    """
    _all_used: bool = field(default=False, compare=False, repr=False)
    """Whether some port is known to need all of the rest: then there is nothing to look for."""

    def merge(self, fragment: HostNetwork) -> None:
        """Add what a command brings; entries that are known from a newer generation stay as they are.

        Of routers and ports a whole knows all there are at its generation. What came for what is not taken goes again:
        a router may have left a network meanwhile, or all that are here; a port may have been deleted.
        """
        self.members_at = self.members_at or fragment.members_at
        for segment in fragment.segments:
            if self._newer(segment.network_id, fragment.generation):
                self._all_used = self._all_used and segment.network_id in self.segments
                self.segments[segment.network_id] = segment
        for group in fragment.groups:
            if self._newer(group.group_id, fragment.generation):
                self._take_group(group, fragment.members_at)
        refused = self._recall(fragment)
        for router in fragment.routers:
            refused = not self._take_router(router, fragment.generation) or refused
        refused = self._leave(fragment) or refused
        for port in fragment.ports:
            gone = fragment.generation < self.generation and port.port_id not in self.ports
            if not gone and self._newer(port.port_id, fragment.generation):
                before = self.ports.get(port.port_id)
                self._all_used = self._all_used and (before is None or _needs_as_much(port, before))
                self.ports[port.port_id] = port
            else:
                refused = True
        if refused:
            self._forget_unused()

    def takes(self, change: MembersChange) -> bool:
        """Say whether a difference of groups' members joins on to what is known, without a gap."""
        return all(self.known_at.get(entry.group_id, -1) >= entry.after for entry in change.groups)

    def change_members(self, change: MembersChange) -> None:
        """Take such a difference; what is known already, or does not join on, changes nothing."""
        if not self.takes(change):
            return
        for entry in change.groups:
            if self.known_at[entry.group_id] < change.to:
                group = self.groups[entry.group_id]
                members = set(group.remote_members).union(entry.added).difference(entry.removed)
                self.groups[entry.group_id] = replace(group, remote_members=tuple(sorted(members)))
                self.known_at[entry.group_id] = change.to
        self.members_at = max(self.members_at, change.to)

    def change_routers(self, change: RoutersChange) -> None:
        """Take such a change; of what is known from later it changes nothing."""
        if change.generation < self.generation:
            return  # a whole that is later knows all of it
        self.merge(HostNetwork(generation=change.generation, segments=change.segments, routers=change.routers))
        for router_id in change.gone:
            if self._newer(router_id, change.generation):
                self.routers.pop(router_id, None)
                self.aside.pop(router_id, None)
        self._forget_unused()
        self._forget_tombstones()

    def remove_ports(self, port_ids: tuple[str, ...], generation: int) -> None:
        """Forget ports; a fragment or whole of an older generation does not bring them back."""
        gone = [self.ports.pop(port_id, None) for port_id in port_ids if self._newer(port_id, generation)]
        if not self._all_used or not all(self._is_like_another(port) for port in gone if port is not None):
            self._forget_unused()
        self._forget_tombstones()

    def remove_ports_of(self, server_id: str, port_ids: tuple[str, ...], generation: int) -> None:
        """Forget ports of a server.

        Those that are still its own go whatever their generation; one that has become another server's since
        then stays.
        """
        own = [port for port in port_ids if port in self.ports and self.ports[port].server_id == server_id]
        self.remove_ports(port_ids, generation)
        for port in own:
            if port in self.ports:
                self.remove_ports((port,), self.learnt[port])

    @property
    def newest(self) -> int:
        """The latest generation that anything was learnt at."""
        return max(self.generation, *self.learnt.values(), 0)

    @property
    def members_newest(self) -> int:
        """The latest position that members of any group are known at."""
        return max(self.members_at, *self.known_at.values(), 0)

    def unlearn(self, port_ids: tuple[str, ...]) -> None:
        """Know no more of these removed ports than a host that never had them, and count as out of date."""
        for port_id in port_ids:
            self.learnt.pop(port_id, None)
        self.generation = 0

    def replace(self, whole: HostNetwork) -> bool:
        """Take the whole state at its generation, keeping what was learnt later; False if it is out of date."""
        if whole.generation < self.generation:
            return False
        kept = {ident for ident, generation in self.learnt.items() if generation > whole.generation}
        known = {group.group_id for group in whole.groups} | kept
        self.segments = {k: v for k, v in self.segments.items() if k in kept}
        self.groups = {k: v for k, v in self.groups.items() if k in known}
        self.ports = {k: v for k, v in self.ports.items() if k in kept}
        self.routers = {k: v for k, v in self.routers.items() if k in kept}
        self.learnt = {k: v for k, v in self.learnt.items() if k in kept}
        self.merge(whole)
        self.generation = whole.generation
        self.members_at = max(self.members_at, whole.members_at)
        self.aside = {k: v for k, v in self.aside.items() if v.generation > whole.generation}
        self._forget_unused()
        return True

    def snapshot(self) -> HostNetwork:
        """Return what should be, in a fixed order, for the data plane."""
        return HostNetwork(
            generation=self.generation,
            segments=tuple(self.segments[k] for k in sorted(self.segments)),
            ports=tuple(self.ports[k] for k in sorted(self.ports)),
            groups=tuple(self.groups[k] for k in sorted(self.groups)),
            routers=tuple(self._reaching(self.routers[k]) for k in sorted(self.routers)),
            members_at=self.members_at,
        )

    def _reaching(self, router: HostRouter) -> HostRouter:
        """Return a router with those of its floating IPs and port forwardings that lead to ports that are here still.

        A port goes by a command of its own, which says nothing of routers, and one that is to come may be known of
        before it is here.
        """
        floating = tuple(each for each in router.floating if each.port_id in self.ports)
        forwarded = tuple(each for each in router.forwarded if each.port_id in self.ports)
        if len(floating) == len(router.floating) and len(forwarded) == len(router.forwarded):
            return router
        return replace(router, floating=floating, forwarded=forwarded)

    def _newer(self, ident: str, generation: int) -> bool:
        if self.learnt.get(ident, -1) > generation:
            return False
        self.learnt[ident] = generation
        return True

    def _forget_tombstones(self) -> None:
        """Keep the latest of the removed ports: no command is under way for as long as so many removals take."""
        there = len(self.ports) + len(self.segments) + len(self.groups) + len(self.routers)
        if len(self.learnt) <= there + 2 * TOMBSTONES:
            return
        known = self.ports.keys() | self.segments.keys() | self.groups.keys() | self.routers.keys() | self.aside.keys()
        gone = sorted(self.learnt.keys() - known, key=self.learnt.__getitem__)
        for ident in gone[:-TOMBSTONES]:
            del self.learnt[ident]

    def _take_router(self, router: HostRouter, generation: int) -> bool:
        """Take a router that came; False where that, or some of what came with it, is not to stay."""
        ident = router.router_id
        known = ident in self.routers or self._may_be_on_its_networks(router, generation)
        if not known or not self._newer(ident, generation):
            return False
        self.aside.pop(ident, None)
        self._all_used = self._all_used and self.routers.get(ident) == router
        self.routers[ident] = router
        return True

    def _may_be_on_its_networks(self, router: HostRouter, generation: int) -> bool:
        """Say whether no whole and no port is known from later that would have brought this router."""
        joined = {leg.network_id for leg in router.interfaces}
        there = (port.port_id for port in self.ports.values() if port.network_id in joined)
        return generation >= self.generation and all(self.learnt.get(port, 0) <= generation for port in there)

    def _leave(self, fragment: HostNetwork) -> bool:
        """Take routers off the networks that a fragment has ports on, if it would have brought them; True if any was.

        They left while no port of this host was there, so that it was not told.
        """
        named = {router.router_id for router in fragment.routers}
        others = [name for name in self.routers.keys() - named if self.learnt.get(name, 0) < fragment.generation]
        left = {port.network_id for port in fragment.ports} if others else set()
        changed = False
        for name in others:
            router = self.routers[name]
            stays = tuple(leg for leg in router.interfaces if leg.network_id not in left)
            if len(stays) < len(router.interfaces):
                self.routers[name] = replace(router, interfaces=stays)
                changed = True
        return changed

    def _recall(self, fragment: HostNetwork) -> bool:
        """Take routers again that were set aside and that ports of a fragment need; True if it was from before them."""
        joined, recalled = {port.network_id for port in fragment.ports}, False
        for ident, kept in list(self.aside.items()):
            (router,) = kept.routers
            if not any(leg.network_id in joined for leg in router.interfaces):
                continue
            del self.aside[ident]
            if kept.generation > fragment.generation:
                recalled = True
                self.routers[ident] = router
                for segment in kept.segments:
                    self.learnt.setdefault(segment.network_id, kept.generation)
                    self.segments.setdefault(segment.network_id, segment)
        return recalled

    def _set_aside(self, router: HostRouter) -> None:
        """Keep a router that no port needs, if a command that is late may yet bring it as it was before."""
        ident = router.router_id
        generation = self.learnt.get(ident, 0)
        if generation <= self.generation:
            self.learnt.pop(ident, None)  # whoever needs it brings it, however late
            return
        joined = {leg.network_id: None for leg in router.legs}
        segments = tuple(self.segments[name] for name in joined if name in self.segments)
        self.aside[ident] = HostNetwork(generation=generation, segments=segments, routers=(router,))
        if len(self.aside) > ASIDE:
            oldest = min(self.aside, key=lambda name: self.aside[name].generation)
            del self.aside[oldest]
            self.learnt.pop(oldest, None)

    def _take_group(self, group: HostGroup, at: int) -> None:
        """Take a group whose members were read at a position; members that are known from a later one stay."""
        known = self.groups.get(group.group_id)
        if known is not None and self.known_at.get(group.group_id, 0) > at:
            group = replace(group, remote_members=known.remote_members)
        else:
            self.known_at[group.group_id] = at
        self._all_used = self._all_used and known is not None and known.rules == group.rules
        self.groups[group.group_id] = group

    def _is_like_another(self, gone: HostPort) -> bool:
        """Say whether what a port needed is needed by another; of a crowd of guests that are alike, by the first."""
        return any(_needs_as_much(port, gone) for port in self.ports.values())

    def _forget_unused(self) -> None:
        plugged = {port.network_id for port in self.ports.values()}
        routers = {
            name: router
            for name, router in self.routers.items()
            if any(leg.network_id in plugged for leg in router.interfaces)
        }
        networks = plugged.union(leg.network_id for router in routers.values() for leg in router.legs)
        members = {group for port in self.ports.values() for group in port.groups}
        rules = [rule for name, group in self.groups.items() if name in members for rule in group.rules]
        groups = members | {rule.remote_group for rule in rules if rule.remote_group}
        for name in self.routers.keys() - routers.keys():
            self._set_aside(self.routers[name])
        for unused in (self.segments.keys() - networks) | (self.groups.keys() - groups):
            self.learnt.pop(unused, None)  # whoever needs it brings it, however late
        self.routers = routers
        self.segments = {k: v for k, v in self.segments.items() if k in networks}
        self.groups = {k: v for k, v in self.groups.items() if k in groups}
        self.known_at = {k: v for k, v in self.known_at.items() if k in self.groups}
        self._all_used = True


def _needs_as_much(port: HostPort, as_this: HostPort) -> bool:
    return port.network_id == as_this.network_id and all(group in port.groups for group in as_this.groups)
