"""Networks that nobody would think of: the model of `floe why-not` agrees with real packets, and fails nowhere."""

from __future__ import annotations

import dataclasses
import os
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from floe.core.host_network import HostNetwork
from floe.core.packets.asking import Question, why_not
from floe.core.packets.scene import PROTOCOLS, Scene, ServerFacts, told
from floe.core.servers import ACTIVE, ERROR, STOPPED

from .chance import INNER, cases_in, world_by
from .conftest import Town, ident
from .packets_sent import Sending, found

SEEDS = range(int(os.environ.get("WHY_NOT_SEEDS", "6")))
PACKETS = 40


@pytest.mark.e2e
@pytest.mark.parametrize("seed", SEEDS)
async def test_packets_fare_as_it_says(linux_plane: Any, guests: Any, outside: str, seed: int) -> None:
    dice = Random(seed)
    world = world_by(dice)
    cases = cases_in(dice, world, PACKETS)
    by_name = {f"g{port.tap}": port for port in world.network.ports}
    gateways = {segment.network_id: segment.subnets[0].gateway for segment in world.network.segments}
    for port in world.network.ports:
        guests.add(port, gateway=gateways[port.network_id])
    first, *_, public = world.network.segments
    town = Town(
        world=world, plane=linux_plane, guests=guests, outside=outside, first=first, second=first, public=public,
        router=world.network.routers[0], group=ident(0x80, 9),
    )  # fmt: skip
    async with Sending(town, by_name) as sending:
        await linux_plane.apply(world.network)
        stops = [(case, found(town, by_name, case)) for case in cases]
        await sending.check([dataclasses.replace(case, stopped_by=stop and stop.text) for case, stop in stops])


def torn(dice: Random, network: HostNetwork) -> HostNetwork:
    """Return a network that lacks what others refer to, as none should ever."""
    for name in ("segments", "ports", "groups", "routers"):
        kept = tuple(each for each in getattr(network, name) if dice.random() < 0.85)
        network = replace(network, **{name: kept})
    bare = tuple(replace(port, addresses=()) if dice.random() < 0.1 else port for port in network.ports)
    routers = tuple(
        replace(router, gateway=replace(router.gateway, addresses=()))
        if router.gateway is not None and dice.random() < 0.1
        else router
        for router in network.routers
    )
    return replace(network, ports=bare, routers=routers)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_it_answers_whatever_there_is(dice: Random) -> None:
    world = world_by(dice)
    whole = world.network
    network = torn(dice, whole) if dice.random() < 0.7 else whole
    states = (ACTIVE, ACTIVE, ACTIVE, STOPPED, ERROR, "unheard of")
    names = [port.server_id for port in whole.ports]
    scene = Scene(
        network=network,
        servers={
            name: ServerFacts(name=name, state=dice.choice(states), host=dice.choice("ab"), host_up=dice.random() < 0.8)
            for name in names
            if dice.random() < 0.7
        },
        external=frozenset(segment.network_id for segment in whole.segments[3:] if dice.random() < 0.8),
        statuses={port.port_id: "DOWN" for port in whole.ports if dice.random() < 0.1},
        idle=tuple(each for router in whole.routers for each in router.floating if dice.random() < 0.1),
    )
    for _ in range(5):
        protocol = dice.choice(list(PROTOCOLS))
        question = Question(
            server_id=dice.choice([*names, "none"]),
            protocol=protocol,
            port=None if protocol == "icmp" else dice.randrange(1, 65536),
            source_id=dice.choice([None, *names]),
            source_address=dice.choice([None, "203.0.113.9", f"{dice.choice(INNER)}.{dice.randrange(1, 255)}"]),
            to=dice.choice([None, None, "172.24.4.50", "10.7.0.11"]),
        )
        finding = why_not(scene, question)
        assert finding.steps
        stops = [step for step in finding.steps if step.mark.value == "stops"]
        assert stops == ([finding.stop] if finding.stop else []) == [step for step in finding.steps[-1:] if stops]
        veiled = told(finding, frozenset())
        assert veiled.verdict == finding.verdict
        assert not [step for step in veiled.steps if step.id or step.rule]
        idents = {step.id for step in finding.steps if step.id}
        assert not [ident for ident in idents for step in veiled.steps if ident in step.text + step.remedy]
