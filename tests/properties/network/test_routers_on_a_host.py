"""Routers reach a host as fragments, changes and wholes: lost, late, twice and in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from floe.core.host_network import (
    HostFloating,
    HostNetwork,
    HostPort,
    HostRoute,
    HostRouter,
    HostSegment,
    RouterLeg,
    RoutersChange,
)
from floe.core.host_network_state import HostNetworkState

NETWORKS = ("n0", "n1", "n2")
ROUTERS = ("r0", "r1")


@dataclass
class Truth:
    """What the database would say of one host: its ports, the routers, and what it was told."""

    ports: dict[str, str] = field(default_factory=dict)
    """The network of each."""
    joins: dict[str, set[str]] = field(default_factory=lambda: {name: {"n0"} for name in ROUTERS})
    routes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROUTERS, 0))
    floating: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in ROUTERS})
    """The ports that floating IPs lead to, by router."""
    wanted: int = 0
    applied: int = 0
    changed: set[str] | None = None
    """The routers that are all that changed since the latest that was applied; None where more did."""

    def advance(self) -> int:
        if self.applied == self.wanted:
            self.applied += 1
        self.wanted += 1
        return self.wanted

    def touch(self, router: str) -> None:
        """A router changes, or is about to."""
        if self.joins[router] & set(self.ports.values()):
            if self.applied == self.wanted:
                self.changed = {router}
            elif self.changed is not None:
                self.changed.add(router)
            self.wanted += 1

    def router(self, name: str) -> HostRouter:
        legs = (RouterLeg(port_id=f"{name}-{each}", network_id=each, mac="m") for each in sorted(self.joins[name]))
        leads = (HostFloating(floating_id=f"f-{port}", address=port, fixed=port, port_id=port)
                 for port in sorted(self.floating[name] & self.ports.keys()))  # fmt: skip
        route = HostRoute(destination=str(self.routes[name]), nexthop="h")
        return HostRouter(router_id=name, interfaces=tuple(legs), routes=(route,), floating=tuple(leads))

    def network(self, *names: str) -> HostNetwork:
        """Return a fragment or whole of these ports."""
        on = {self.ports[name] for name in names}
        routers = [self.router(name) for name in ROUTERS if self.joins[name] & on]
        return HostNetwork(
            generation=self.wanted,
            segments=segments(on.union(*(self.joins[router.router_id] for router in routers))),
            ports=tuple(
                HostPort(port_id=name, network_id=self.ports[name], server_id=name, mac="m", tap=name)
                for name in sorted(names)
            ),
            routers=tuple(routers),
        )

    def lacks(self) -> HostNetwork | RoutersChange:
        """Return what the host is sent."""
        if self.changed is None:
            return self.network(*self.ports)
        here = [name for name in ROUTERS if name in self.changed and self.joins[name] & set(self.ports.values())]
        return RoutersChange(
            generation=self.wanted,
            segments=segments(set().union(*(self.joins[name] for name in here))),
            routers=tuple(self.router(name) for name in here),
            gone=tuple(sorted(self.changed.difference(here))),
        )


def segments(names: set[str]) -> tuple[HostSegment, ...]:
    return tuple(HostSegment(network_id=name, name=name, tag=1) for name in sorted(names))


@dataclass
class Site:
    """The truth, the host, and what is under way to it."""

    dice: Random
    truth: Truth = field(default_factory=Truth)
    state: HostNetworkState = field(default_factory=HostNetworkState)
    commands: list[HostNetwork | tuple[str, int]] = field(default_factory=list)
    told: list[HostNetwork | RoutersChange] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    """Ports whose server was destroyed, which the ledger remembers: it is not spawned again."""
    names: int = 0

    def happen(self) -> None:
        chances = {
            self._spawn: 3, self._destroy: 2, self._route: 2, self._join: 3, self._lead: 3, self._whole: 1,
            self._send: 4, self._arrive: 4, self._late: 3,
        }  # fmt: skip
        self.dice.choices(list(chances), list(chances.values()))[0]()

    def settle(self) -> None:
        """Have all arrive, and the host told what it lacks."""
        while self.commands:
            self._arrive()
        while self.truth.applied < self.truth.wanted:
            self._tell(self.truth.lacks())

    def _spawn(self) -> None:
        self.names += 1
        name = f"p{self.names}"
        self.truth.ports[name] = self.dice.choice(NETWORKS)
        self.truth.advance()
        self.commands.append(self.truth.network(name))

    def _destroy(self) -> None:
        if self.truth.ports:
            name = self.dice.choice(sorted(self.truth.ports))
            del self.truth.ports[name]
            for leading in self.truth.floating.values():
                leading.discard(name)
            self.commands.append((name, self.truth.advance()))

    def _route(self) -> None:
        name = self.dice.choice(ROUTERS)
        self.truth.routes[name] += 1
        self.truth.touch(name)

    def _join(self) -> None:
        name, network = self.dice.choice(ROUTERS), self.dice.choice(NETWORKS)
        if network in self.truth.joins[name]:
            self.truth.touch(name)
            self.truth.joins[name].remove(network)
            for port, on in self.truth.ports.items():
                if on == network:
                    self.truth.floating[name].discard(port)
        else:
            self.truth.joins[name].add(network)
            self.truth.touch(name)

    def _lead(self) -> None:
        name = self.dice.choice(ROUTERS)
        there = sorted(port for port, network in self.truth.ports.items() if network in self.truth.joins[name])
        if there:
            self.truth.floating[name] ^= {self.dice.choice(there)}
            self.truth.touch(name)

    def _send(self) -> None:
        if self.truth.applied < self.truth.wanted:
            self.told.append(self.truth.lacks())

    def _arrive(self) -> None:
        """Have a command arrive, whatever was sent before it; once, or twice."""
        if self.commands:
            command = self.commands.pop(self.dice.randrange(len(self.commands)))
            for _ in range(self.dice.choice((1, 1, 2))):
                if isinstance(command, tuple):
                    self.gone.add(command[0])
                    self.state.remove_ports((command[0],), command[1])
                elif not {port.port_id for port in command.ports} & self.gone:
                    self.state.merge(command)

    def _late(self) -> None:
        """Have something that was sent at any time arrive, be it again, and its answer perhaps not."""
        if self.told:
            self._tell(self.dice.choice(self.told), heard=self.dice.random() < 0.7)

    def _whole(self) -> None:
        self.truth.wanted, self.truth.changed = self.truth.wanted + 1, None

    def _tell(self, sent: HostNetwork | RoutersChange, *, heard: bool = True) -> None:
        if isinstance(sent, HostNetwork):
            self.state.replace(sent)
            at = min(self.state.generation, sent.generation)
        else:
            self.state.change_routers(sent)
            at = sent.generation
        if heard and at > self.truth.applied:
            self.truth.applied = at


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(5, 60))
def test_a_host_comes_to_have_the_routers_as_they_are(seed: int, length: int) -> None:
    site = Site(Random(seed))
    for _ in range(length):
        site.happen()
    site.settle()
    known, wanted = site.state.snapshot(), site.truth.network(*site.truth.ports)
    assert (known.ports, known.routers, known.segments) == (wanted.ports, wanted.routers, wanted.segments)
