"""Rules that were changed step by step are those that loading them whole would have made."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator, Sequence

import pytest
from msgspec.structs import replace

from floe.core.host_network import GroupRule, HostForwarding, HostNetwork, HostPort, HostRoute, HostRouter
from floe.dataplane.linux import nftables, router_rules, ruleset

from .conftest import floating, forwarding

pytestmark = pytest.mark.e2e


def normal(listing: str) -> list[str]:
    """Return what a listing says, without handles and in one order; rules keep theirs within a chain."""
    items = []
    for entry in json.loads(listing)["nftables"]:
        [(kind, content)] = entry.items()
        if kind == "metainfo":
            continue
        content.pop("handle", None)
        if "elem" in content:
            content["elem"] = sorted(content["elem"], key=json.dumps)
        items.append((kind, content))
    chains: dict[tuple[str, str, str], list[object]] = {}
    for kind, content in items:
        if kind == "rule":
            chains.setdefault((content["family"], content["table"], content["chain"]), []).append(content["expr"])
    others = [json.dumps(item, sort_keys=True) for item in items if item[0] != "rule"]
    return sorted(others) + [json.dumps(pair) for pair in sorted(chains.items())]


def some_network(dice: random.Random, make_world) -> HostNetwork:
    world = make_world()
    rules = [
        GroupRule(direction="egress"),
        GroupRule(direction="ingress", protocol="tcp", port_min=22, port_max=22),
        GroupRule(direction="ingress", protocol="icmp"),
        GroupRule(direction="ingress", remote_cidr="192.0.2.0/24"),
    ]
    rules += [GroupRule(direction="ingress", remote_group=world.group(number)) for number in range(1, 5)]
    groups = []
    for number in range(1, 5):
        remote = tuple(f"10.9.0.{n}" for n in dice.sample(range(20), dice.randrange(6)))
        groups.append(world.group(number, *dice.sample(rules, dice.randrange(5)), remote_members=remote))
    segments = [world.segment(number) for number in dice.sample(range(1, 4), min(3, dice.randrange(12)))]
    for number in dice.sample(range(11, 31), dice.randrange(12)) if segments else ():
        world.port(
            number,
            dice.choice(segments),
            groups=tuple(dice.sample(groups, dice.randrange(3))),
            up=dice.random() < 0.9,
            port_security=dice.random() < 0.9,
            allowed_pairs=(("10.7.0.64/28", "00:00:5e:00:01:01"),) if dice.random() < 0.2 else (),
        )
    return world.network


def some_router(dice: random.Random, make_world) -> HostRouter:
    world = make_world()
    inner = [world.segment(number, net=f"10.{number}.0") for number in range(1, 4)]
    outer = world.segment(9, net="172.24.4")
    legs = dice.sample(inner, dice.randrange(1, 4))
    router = world.router(1, *legs, outside=outer if dice.random() < 0.8 else None)
    ports = [world.port(number, dice.choice(legs)) for number in dice.sample(range(10, 60), dice.randrange(30))]
    fixed = {port.addresses[0].address: port for port in ports}.values()
    outside = dice.sample(range(110, 200), len(fixed))
    pairs = zip(outside, fixed, strict=True)
    world.changed(
        router,
        interfaces=tuple(replace(leg, up=dice.random() < 0.9) for leg in router.interfaces),
        floating=tuple(floating(f"172.24.4.{number}", port) for number, port in pairs) if router.gateway else (),
        forwarded=tuple(some_forwardings(dice, ports)) if router.gateway else (),
        routes=tuple(
            HostRoute(destination=f"10.{99 + n}.0.0/16", nexthop=legs[0].subnets[0].cidr.replace(".0/24", ".9"))
            for n in range(dice.randrange(3))
        ),
        snat=dice.random() < 0.8,
        up=dice.random() < 0.9,
    )
    [made] = world.network.routers
    return made


def some_forwardings(dice: random.Random, ports: Sequence[HostPort]) -> Iterator[HostForwarding]:
    for number, port in enumerate(dice.sample(ports, len(ports) // 2), 2):
        first, many = 100 * number, dice.choice((1, 1, 30))
        inner = dice.choice(((22, 22), (5, 4 + many)))
        protocol, address = dice.choice(("tcp", "udp")), f"172.24.4.{dice.choice((210, 211))}"
        yield forwarding(address, port, (first, first + many - 1), inner, protocol=protocol)


def of_hosts(dice: random.Random, make_world) -> ruleset.Tables:
    network = some_network(dice, make_world)
    routers = (some_router(dice, make_world),) if dice.random() < 0.5 else ()
    there = {segment.network_id for segment in network.segments}
    kept = tuple(
        replace(each, interfaces=tuple(x for x in each.interfaces if x.network_id in there)) for each in routers
    )
    return nftables.rules(replace(network, routers=kept))


def of_routers(dice: random.Random, make_world) -> ruleset.Tables:
    return {router_rules.TABLE: router_rules.rules(some_router(dice, make_world))}


@pytest.mark.parametrize("some_rules", [of_hosts, of_routers])
@pytest.mark.parametrize("seed", range(3))
def test_many_changes_end_where_one_load_would(private_network, world, seed, some_rules):
    dice = random.Random(seed)
    before: ruleset.Tables = nftables.rules(HostNetwork()) if some_rules is of_hosts else {router_rules.TABLE: {}}
    changed = 0
    for _ in range(25):
        after = some_rules(dice, type(world))
        script = ruleset.difference(before, after)
        whole = ruleset.whole(after)
        changed += script not in ("", whole)
        subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)
        here = subprocess.run(["nft", "-j", "list", "ruleset"], check=True, capture_output=True, text=True)
        fresh = subprocess.run(
            ["unshare", "-n", "sh", "-c", "nft -f - && nft -j list ruleset"],
            input=whole,
            check=True,
            capture_output=True,
            text=True,
        )
        assert normal(here.stdout) == normal(fresh.stdout)
        before = after
    assert changed > 10
