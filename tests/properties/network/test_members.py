"""Members of groups reach a host as fragments, wholes and differences: lost, late, twice and in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from floe.core.host_network import GroupChange, GroupRule, HostGroup, HostNetwork, HostPort, HostSegment, MembersChange
from floe.core.host_network_state import HostNetworkState

GROUPS = ("g0", "g1", "g2")
ADDRESSES = tuple(f"10.0.0.{number}" for number in range(6))
SEGMENT = HostSegment(network_id="n", name="n", tag=1)


@dataclass
class Truth:
    """What the database would say: the members of groups over time, and the one host's ports and generation."""

    generation: int = 0
    ports: dict[str, str] = field(default_factory=dict)
    """The host's ports and the group that each is in; its rules are about the members of that group."""
    log: list[tuple[str, str]] = field(default_factory=list)
    members: list[dict[str, frozenset[str]]] = field(default_factory=lambda: [dict.fromkeys(GROUPS, frozenset())])
    """By position."""

    @property
    def position(self) -> int:
        return len(self.members) - 1

    def flip(self, group: str, address: str) -> None:
        """Make an address of another host a member, or none."""
        now = self.members[-1]
        self.members.append({**now, group: now[group] ^ {address}})
        self.log.append((group, address))

    def network(self, *names: str) -> HostNetwork:
        """Return a fragment or whole of these ports."""
        now = self.members[-1]
        ports = tuple(
            HostPort(port_id=name, network_id="n", server_id=name, mac="m", tap=name, groups=(self.ports[name],))
            for name in names
        )
        groups = tuple(
            HostGroup(
                group_id=group,
                rules=(GroupRule(direction="ingress", remote_group=group),),
                remote_members=tuple(sorted(now[group])),
            )
            for group in sorted({self.ports[name] for name in names})
        )
        return HostNetwork(
            generation=self.generation,
            segments=(SEGMENT,) if ports else (),
            ports=ports,
            groups=groups,
            members_at=self.position,
        )

    def difference(self, since: int) -> MembersChange | None:
        """Return what the host is told that was told up to a position."""
        now, followed = self.members[-1], set(self.ports.values())
        touched = sorted({pair for pair in self.log[since:] if pair[0] in followed})
        if not touched:
            return None
        entries = []
        for group in sorted({group for group, _ in touched}):
            before = [at for at, (changed, _) in enumerate(self.log[:since], 1) if changed == group]
            addresses = [address for changed, address in touched if changed == group]
            entries.append(
                GroupChange(
                    group_id=group,
                    after=max(before, default=0),
                    added=tuple(address for address in addresses if address in now[group]),
                    removed=tuple(address for address in addresses if address not in now[group]),
                )
            )
        return MembersChange(to=self.position, groups=tuple(entries))


Sent = tuple[str, HostNetwork | MembersChange | tuple[tuple[str, ...], int]]


@dataclass
class Host:
    """An agent's state; it refuses a spawn of what it was told to destroy, as its ledger does."""

    state: HostNetworkState = field(default_factory=HostNetworkState)
    gone: set[str] = field(default_factory=set)

    def hear(self, truth: Truth, sent: Sent) -> None:
        kind, what = sent
        if kind == "fragment" and isinstance(what, HostNetwork):
            if what.ports[0].port_id not in self.gone:
                self.state.merge(what)
        elif isinstance(what, HostNetwork):
            self.state.replace(what)
        elif isinstance(what, MembersChange):
            self.state.change_members(what)
        else:
            self.gone.update(what[0])
            self.state.remove_ports(*what)
        self.check(truth)

    def check(self, truth: Truth) -> None:
        """See that of each group it knows what was so at the position at which it believes to know it."""
        for ident, group in self.state.groups.items():
            at = self.state.known_at[ident]
            assert set(group.remote_members) == truth.members[at][ident], (ident, at)

    def settle(self, truth: Truth, told: int) -> None:
        """Do what a conductor does until the host is up to date: tell the difference, and after a gap the whole."""
        change = truth.difference(told)
        if self.state.generation == truth.generation and change is not None and self.state.takes(change):
            self.state.change_members(change)
        elif self.state.generation != truth.generation or change is not None:
            assert self.state.replace(truth.network(*sorted(truth.ports)))
        self.check(truth)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(5, 60))
def test_however_messages_come_a_host_knows_what_it_believes_and_ends_where_the_whole_would(
    seed: int, steps: int
) -> None:
    dice, truth, host = Random(seed), Truth(), Host()
    way: list[Sent] = []
    for step in range(steps):
        act = dice.random()
        if act < 0.4:
            truth.flip(dice.choice(GROUPS), dice.choice(ADDRESSES))
        elif act < 0.5:
            truth.generation += 1
            truth.ports[f"p{step}"] = dice.choice(GROUPS)
            way.append(("fragment", truth.network(f"p{step}")))
        elif act < 0.55 and truth.ports:
            truth.generation += 1
            gone = dice.choice(sorted(truth.ports))
            del truth.ports[gone]
            way.append(("removal", ((gone,), truth.generation)))
        elif act < 0.65:
            way.append(("whole", truth.network(*sorted(truth.ports))))
        elif act < 0.8 and (change := truth.difference(dice.randrange(truth.position + 1))) is not None:
            way.append(("difference", change))
        for _ in range(dice.randrange(3)):
            if way:
                index = dice.randrange(len(way))
                host.hear(truth, way[index])
                if dice.random() < 0.6:
                    del way[index]  # else it comes once more
    for sent in [sent for sent in way if sent[0] == "removal"]:
        host.hear(truth, sent)  # a destroy is repeated until it is answered
    assert host.state.replace(truth.network(*sorted(truth.ports)))
    told = truth.position
    for _ in range(dice.randrange(5)):
        truth.flip(dice.choice(GROUPS), dice.choice(ADDRESSES))
    host.settle(truth, told)
    for sent in dice.sample(way, len(way)):
        host.hear(truth, sent)
    whole = truth.network(*sorted(truth.ports))
    assert host.state.snapshot().groups == whole.groups
    assert host.state.snapshot().ports == whole.ports
