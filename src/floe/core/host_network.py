"""What a host's network should look like: data that the agent makes true, again and again if need be.

A `HostNetwork` comes in two forms. A *fragment* travels with the command that needs it (a spawn brings its
ports, their networks and groups). A *whole* replaces all the agent knows. Both carry the host's network
`generation`, counted by the database, so that a late message never brings back what a newer one took away.

Who is in a security group changes most often, and concerns many hosts: it travels as a `MembersChange`, the difference
between two *positions* that the database counts for the whole cloud. `members_at` is the position at which the members
in a fragment or whole were read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace


class HostRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A static route handed to guests by DHCP option 121."""

    destination: str
    nexthop: str


class HostSubnet(msgspec.Struct, frozen=True, kw_only=True):
    """An IPv4 subnet of a network; with `dhcp`, `dhcp_address` is where DHCP, DNS and metadata answer."""

    subnet_id: str
    cidr: str
    gateway: str | None = None
    dhcp: bool = True
    dhcp_address: str | None = None
    nameservers: tuple[str, ...] = ()
    routes: tuple[HostRoute, ...] = ()


class HostSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A network as a host sees it: one bridge, one DHCP and metadata namespace, one conntrack zone.

    `tag` is a small number, unique in the cloud and stable for the network's life (VNI, conntrack zone).
    """

    network_id: str
    name: str
    tag: int
    mtu: int = 1450
    dns_domain: str = "cloud.internal"
    subnets: tuple[HostSubnet, ...] = ()
    physical: str = ""
    """What the host calls the physical network that this one is; "" for one of the cloud's own."""


class HostAddress(msgspec.Struct, frozen=True, kw_only=True):
    """An address of a port."""

    subnet_id: str
    address: str


class HostPort(msgspec.Struct, frozen=True, kw_only=True):
    """A port plugged on this host. `tap` is the name of its device (at most 15 characters)."""

    port_id: str
    network_id: str
    server_id: str
    mac: str
    tap: str
    nic: int = 0
    """Which of its server's NICs it is, counted from 0: the order that was asked for, and that the guest sees."""
    addresses: tuple[HostAddress, ...] = ()
    hostname: str = ""
    """A label, or a name with its domain; "" where it has only that of its address."""
    up: bool = True
    """`admin_state_up`: a port that is down passes nothing."""
    port_security: bool = True
    """False: no anti-spoofing and no security groups."""
    groups: tuple[str, ...] = ()
    allowed_pairs: tuple[tuple[str, str], ...] = ()
    """Further (CIDR, MAC) pairs it may send from."""
    dhcp_options: tuple[tuple[str, str], ...] = ()
    """What its DHCP client is told besides, as `core.dhcp_options` knows it: (name or number, value)."""


class GroupRule(msgspec.Struct, frozen=True, kw_only=True):
    """One security group rule. Neither `remote_cidr` nor `remote_group` means any address.

    `port_min` and `port_max` are ports for tcp, udp, sctp..., and type and code for icmp. None means any.
    """

    direction: str
    """`ingress` or `egress`, as the guest sees it."""
    ethertype: str = "IPv4"
    protocol: str | None = None
    """A name that nftables knows (tcp, udp, icmp ...), a number as text, or None for any."""
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_group: str | None = None


class HostGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A security group. The host adds the addresses of its own ports to `remote_members` by itself."""

    group_id: str
    name: str = ""
    """What guests in it are told that it is called."""
    rules: tuple[GroupRule, ...] = ()
    remote_members: tuple[str, ...] = ()
    """IPv4 addresses of the group's ports on other hosts, where some rule refers to the group.

    An address group comes as a group without ports and rules: these are its CIDRs.
    """


class RouterLeg(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a router: an interface on one of the cloud's networks, or its gateway on an external one."""

    port_id: str
    network_id: str
    mac: str
    addresses: tuple[str, ...] = ()
    """Each with the length of its subnet's prefix: 10.0.0.1/24."""
    up: bool = True


class HostFloating(msgspec.Struct, frozen=True, kw_only=True):
    """A floating IP and the address in one of the router's networks that it stands for."""

    floating_id: str
    address: str
    fixed: str
    port_id: str


class HostForwarding(msgspec.Struct, frozen=True, kw_only=True):
    """Ports of a floating IP, and the port of a guest that answers behind each; one, or as many. First and last."""

    forwarding_id: str
    address: str
    protocol: str
    """`tcp` or `udp`."""
    external: tuple[int, int]
    fixed: str
    internal: tuple[int, int]
    port_id: str


