"""What a machine has to be the outside of routers, or to lead there: its devices, ranges, and others' rules."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from floe.cli.findings import Finding, Level
from floe.core.networks import PUBLIC
from floe.dataplane.linux import kernel, machine
from floe.dataplane.linux.links import Device
from floe.dataplane.linux.names import BRIDGE_PREFIX, MACHINE_PREFIX, OWNER
from floe.settings import EXTERNAL_HOST, Settings

_OURS = ("floe", machine.TABLE[1])
_DOCKERS = "DOCKER-USER"
"""The chain in which Docker leaves room for others' rules."""
_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What was found."""

    external: str
    """What the settings say: a device, that it is the machine itself, or nothing."""
    sandbox: bool
    gateway: str
    """The machine's address, were it the outside, with the length of the prefix."""
    devices: Mapping[str, Device]
    addresses: Mapping[str, list[str]]
    dropping: Sequence[str]
    """Others' chains that drop what is forwarded and not named in them, as `family table chain`."""
    docker: bool
    """Whether Docker is there, which has a chain for what others want passed."""


def look(settings: Settings) -> Outside:
    """Ask this machine. Nothing is changed."""
    chains = [] if settings.sandbox else _chains()
    return Outside(
        external=settings.external,
        sandbox=settings.sandbox,
        gateway=settings.outside_gateway(),
        devices=kernel.devices(),
        addresses=kernel.addresses(),
        dropping=[f"{each['family']} {each['table']} {each['name']}" for each in chains if _drops(each)],
        docker=any(each["name"] == _DOCKERS for each in chains),
    )


def findings(found: Outside) -> list[Finding]:
    """Return what there is to say of the outside."""
    return [_external(found), *_forwarding(found)]


def _external(found: Outside) -> Finding:
    name = "external"
    if found.sandbox:
        return Finding(name=name, level=Level.OK, what="floating IPs are reached from within the sandbox (floe exec)")
    if not found.external:
        return Finding(name=name, level=Level.OK, what="routers lead nowhere: external is not set")
    if found.external == EXTERNAL_HOST:
        own = machine.Machine(addresses={PUBLIC: found.gateway}).leading[PUBLIC]
        taken = machine.taken_by([found.gateway], own, found.devices, found.addresses)
        if taken is None:
            return Finding(name=name, level=Level.OK, what=f"this machine is the outside, as {found.gateway}")
        return Finding(
            name=name,
            level=Level.MISSING,
            what=f"this machine has {taken[1]} on {taken[0]}, in the range in which it is to be the outside",
            remedy="external_range = another range, like 10.224.4.0/24, before the first start",
        )
    device = found.devices.get(found.external)
    if device is None:
        return Finding(
            name=name,
            level=Level.MISSING,
            what=f"there is no device {found.external}",
            remedy=f"external = a bridge or interface of this machine, or {EXTERNAL_HOST!r}",
        )
    if device.master and not found.devices[device.master].alias.startswith(OWNER):
        return Finding(
            name=name,
            level=Level.MISSING,
            what=f"{device.name} is part of {device.master}",
            remedy=f'external = "{device.master}"',
        )
    if device.kind != "bridge" and found.addresses.get(device.name):
        return Finding(
            name=name,
            level=Level.WARN,
            what=f"the machine has {', '.join(found.addresses[device.name])} on {device.name}, and answers there no"
            " more once guests are reached by it",
            remedy=f"put {device.name} and its addresses into a bridge, and name that",
        )
    return Finding(name=name, level=Level.OK, what=f"routers lead out by {device.name}")


def _forwarding(found: Outside) -> list[Finding]:
    if not found.dropping:
        return []
    chain = _DOCKERS if found.docker else "FORWARD"
    names = (BRIDGE_PREFIX, MACHINE_PREFIX)
    remedies = [f"iptables -I {chain} {way} {name}+ -j ACCEPT" for name in names for way in ("-i", "-o")]
    return [
        Finding(
            name="forwarding",
            level=Level.WARN,
            what=f"{', '.join(found.dropping)} drops what it does not know, so also what guests send each other and the"
            " outside" + (" (it is Docker's)" if found.docker else ""),
            remedy="; ".join(remedies),
        )
    ]


def _chains() -> list[Mapping[str, str]]:
    """Return all chains of nftables; none where they cannot be listed."""
    nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin")
    if nft is None:
        return []
    try:
        done = subprocess.run(
            [nft, "-j", "list", "chains"], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        listed = json.loads(done.stdout or "{}").get("nftables", [])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []
    return [entry["chain"] for entry in listed if "chain" in entry]


def _drops(chain: Mapping[str, str]) -> bool:
    """Say whether a chain, not of ours, drops what is forwarded and not named in it."""
    judges = chain.get("hook") == "forward" and chain["family"] in {"ip", "inet"} and chain["table"] not in _OURS
    return judges and chain.get("policy") == "drop"
