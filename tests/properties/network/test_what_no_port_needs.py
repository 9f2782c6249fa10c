"""A host forgets a segment or a group with the last port that needs it, and no sooner, however it comes to look."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from floe.core.host_network import GroupRule, HostGroup, HostNetwork, HostPort, HostSegment
from floe.core.host_network_state import HostNetworkState

_NETWORKS = ("n0", "n1")
_GROUPS = ("g0", "g1", "g2")
_PORTS = tuple(f"p{number}" for number in range(5))

_segments = st.sets(st.sampled_from(_NETWORKS)).map(
    lambda names: tuple(HostSegment(network_id=name, name=name, tag=1) for name in sorted(names))
)
_ports = st.lists(
    st.builds(
        HostPort,
        port_id=st.sampled_from(_PORTS),
        network_id=st.sampled_from(_NETWORKS),
        server_id=st.just("s"),
        mac=st.just("m"),
        tap=st.just("t"),
        groups=st.lists(st.sampled_from(_GROUPS), unique=True, max_size=2).map(tuple),
    ),
    max_size=3,
    unique_by=lambda port: port.port_id,
).map(tuple)
_groups = st.lists(
    st.builds(
        HostGroup,
        group_id=st.sampled_from(_GROUPS),
        rules=st.lists(
            st.builds(GroupRule, direction=st.just("ingress"), remote_group=st.sampled_from((None, *_GROUPS))),
            max_size=2,
        ).map(tuple),
    ),
    max_size=3,
    unique_by=lambda group: group.group_id,
).map(tuple)
_networks = st.builds(
    HostNetwork, generation=st.integers(0, 9), segments=_segments, ports=_ports, groups=_groups, members_at=st.just(1)
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), _networks),
        st.tuples(st.just("replace"), _networks),
        st.tuples(st.just("remove"), st.tuples(st.lists(st.sampled_from(_PORTS), max_size=3), st.integers(0, 9))),
        st.tuples(st.just("unlearn"), st.lists(st.sampled_from(_PORTS), max_size=2)),
    ),
    max_size=25,
)


def _needed(state: HostNetworkState) -> tuple[set[str], set[str]]:
    """Return the segments and groups that a host's ports need, by going through all of them."""
    networks = {port.network_id for port in state.ports.values()}
    own = {name for port in state.ports.values() for name in port.groups}
    remote = {rule.remote_group for name in own & state.groups.keys() for rule in state.groups[name].rules}
    return networks, own | {name for name in remote if name}


@given(_steps)
def test_what_is_left_after_a_removal_is_needed_by_some_port(steps: list[tuple[str, object]]) -> None:
    state = HostNetworkState()
    for what, value in steps:
        before = copy.deepcopy(state)
        if what == "merge":
            assert isinstance(value, HostNetwork)
            state.merge(value)
        elif what == "replace":
            assert isinstance(value, HostNetwork)
            state.replace(value)
        elif what == "remove":
            assert isinstance(value, tuple)
            state.remove_ports(tuple(value[0]), value[1])
        else:
            assert isinstance(value, list)
            state.unlearn(tuple(value))
        if what != "remove":
            continue
        networks, groups = _needed(state)
        assert state.segments.keys() == before.segments.keys() & networks
        assert state.groups.keys() == before.groups.keys() & groups
        assert state.known_at.keys() <= state.groups.keys()
        forgotten = (before.segments.keys() | before.groups.keys()) - state.segments.keys() - state.groups.keys()
        assert not forgotten & state.learnt.keys(), "what was forgotten is taken again, however old it is"


def test_of_a_crowd_of_guests_that_are_alike_a_removal_looks_at_few() -> None:
    looks = 0

    class Counted(dict[str, HostPort]):
        def values(self):  # type: ignore[no-untyped-def]
            nonlocal looks
            for port in super().values():
                looks += 1
                yield port

    segment = HostSegment(network_id="n", name="n", tag=1)
    group = HostGroup(group_id="g", rules=(GroupRule(direction="ingress", remote_group="g"),))
    state = HostNetworkState(ports=Counted())
    for number in range(1000):
        port = HostPort(port_id=f"p{number}", network_id="n", server_id="s", mac="m", tap="t", groups=("g",))
        state.merge(HostNetwork(generation=number, segments=(segment,), ports=(port,), groups=(group,)))
    state.remove_ports(("p0",), 1000)
    looks = 0
    for number in range(1, 101):
        state.remove_ports((f"p{number}",), 1000 + number)
    assert looks == 100
    assert state.groups.keys() == {"g"}