class HostRouter(msgspec.Struct, frozen=True, kw_only=True):
    """A router as a host sees it: a namespace with a leg in each of its networks.

    A host has it where one of its ports is on one of the interfaces' networks; of floating IPs and port forwardings it
    has those to its own ports.
    """

    router_id: str
    interfaces: tuple[RouterLeg, ...] = ()
    gateway: RouterLeg | None = None
    next_hop: str | None = None
    """Where what goes out of the cloud is sent, in the gateway's network."""
    snat: bool = True
    """Whether what goes out without a floating IP is from the gateway's first address."""
    routes: tuple[HostRoute, ...] = ()
    floating: tuple[HostFloating, ...] = ()
    forwarded: tuple[HostForwarding, ...] = ()
    up: bool = True

    @property
    def outer(self) -> tuple[str, ...]:
        """The addresses besides the gateway's own by which what is behind it is reached."""
        addresses = [each.address for each in self.floating] + [each.address for each in self.forwarded]
        return tuple(dict.fromkeys(addresses))

    @property
    def legs(self) -> tuple[RouterLeg, ...]:
        """Its interfaces, and its gateway."""
        return self.interfaces if self.gateway is None else (*self.interfaces, self.gateway)


class HostNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What should be on one host: segments, ports, groups and routers, at one generation."""

    generation: int = 0
    segments: tuple[HostSegment, ...] = ()
    ports: tuple[HostPort, ...] = ()
    groups: tuple[HostGroup, ...] = ()
    routers: tuple[HostRouter, ...] = ()
    members_at: int = 0


class GroupChange(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses on other hosts that became members of a group after a position, or are none any more."""

    group_id: str
    after: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class MembersChange(msgspec.Struct, frozen=True, kw_only=True):
    """How the members of a host's groups at the position `to` differ from those at any position from `after` on.

    It says of each address that changed in between whether it is a member at `to`, so it may be taken twice, and by a
    host that is anywhere between the two.
    """

    to: int
    groups: tuple[GroupChange, ...] = ()


TOMBSTONES = 2048
"""Removed ports that a host remembers for certain; at twice as many it forgets the older half."""


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
    _all_used: bool = field(default=False, compare=False, repr=False)
    """Whether some port is known to need all of the rest: then there is nothing to look for."""

    def merge(self, fragment: HostNetwork) -> None:
        """Add what a command brings; entries that are known from a newer generation stay as they are.

        Of routers a whole knows all there are at its generation. What came for what is not taken goes again: a router
        may have left a network meanwhile, or all that are here.
        """
        self.members_at = self.members_at or fragment.members_at
        refused = False
        for segment in fragment.segments:
            if self._newer(segment.network_id, fragment.generation):
                self._all_used = self._all_used and segment.network_id in self.segments
                self.segments[segment.network_id] = segment
        for group in fragment.groups:
            if self._newer(group.group_id, fragment.generation):
                self._take_group(group, fragment.members_at)
        for router in fragment.routers:
            known = router.router_id in self.routers or fragment.generation >= self.generation
            if known and self._newer(router.router_id, fragment.generation):
                self._all_used = self._all_used and self.routers.get(router.router_id) == router
                self.routers[router.router_id] = router
            else:
                refused = True
        for port in fragment.ports:
            if self._newer(port.port_id, fragment.generation):
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

    def remove_ports(self, port_ids: tuple[str, ...], generation: int) -> None:
        """Forget ports; a fragment or whole of an older generation does not bring them back."""
        gone = [self.ports.pop(port_id, None) for port_id in port_ids if self._newer(port_id, generation)]
        if not self._all_used or not all(self._is_like_another(port) for port in gone if port is not None):
            self._forget_unused()
        self._forget_tombstones()

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
        known = self.ports.keys() | self.segments.keys() | self.groups.keys() | self.routers.keys()
        gone = sorted(self.learnt.keys() - known, key=self.learnt.__getitem__)
        for ident in gone[:-TOMBSTONES]:
            del self.learnt[ident]

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
        unused_routers = self.routers.keys() - routers.keys()
        for unused in (self.segments.keys() - networks) | (self.groups.keys() - groups) | unused_routers:
            self.learnt.pop(unused, None)  # whoever needs it brings it, however late
        self.routers = routers
        self.segments = {k: v for k, v in self.segments.items() if k in networks}
        self.groups = {k: v for k, v in self.groups.items() if k in groups}
        self.known_at = {k: v for k, v in self.known_at.items() if k in self.groups}
        self._all_used = True


def _needs_as_much(port: HostPort, as_this: HostPort) -> bool:
    return port.network_id == as_this.network_id and all(group in port.groups for group in as_this.groups)
