"""What a host remembers of ports that were removed is bounded, and the latest is kept."""

from __future__ import annotations

from floe.core.host_network import TOMBSTONES, HostNetwork, HostNetworkState, HostPort, HostSegment


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
