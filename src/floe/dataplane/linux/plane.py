"""The data plane of a Linux host: bridges and taps, nftables, dnsmasq and routers in namespaces. IPv4 only.

Everything is made in the network namespace that the process is in. What is there is looked up afresh at each
`apply`, so that whatever somebody changed behind our back is mended, and restarts need no memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from floe.core.errors import HostFailure
from floe.core.host_network import HostNetwork, HostPort, HostSegment
from floe.core.nic_limits import NIC_LIMITS_TRAIT
from floe.dataplane.checks import METADATA_ADDRESS, served_subnets, sound_part
from floe.dataplane.linux import account, kernel, links, nftables, nic_limits, physical, routers, shares, sole, stack
from floe.dataplane.linux import machine as outside
from floe.dataplane.linux.counted import CountedPorts
from floe.dataplane.linux.dnsmasq import DhcpServers
from floe.dataplane.linux.loaded import LoadedRules, are_loadable
from floe.dataplane.linux.machine import NOWHERE, Machine
from floe.dataplane.linux.names import INNER_DEVICE, namespace_name, owns_namespace, short
from floe.dataplane.linux.router_spaces import RouterSpaces
from floe.dataplane.linux.routers import Inside
from floe.dataplane.linux.ruleset import Tables
from floe.dataplane.linux.run import find_program, ip_batch, ports_failure, run
from floe.dataplane.protocol import MetadataAddress, failure_of
from floe.pools import alone

log = logging.getLogger(__name__)

PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
"""What must be installed, and the Debian package that brings it."""

_BACKLOG = 128
_MEND_SECONDS = 5.0


class LinuxPlane:
    """Implements `DataPlane`. DHCP servers have their files below `/run/floe`, apart for each `state_dir`.

    `leading` names the bridge or interface of this host that leads to each physical network; `machine` says for which
    the machine itself is what they lead to. A router keeps at most `connections`,
    and each NIC of a guest `guest_connections`.
    """

    def __init__(
        self,
        state_dir: Path,
        leading: Mapping[str, str] | None = None,
        *,
        machine: Machine = NOWHERE,
        connections: int = shares.ROUTER,
        guest_connections: int = shares.GUEST,
    ) -> None:
        self._state_dir = state_dir
        self._held: int | None = None
        self._folder = account.folder(state_dir)
        self._servers = DhcpServers(self._folder, former=state_dir.absolute() / "dhcp")
        self._lock = asyncio.Lock()
        self._wanted = HostNetwork()
        self._next: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._complete: HostNetwork | None = None
        """What the latest round made, if it made all of it."""
        self._segments: tuple[HostSegment, ...] = ()
        self._rules = LoadedRules()
        self._machine = machine
        self._leading = {**(leading or {}), **machine.leading}
        self._ends: list[str] = []
        """The devices in bridges of physical networks that lead out of the host, for which rules are in force."""
        self._routers = RouterSpaces(connections)
        self._shares = shares.of_guests(guest_connections)
        self._counted = CountedPorts()
        self._addressed: dict[str, tuple[int, HostSegment]] = {}
        """Per network: the namespace (inode) and segment for which the inner addresses are in place."""
        self._mended_at = -_MEND_SECONDS
        self._limiting = True

    async def open(self) -> None:
        """Check programs, the bridge filter and that no other Floe is here, and find the DHCP servers that run."""
        for program, package in PROGRAMS.items():
            if find_program(program) is None:
                raise ports_failure(f"{program} is not installed on this host (Debian package {package}).")
        if not stack.filters_bridges() and find_program("modprobe"):
            await run(["modprobe", "br_netfilter"], check=False)
            stack.spare_bridges()
        if not stack.filters_bridges():
            raise ports_failure("Security groups need the kernel's br_netfilter.")
        account.find()
        self._limiting = await are_loadable(nic_limits.TRIAL)
        if self._held is None:
            self._held = sole.hold(self._state_dir)
        await alone(kernel.forget_broken_namespaces, owns_namespace)
        await alone(self._servers.find)

    def traits(self) -> tuple[str, ...]:
        """Say whether it can limit NICs."""
        return (NIC_LIMITS_TRAIT,) if self._limiting else ()

    async def close(self) -> None:
        """Wait for the work under way; all that was made stays."""
        self._servers.unwatch()
        if self._running:
            await asyncio.wait(self._running)
        await self._routers.close()
        if self._held is not None:
            os.close(self._held)
            self._held = None

    async def apply(self, network: HostNetwork) -> None:
        """Make the host look like `network`; calls that come while a round runs share the next one."""
        self._wanted = network
        if self._next is None:
            self._next = asyncio.create_task(self._round(), name="data plane")
            self._running.add(self._next)
            self._next.add_done_callback(self._finished)
        # A caller that gives up must not stop the round: it may be doing others' work, too.
        await asyncio.shield(self._next)

    async def drift(self, network: HostNetwork) -> list[str]:
        """Compare devices, rules and DHCP servers with `network`, when no round is under way."""
        async with self._lock:
            sound, problems = sound_part(network, limiting=self._limiting)
            looked = await self._routers.look(sound, kernel.namespaces(), again=True)
            todo, joined = self._plan(sound, looked)
            found = [f"{owner}: {text}" for owner, text in (problems | todo.problems).items()]
            found += [f"{name} is left" for name in todo.removed]
            made = [line for line in (*todo.before, *todo.after) if line.text.split()[-1] not in todo.removed]
            found += [f"{line.owner}: not done yet: ip {line.text}" for line in made]
            unlike = stack.open_to(_outside(sound, joined)) | stack.unguarded(self._machine.leading.values())
            found += [f"{path} is not {value}" for path, value in unlike.items()]
            found += ["the machine does not forward as it should"] if outside.leads_on_wrongly(self._machine) else []
            found += await self._rules.drift(self._tables(sound, [each.end for each in joined]))
            found += await self._routers.drift(sound, looked)
            served = {segment.network_id: segment for segment in sound.segments if served_subnets(segment)}
            for ident, segment in served.items():
                if not self._servers.serves(ident):
                    found.append(f"DHCP of network {ident} does not run")
                elif self._servers.differs(segment, _ports_of(segment, sound)):
                    found.append(f"DHCP of network {ident} has files of another state")
            left = self._servers.keys() - {short(ident) for ident in served}
            return found + [f"DHCP of network {key} is left" for key in sorted(left)]

    async def metadata_addresses(self) -> list[MetadataAddress]:
        """Return the metadata address of each segment and router that has its namespace."""
        found = await alone(kernel.namespaces)
        return [
            MetadataAddress(
                network_id=segment.network_id,
                namespace=name,
                address=METADATA_ADDRESS,
                namespace_id=found[name],
            )
            for segment in self._segments
            if served_subnets(segment) and (name := namespace_name(segment.network_id)) in found
        ] + self._routers.metadata(found)

    async def metadata_socket(self, address: MetadataAddress) -> socket.socket:
        """Return a listening socket; it keeps the namespace it was made in, whoever serves it."""

        def listen() -> socket.socket:
            return socket.create_server((address.address, address.port), backlog=_BACKLOG)

        made = await kernel.in_namespace(address.namespace, listen) if address.namespace else listen()
        made.setblocking(False)
        return made

    async def remove_all(self) -> None:
        """Remove all of Floe's; raises `HostFailure` naming what could not be removed."""
        async with self._lock:
            self._complete, self._segments = None, ()
            self._addressed.clear()
            self._routers.forget()
            await alone(self._servers.find)
            for key in sorted(self._servers.keys()):
                await self._servers.stop(key)
            found = frozenset(kernel.namespaces())
            failed = await self._batch(links.removal(kernel.devices(), found))
            await self._rules.remove((nftables.BRIDGE, nftables.INET, shares.TABLE, outside.TABLE))
            self._counted.forget()
            outside.lead_on(NOWHERE)
            shutil.rmtree(self._folder.parent, ignore_errors=True)
            if failed:
                raise ports_failure("Some devices could not be removed.", "\n".join(failed.values()))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        # Every caller may have given up; the failure was logged where it happened.
        if not task.cancelled():
            task.exception()

    async def _round(self) -> None:
        async with self._lock:
            self._next = None
            try:
                await self._converge(self._wanted)
            except HostFailure as error:
                log.warning("the host's network is not as it should be: %s %s", error.message, error.detail)
                raise
            finally:
                self._servers.watch(self._server_ended)

    def _server_ended(self) -> None:
        """Start a DHCP server anew that died, unless that was done just now: the next `apply` tries again."""
        now = asyncio.get_running_loop().time()
        if now - self._mended_at >= _MEND_SECONDS:
            self._mended_at = now
            task = asyncio.create_task(self.apply(self._wanted), name="mend the data plane")
            self._running.add(task)
            task.add_done_callback(self._finished)

    async def _converge(self, network: HostNetwork) -> None:
        """Look, compare, and do what differs; rules are in force before a new tap joins its bridge."""
        if await self._reroute(network):
            return
        unchanged = network == self._complete
        self._complete = None
        sound, problems = (network, {}) if unchanged else sound_part(network, limiting=self._limiting)
        partial = {router.router_id for router in sound.routers}
        looked = await self._routers.look(sound, kernel.namespaces(), again=unchanged)
        todo, joined = self._plan(sound, looked)
        problems |= todo.problems
        for ident in todo.renewed:
            self._addressed.pop(ident, None)
        problems |= await self._stop_servers(sound)
        problems |= await self._batch(todo.before)
        outside.lead_on(self._machine)  # first: it sets forwarding for every device
        stack.close_to(_outside(sound, joined))
        stack.guard(self._machine.leading.values())
        problems |= await self._place_addresses(sound)
        self._segments = sound.segments
        failed, unsafe = await self._routers.make(sound, looked, todo.renewed)
        ends = [each.end for each in joined]
        await self._counted.find()
        await self._rules.load(self._rules.tables if unchanged and ends == self._ends else self._tables(sound, ends))
        self._ends = ends
        await self._counted.keep(sound.ports)
        skipped = (problems.keys() - partial) | unsafe
        problems |= failed
        problems |= await self._batch([line for line in todo.after if line.owner not in skipped])
        await self._routers.announce()
        problems |= await self._serve(sound, unchanged, frozenset(problems))
        if todo.removed:
            log.info("removed from the host's network: %s", ", ".join(todo.removed))
        if problems:
            raise failure_of(network, problems)
        self._complete = network

    async def _reroute(self, network: HostNetwork) -> bool:
        """Do it where all that differs from what was made is inside of routers; False where that is not so.

        What one floating IP costs is then no matter of how many ports there are. The rest is looked at by `drift`.
        """
        before, names = self._complete, kernel.namespaces()
        if before is None or not routers.differ_inside(before, network, names):
            return False
        sound, problems = sound_part(network, limiting=self._limiting)
        looked = await self._routers.look(sound, names, again=False)
        if problems or not routers.are_joined(before, sound, looked):
            return False
        self._complete = None
        failed, _ = await self._routers.make(sound, looked, ())
        await self._rules.load(nftables.shielded(self._rules.tables, sound))
        await self._routers.announce()
        if failed:
            raise failure_of(network, failed)
        self._complete = network
        return True

    def _plan(self, sound: HostNetwork, looked: Mapping[str, Inside]) -> tuple[links.LinkPlan, list[physical.Join]]:
        """Compare what should be with the devices and namespaces that are there."""
        devices, names = kernel.devices(), frozenset(kernel.namespaces())
        own = self._machine.leading.values()
        joined, problems = physical.joins(sound, self._leading, devices, own)
        todo = links.plan(sound, devices, names, frozenset(name for each in joined for name in each.made).union(own))
        todo.problems |= problems
        segments = {segment.network_id: segment for segment in sound.segments}
        outside.plan(todo, self._machine, sound, devices, kernel.addresses() if own else {})
        routers.join(todo, sound.routers, segments, devices, names, looked)
        physical.join(todo, sound, joined, devices)
        return todo, joined

    def _tables(self, sound: HostNetwork, ends: Sequence[str]) -> Tables:
        counting = self._shares if sound.segments else {}
        return {shares.TABLE: counting, **nftables.rules(sound, ends), outside.TABLE: outside.rules(self._machine)}

    async def _batch(self, lines: Sequence[links.Line]) -> dict[str, str]:
        """Run lines with one `ip`, each whatever became of the others; return the owners of the failed."""
        numbers, said = await ip_batch([line.text for line in lines])
        if not numbers:
            return {}
        there = kernel.devices().keys() | kernel.namespaces().keys()
        remade = {
            line.text.split()[3] for at, line in enumerate(lines) if at not in numbers and "link add" in line.text
        }
        failed: dict[str, str] = {}
        for line in (lines[number] for number in numbers):
            words = line.text.split()
            if "del" in words[:2] and (words[-1] not in there or words[-1] in remade):
                continue  # somebody else, or the kernel, was faster
            failed.setdefault(line.owner, f"ip {line.text}: {said}")
        return failed

    async def _place_addresses(self, network: HostNetwork) -> dict[str, str]:
        """Give each new or changed segment's inner device its addresses."""
        names = kernel.namespaces()
        lines: list[links.Line] = []
        placed: dict[str, tuple[int, HostSegment]] = {}
        failed: dict[str, str] = {}
        for segment in network.segments:
            name = namespace_name(segment.network_id)
            if not served_subnets(segment) or name not in names:
                continue
            state = (names[name], segment)
            if self._addressed.get(segment.network_id) != state:
                try:
                    await kernel.in_namespace(name, stack.confine_namespace)
                    lines += links.addresses(segment, await _inner_addresses(name))
                except HostFailure as error:
                    failed[segment.network_id] = f"{error.message} {error.detail}".strip()
            placed[segment.network_id] = state
        failed |= await self._batch(lines)
        self._addressed = {key: state for key, state in placed.items() if key not in failed}
        return failed

    async def _stop_servers(self, network: HostNetwork) -> dict[str, str]:
        """End the DHCP servers of segments that are gone; return those that would not end."""
        wanted = {short(segment.network_id) for segment in network.segments if served_subnets(segment)}
        failed: dict[str, str] = {}
        for key in sorted(self._servers.keys() - wanted):
            try:
                await self._servers.stop(key)
            except HostFailure as error:
                failed[key] = error.message
        return failed

    async def _serve(self, network: HostNetwork, unchanged: bool, troubled: frozenset[str]) -> dict[str, str]:
        """Make each segment's DHCP server serve its ports; those in trouble already are left alone."""
        problems: dict[str, str] = {}
        for segment in network.segments:
            ident, ports = segment.network_id, _ports_of(segment, network)
            if not served_subnets(segment) or ident in troubled:
                continue
            if unchanged and self._servers.serves(ident) and not self._servers.differs(segment, ports):
                continue
            try:
                await self._servers.make(segment, ports)
            except HostFailure as error:
                problems[ident] = f"{error.message} {error.detail}".strip()
        return problems


def _ports_of(segment: HostSegment, network: HostNetwork) -> list[HostPort]:
    return [port for port in network.ports if port.network_id == segment.network_id]


def _outside(network: HostNetwork, joined: Sequence[physical.Join]) -> list[str]:
    """Return the devices in the host's own namespace that its stack has nothing to do with."""
    return [*links.outside(network), *(name for each in joined for name in each.made)]


async def _inner_addresses(namespace: str) -> frozenset[str]:
    """Return the IPv4 addresses (as CIDRs) of a DHCP namespace's inner device."""
    finished = await run(["ip", "-n", namespace, "-4", "-j", "addr", "show", "dev", INNER_DEVICE])
    shown = json.loads(finished.out or "[]")
    return frozenset(
        f"{entry['local']}/{entry['prefixlen']}" for device in shown for entry in device.get("addr_info", ())
    )
