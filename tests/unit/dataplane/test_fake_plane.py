"""The data plane in memory does what its script says."""

from __future__ import annotations

import asyncio

import pytest

from floe.core.errors import HostFailure
from floe.core.host_network import HostNetwork, HostPort, HostRouter, HostSegment, RouterLeg
from floe.dataplane.fake import FakePlane, FakeScript
from floe.dataplane.protocol import PortsFailure

SEGMENT = HostSegment(network_id="n", name="n", tag=1)
PORTS = tuple(
    HostPort(port_id=f"p{i}", network_id="n", server_id="v", mac=f"fa:16:3e:00:00:0{i}", tap=f"tap{i}")
    for i in range(2)
)
WHOLE = HostNetwork(generation=3, segments=(SEGMENT,), ports=PORTS)


async def test_what_is_applied_can_be_looked_at():
    plane = FakePlane()
    await plane.apply(WHOLE)
    assert plane.applied == WHOLE
    await plane.remove_all()
    assert plane.applied == HostNetwork()


@pytest.mark.parametrize("key", ["p1", "tap1"])
async def test_a_scripted_fault_takes_one_port(key):
    plane = FakePlane(FakeScript(faults={key: "no such device"}))
    with pytest.raises(PortsFailure, match="no such device") as caught:
        await plane.apply(WHOLE)
    assert set(caught.value.ports) == {"p1"}
    assert [port.port_id for port in plane.applied.ports] == ["p0"]


async def test_a_scripted_fault_of_a_network_takes_its_ports():
    plane = FakePlane(FakeScript(faults={"n": "dnsmasq failed"}))
    with pytest.raises(PortsFailure) as caught:
        await plane.apply(WHOLE)
    assert set(caught.value.ports) == {"p0", "p1"}
    assert plane.applied.segments == ()


ROUTERS = tuple(
    HostRouter(
        router_id=f"r{i}",
        interfaces=(
            RouterLeg(port_id=f"l{i}", network_id="n", mac=f"fa:16:3e:00:01:0{i}", addresses=(f"10.0.0.{i + 1}/24",)),
        ),
    )
    for i in range(2)
)
ROUTED = HostNetwork(generation=3, segments=(SEGMENT,), ports=PORTS, routers=ROUTERS)


async def test_a_scripted_fault_of_a_router_is_its_own():
    plane = FakePlane(FakeScript(faults={"r1": "no namespace"}))
    with pytest.raises(PortsFailure, match="no namespace") as caught:
        await plane.apply(ROUTED)
    assert (caught.value.routers, caught.value.ports, caught.value.networks) == ({"r1": "no namespace"}, {}, {})
    assert plane.applied.routers == ROUTERS[:1]
    assert await plane.drift(ROUTED) == ["router r1 is missing"]
    assert [address.router_id for address in await plane.metadata_addresses()] == ["r0"]
    plane.script.faults.clear()
    await plane.apply(ROUTED)
    assert plane.applied == ROUTED


async def test_a_scripted_failure_changes_nothing():
    plane = FakePlane()
    await plane.apply(WHOLE)
    plane.script.failure = HostFailure("nft failed", stage="ports")
    with pytest.raises(HostFailure, match="nft failed"):
        await plane.apply(HostNetwork())
    assert plane.applied == WHOLE


async def test_a_slow_call_does_not_undo_a_later_one():
    gates = [asyncio.Event(), asyncio.Event()]
    waiting = iter(gates)

    async def sleep(seconds: float) -> None:
        assert seconds == 5
        await next(waiting).wait()

    plane = FakePlane(FakeScript(delay=5), sleep)
    first = asyncio.create_task(plane.apply(HostNetwork(generation=1)))
    await asyncio.sleep(0)
    second = asyncio.create_task(plane.apply(WHOLE))
    await asyncio.sleep(0)
    gates[1].set()
    await second
    gates[0].set()
    await first
    assert plane.applied == WHOLE
