"""What a host's network should look like: data that the agent makes true, again and again if need be.

A `HostNetwork` comes in two forms. A *fragment* travels with the command that needs it (a spawn brings its
ports, their networks and groups). A *whole* replaces all the agent knows. Both carry the host's network
`generation`, counted by the database, so that a late message never brings back what a newer one took away.

Who is in a security group changes most often, and concerns many hosts: it travels as a `MembersChange`, the difference
between two *positions* that the database counts for the whole cloud. `members_at` is the position at which the members
in a fragment or whole were read.

Where routers alone changed, with their floating IPs, port forwardings and routes, they travel as a `RoutersChange`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from floe.core.nic_limits import NicLimits


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
    device_tag: str = ""
    """What its user calls the NIC."""


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
    scope: str = ""
    """The address scope of its subnets; "" for those of none, which are as if of one of their own."""


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

    def is_open(self, leg: RouterLeg) -> bool:
        """Say whether what is behind an interface is reached from outside as itself, and leaves so.

        Without translation that is what is of the scope of the outside; with it, only where that is a scope indeed.
        """
        gateway = self.gateway
        return gateway is not None and leg.scope == gateway.scope and bool(not self.snat or leg.scope)

    @property
    def legs(self) -> tuple[RouterLeg, ...]:
        """Its interfaces, and its gateway."""
        return self.interfaces if self.gateway is None else (*self.interfaces, self.gateway)


class HostNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """What should be on one host: segments, ports, groups and routers, at one generation.

    `queued` are the ports whose NICs have several queues, `limited` those whose NICs have limits: a host knows them by
    its guests, and is not told of them.
    """

    generation: int = 0
    segments: tuple[HostSegment, ...] = ()
    ports: tuple[HostPort, ...] = ()
    groups: tuple[HostGroup, ...] = ()
    routers: tuple[HostRouter, ...] = ()
    members_at: int = 0
    queued: frozenset[str] = frozenset()
    limited: Mapping[str, NicLimits] = msgspec.field(default_factory=dict)


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


class RoutersChange(msgspec.Struct, frozen=True, kw_only=True):
    """How those routers of a host are at a generation that alone are otherwise than before; `gone` are not there now.

    With each router come the networks that it joins. It says what is so, not what was done: it may be taken twice.
    """

    generation: int
    segments: tuple[HostSegment, ...] = ()
    routers: tuple[HostRouter, ...] = ()
    gone: tuple[str, ...] = ()
