"""What a host remembers of ports that were removed is bounded, and the latest is kept."""

from __future__ import annotations

from floe.core.host_network import (
    TOMBSTONES,
    HostFloating,
    HostForwarding,
    HostNetwork,
    HostNetworkState,
    HostPort,
    HostRouter,
    HostSegment,
    RouterLeg,
)


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
