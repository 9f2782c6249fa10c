"""The data plane in memory does what its script says."""

from __future__ import annotations

import asyncio

import pytest

from floe.core.errors import HostFailure
from floe.core.host_network import HostNetwork, HostPort, HostSegment
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
