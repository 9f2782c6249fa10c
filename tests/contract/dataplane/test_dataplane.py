"""What every data plane promises, tried on each of them."""

from __future__ import annotations

import asyncio
import socket

import pytest
from msgspec.structs import replace

from floe.core.host_network import HostNetwork
from floe.dataplane.fake import FakePlane
from floe.dataplane.linux import kernel
from floe.dataplane.protocol import DataPlane, MetadataAddress, PortsFailure


@pytest.fixture
def fake_plane() -> FakePlane:
    return FakePlane()


@pytest.fixture(params=["fake_plane", pytest.param("linux_plane", marks=pytest.mark.e2e)])
def plane(request) -> DataPlane:
    return request.getfixturevalue(request.param)


async def connects(address: MetadataAddress, served: socket.socket) -> bool:
    """Say whether a client beside the metadata address reaches the socket."""

    def dial() -> socket.socket:
        return socket.create_connection(served.getsockname(), timeout=5)

    client = await kernel.in_namespace(address.namespace, dial) if address.namespace else await asyncio.to_thread(dial)
    with client:
        accepted, peer = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(served), 5)
        with accepted:
            return peer == client.getsockname()


async def test_each_served_network_has_a_metadata_address(plane: DataPlane, world):
    served, bare = world.segment(1), world.segment(2, dhcp=False)
    world.port(11, served)
    world.port(12, bare)
    await plane.apply(world.network)
    [address] = await plane.metadata_addresses()
    assert (address.network_id, address.address, address.port) == (served.network_id, "169.254.169.254", 80)


async def test_a_metadata_socket_takes_connections(plane: DataPlane, world):
    world.port(11, world.segment())
    await plane.apply(world.network)
    [address] = await plane.metadata_addresses()
    with await plane.metadata_socket(address) as served:
        assert await connects(address, served)


async def test_applying_the_same_again_changes_nothing(plane: DataPlane, world):
    world.port(11, world.segment())
    await plane.apply(world.network)
    before = await plane.metadata_addresses()
    await plane.apply(world.network)
    assert await plane.metadata_addresses() == before


async def test_what_is_no_longer_wanted_goes(plane: DataPlane, world):
    port = world.port(11, world.segment())
    await plane.apply(world.network)
    await plane.apply(world.without(port))
    assert await plane.metadata_addresses() == []


async def test_a_port_that_cannot_be_made_is_named_and_keeps_no_other_from_being_made(plane: DataPlane, world):
    segment = world.segment()
    bad = world.port(11, segment, mac="not a mac")
    world.port(12, segment)
    with pytest.raises(PortsFailure, match="not a mac") as caught:
        await plane.apply(world.network)
    assert caught.value.stage == "ports"
    assert set(caught.value.ports) == {bad.port_id}
    assert caught.value.networks == {}
    assert len(await plane.metadata_addresses()) == 1


@pytest.mark.parametrize("tap", ["", "a-name-of-16-char", "x y", "x\nlink del dev lo", "../x", 'x"'])
async def test_a_device_name_that_is_none_is_refused(plane: DataPlane, world, tap):
    port = world.port(11, world.segment(), tap=tap)
    with pytest.raises(PortsFailure, match="Device name") as caught:
        await plane.apply(world.network)
    assert set(caught.value.ports) == {port.port_id}


async def test_a_network_that_cannot_be_made_takes_its_ports_along_and_no_others(plane: DataPlane, world):
    good, bad = world.segment(1), world.segment(2, mtu=20)
    world.port(11, good)
    lost = world.port(12, bad)
    with pytest.raises(PortsFailure, match="MTU 20") as caught:
        await plane.apply(world.network)
    assert set(caught.value.networks) == {bad.network_id}
    assert set(caught.value.ports) == {lost.port_id}
    assert [address.network_id for address in await plane.metadata_addresses()] == [good.network_id]


async def test_of_concurrent_calls_the_latest_counts(plane: DataPlane, world):
    wholes = [HostNetwork()]
    for number in (1, 2, 3):
        world.port(10 + number, world.segment(number))
        wholes.append(world.network)
    await asyncio.gather(*(plane.apply(whole) for whole in wholes))
    assert len(await plane.metadata_addresses()) == 3


async def test_all_can_be_removed_and_made_again(plane: DataPlane, world):
    world.port(11, world.segment())
    await plane.apply(world.network)
    await plane.remove_all()
    assert await plane.metadata_addresses() == []
    await plane.apply(world.network)
    assert len(await plane.metadata_addresses()) == 1


async def test_how_the_host_differs_is_told_and_nothing_when_it_does_not(plane: DataPlane, world):
    segment = world.segment()
    world.port(11, segment)
    assert await plane.drift(HostNetwork()) == []
    assert await plane.drift(world.network) != []
    await plane.apply(world.network)
    assert await plane.drift(world.network) == []
    before = world.network
    world.port(12, segment)
    assert any("tap12" in text or "port" in text for text in await plane.drift(world.network))
    assert await plane.drift(before) == [], "to look changes nothing"


async def test_routers_are_there_to_be_asked_for_metadata_until_they_go(plane: DataPlane, world):
    segment = world.segment(1, dhcp=False)
    world.port(11, segment)
    router = world.router(1, segment)
    assert await plane.drift(world.network) != []
    await plane.apply(world.network)
    assert await plane.drift(world.network) == []
    [address] = await plane.metadata_addresses()
    assert (address.router_id, address.network_id, address.address) == (router.router_id, "", "169.254.169.254")
    with await plane.metadata_socket(address) as served:
        assert await connects(address, served)
    before = world.network
    world.changed(router, up=False)
    assert await plane.drift(world.network) != []
    assert await plane.drift(before) == []
    await plane.apply(replace(before, routers=()))
    assert await plane.metadata_addresses() == []


async def test_a_router_that_cannot_be_made_takes_nothing_along(plane: DataPlane, world):
    segment = world.segment(1, dhcp=False)
    world.port(11, segment)
    good, bad = world.router(1, segment), world.router(2, segment)
    legs = (replace(bad.interfaces[0], mac="not a mac"),)
    with pytest.raises(PortsFailure, match="not a mac") as caught:
        await plane.apply(world.changed(bad, interfaces=legs))
    assert (set(caught.value.routers), caught.value.ports, caught.value.networks) == ({bad.router_id}, {}, {})
    assert [address.router_id for address in await plane.metadata_addresses()] == [good.router_id]
