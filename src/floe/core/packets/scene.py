"""What is looked at, what is asked of it, and what is found."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from floe.core.host_network import HostFloating, HostNetwork, HostPort, HostRouter, HostSegment
from floe.core.nic_limits import NicLimits
from floe.core.servers import ACTIVE

PROTOCOLS: Mapping[str, int] = {"tcp": 6, "udp": 17, "icmp": 1}
"""What may be asked about; of ICMP it is an echo request."""

OUTSIDE = "outside"
"""Who is no server of the cloud."""


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """The first packet of a flow: an address each way, and what is in it."""

    source: str
    target: str
    protocol: str = "tcp"
    port: int | None = None
    """The port that it is for; None for icmp."""
    from_anybody: bool = False
    """Whether its source stands for whoever is outside."""

    def __str__(self) -> str:
        return f"{self.words} from {self.source} to {self.target}"

    @property
    def words(self) -> str:
        """What it is, without its addresses: `tcp 22`."""
        return self.protocol if self.port is None else f"{self.protocol} {self.port}"


class Mark(Enum):
    """What a step is to a packet."""

    PASSES = "passes"
    STOPS = "stops"
    BEWARE = "beware"
    """It passes, if something holds that the cloud cannot see."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a packet comes to, and what is decided there."""

    mark: Mark
    kind: str
    """Of what decided: server, port, subnet, network, router, floating_ip, security_group; or outside."""
    id: str | None
    name: str
    text: str
    rule: str | None = None
    """The id of the rule that decided, of a security group."""
    remedy: str = ""
    """What would help."""


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is, apart from its network."""

    name: str
    state: str = ACTIVE
    """Its `vm_state`."""
    host: str = ""
    host_up: bool = True
    limits: NicLimits | None = None
    """Of each of its NICs; what is beyond is dropped, whatever it is."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a cloud: as much of it as packets between one or two servers, and the outside, can meet."""

    network: HostNetwork
    servers: Mapping[str, ServerFacts] = msgspec.field(default_factory=dict)
    """By id, the servers that ports are of; of one that is not here nothing is known but its ports."""
    names: Mapping[str, str] = msgspec.field(default_factory=dict)
    """By id, of networks, subnets, routers and groups."""
    rules: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """By group, the ids of its rules, in the order in which the network has them."""
    external: frozenset[str] = frozenset()
    """Networks that routers may have gateways on."""
    down: frozenset[str] = frozenset()
    """Networks, and ports of guests, that are down by themselves; other ports that are down are so by their network."""
    statuses: Mapping[str, str] = msgspec.field(default_factory=dict)
    """By port, what it is where it is not ACTIVE."""
    idle: tuple[HostFloating, ...] = ()
    """Floating IPs that lead to ports, but through no router that is here."""

    def name(self, ident: str) -> str:
        """Return what a thing is called, or its id."""
        return self.names.get(ident) or ident

    def server_name(self, server_id: str) -> str:
        """Return what a server is called, or its id."""
        facts = self.servers.get(server_id)
        return facts.name if facts is not None and facts.name else server_id

    def segment(self, network_id: str) -> HostSegment | None:
        """Return a network, if it is here."""
        return next((each for each in self.network.segments if each.network_id == network_id), None)

    def ports_of(self, server_id: str) -> list[HostPort]:
        """Return the ports of a server, in the order of its NICs."""
        found = [port for port in self.network.ports if port.server_id == server_id]
        return sorted(found, key=lambda port: (port.nic, port.port_id))

    def host_of(self, port: HostPort) -> str | None:
        """Return the host that a port is on, if that is known."""
        facts = self.servers.get(port.server_id)
        return facts.host if facts is not None and facts.host else None

    def routers_on(self, network_id: str) -> list[HostRouter]:
        """Return the routers that have a leg on a network."""
        return [each for each in self.network.routers if any(leg.network_id == network_id for leg in each.legs)]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a packet: its steps in order, of which the last one stops it, if any does."""

    packet: Packet | None
    """None where none could be sent."""
    steps: tuple[Step, ...]

    @property
    def stop(self) -> Step | None:
        """What stops it."""
        return next((step for step in self.steps if step.mark is Mark.STOPS), None)

    @property
    def passes(self) -> bool:
        """Whether it arrives, and its answer comes back, as far as can be seen."""
        return self.stop is None

    @property
    def verdict(self) -> str:
        """`passes`, `stops`, or `doubtful` where it passes if something holds that the cloud cannot see."""
        if self.stop is not None:
            return "stops"
        return "doubtful" if any(step.mark is Mark.BEWARE for step in self.steps) else "passes"


class Stopped(Exception):
    """A packet goes no further; the step says why."""

    def __init__(self, step: Step) -> None:
        super().__init__(step.text)
        self.step = step


class Trail:
    """The steps of one packet, as it goes."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.steps: list[Step] = []
        self.sent: Packet | None = None
        """As it was sent, once it is."""

    def passes(self, kind: str, ident: str, text: str, *, rule: str | None = None) -> None:
        """It comes by something that lets it through."""
        self._add(Mark.PASSES, kind, ident, text, rule, "")

    def beware(self, kind: str, ident: str, text: str, remedy: str = "") -> None:
        """It goes on if something holds that cannot be seen."""
        self._add(Mark.BEWARE, kind, ident, text, None, remedy)

    def stop(self, kind: str, ident: str, text: str, remedy: str = "") -> Stopped:
        """It goes no further: to be raised."""
        return Stopped(self._add(Mark.STOPS, kind, ident, text, None, remedy))

    def _add(self, mark: Mark, kind: str, ident: str, text: str, rule: str | None, remedy: str) -> Step:
        name = self._scene.server_name(ident) if kind == "server" else self._scene.names.get(ident, "")
        shown = ident if ident and ident != OUTSIDE else None
        step = Step(mark=mark, kind=kind, id=shown, name=name, text=text, rule=rule, remedy=remedy)
        self.steps.append(step)
        return step


def told(finding: Finding, seen: frozenset[str]) -> Finding:
    """Return a finding as somebody is told it who sees only these things: of others, whether they let it pass."""
    steps = tuple(step if step.id is None or step.id in seen else _veiled(step) for step in finding.steps)
    return msgspec.structs.replace(finding, steps=steps)


def _veiled(step: Step) -> Step:
    what = step.kind.replace("_", " ")
    decided = "stops it" if step.mark is Mark.STOPS else "lets it pass"
    remedy = "Who it belongs to, or an administrator, sees more." if step.mark is Mark.STOPS else ""
    return Step(
        mark=step.mark, kind=step.kind, id=None, name="", text=f"a {what} of another project {decided}", remedy=remedy
    )
