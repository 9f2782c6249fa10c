"""What a host remembers of ports that were removed is bounded, and the latest is kept."""

from __future__ import annotations

from msgspec.structs import replace

from floe.core.host_network import (
    HostFloating,
    HostForwarding,
    HostNetwork,
    HostPort,
    HostRouter,
    HostSegment,
    RouterLeg,
)
from floe.core.host_network_state import TOMBSTONES, HostNetworkState


def _fragment(number: int) -> HostNetwork:
    segment = HostSegment(network_id="n", name="n", tag=1)
    port = HostPort(port_id=f"p{number}", network_id="n", server_id="s", mac="m", tap="t")
    return HostNetwork(generation=number, segments=(segment,), ports=(port,))


def test_a_host_on_which_servers_come_and_go_for_ever_remembers_the_latest_only() -> None:
    state = HostNetworkState()
    state.merge(_fragment(1))
    rounds = 5 * TOMBSTONES
    for number in range(2, rounds):
        state.merge(_fragment(number))
        state.remove_ports((f"p{number}",), number)
        assert len(state.learnt) <= 2 * TOMBSTONES + 2
    assert state.ports.keys() == {"p1"}
    for number in range(rounds - TOMBSTONES, rounds):
        state.merge(HostNetwork(generation=number - 1, ports=_fragment(number).ports))
    assert state.ports.keys() == {"p1"}, "what was removed lately does not come back"


def _forwarding(port_id: str) -> HostForwarding:
    return HostForwarding(
        forwarding_id=f"w-{port_id}",
        address="172.24.4.60",
        protocol="tcp",
        external=(80, 80),
        fixed="10.0.0.5",
        internal=(80, 80),
        port_id=port_id,
    )


def test_what_leads_to_a_port_goes_with_it_and_no_sooner() -> None:
    floating = {n: HostFloating(floating_id=n, address=n, fixed=n, port_id=n) for n in ("p1", "p2")}
    router = HostRouter(
        router_id="r",
        interfaces=(RouterLeg(port_id="leg", network_id="n", mac="m"),),
        floating=tuple(floating.values()),
        forwarded=(_forwarding("p1"), _forwarding("p2")),
    )
    ports = tuple(HostPort(port_id=name, network_id="n", server_id="s", mac="m", tap=name) for name in floating)
    state = HostNetworkState()
    state.merge(HostNetwork(generation=4, segments=_fragment(1).segments, ports=ports, routers=(router,)))
    state.remove_ports(("p1",), 3)
    assert state.snapshot().routers == (router,), "the port is known from later"
    state.remove_ports(("p1",), 5)
    [left] = state.snapshot().routers
    assert (left.floating, left.forwarded) == ((floating["p2"],), (_forwarding("p2"),))


def _routed(generation: int, *networks: str) -> HostNetwork:
    """Return a port on the first of these networks, with a router that joins them all."""
    legs = tuple(
        RouterLeg(port_id=f"leg-{name}", network_id=name, mac="fa:16:3e:00:00:01", addresses=("10.0.0.1/24",))
        for name in networks
    )
    port = HostPort(port_id="p", network_id=networks[0], server_id="s", mac="fa:16:3e:00:00:02", tap="tap1")
    return HostNetwork(
        generation=generation,
        segments=tuple(HostSegment(network_id=name, name=name, tag=at) for at, name in enumerate(networks, 1)),
        ports=(port,),
        routers=(HostRouter(router_id="r", interfaces=legs),),
    )


def test_what_a_late_command_brings_for_a_router_that_has_left_it_does_not_stay() -> None:
    state, second = HostNetworkState(), replace(_routed(3, "inner").ports[0], port_id="q", tap="tap2")
    state.replace(replace(_routed(3, "inner"), ports=(*_routed(3, "inner").ports, second)))
    late = _routed(2, "inner", "left")
    state.merge(replace(late, ports=(second,)))
    assert set(state.segments) == {"inner"}
    assert [leg.network_id for leg in state.routers["r"].interfaces] == ["inner"]
    assert set(state.ports) == {"p", "q"}
    state.merge(_routed(4, "inner", "left"))
    assert set(state.segments) == {"inner", "left"}


def test_what_a_late_command_brings_for_a_port_that_is_gone_does_not_stay() -> None:
    state = HostNetworkState()
    state.remove_ports(("p",), 5)
    state.merge(_routed(4, "inner", "beyond"))
    assert (state.segments, state.routers, state.ports) == ({}, {}, {})


def test_a_late_command_brings_no_port_that_a_later_whole_does_not_know() -> None:
    state = HostNetworkState()
    state.replace(_routed(3, "inner"))
    gone = replace(_routed(2, "inner").ports[0], port_id="q", network_id="left", tap="tap2")
    state.merge(replace(_routed(2, "left"), ports=(gone,)))
    assert (set(state.ports), set(state.segments)) == ({"p"}, {"inner"})
    state.merge(replace(_routed(4, "left"), ports=(gone,)))
    assert set(state.ports) == {"p", "q"}, "it came back"


def test_a_late_command_brings_no_router_that_a_later_whole_does_not_know() -> None:
    state = HostNetworkState()
    state.replace(replace(_routed(3, "inner"), routers=()))
    state.merge(_routed(2, "inner", "left"))
    assert (set(state.segments), state.routers, set(state.ports)) == ({"inner"}, {}, {"p"})
    state.merge(_routed(4, "inner", "left"))
    assert (set(state.segments), set(state.routers)) == ({"inner", "left"}, {"r"})
