"""What has to be true of a cloud: pure rules over its rows, and over what each host has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.core import server_states
from floe.core.clock import iso
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.hosts import FORMER, RUNNING
from floe.core.server_states import Part
from floe.core.servers import ERROR, RESIZED, SHELVED, SHELVED_OFFLOADED
from floe.store.audit import Row, Rows


class Violation(msgspec.Struct, frozen=True, order=True):
    """Something that is not as it must be. `subject` is the id or name of what it is about."""

    rule: str
    subject: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}" + (f" ({self.text})" if self.text else "")


class HostView(msgspec.Struct, frozen=True, kw_only=True):
    """What a host really has: guests, the network in force, folders of guests."""

    guests: Mapping[str, PowerState] = msgspec.field(default_factory=dict)
    network: HostNetwork = HostNetwork()
    folders: frozenset[str] = frozenset()


def check_rows(rows: Rows, *, quiet: bool) -> list[Violation]:
    """Check the database in itself. With `quiet` nothing is under way, so that nothing may be in between."""
    found = [Violation(*told) for told in rows.broken]
    if quiet:
        found += [
            Violation("an action never ends", server_id, ", ".join(kinds)) for server_id, kinds in rows.open.items()
        ]
    claims: dict[str, list[Row]] = {}
    for claim in rows.allocations:
        claims.setdefault(claim.server_id, []).append(claim)
        if claim.server_id not in rows.servers:
            found.append(Violation("an allocation outlives its server", claim.server_id, claim.host))
    ports: dict[str, list[Row]] = {}
    for port in rows.ports:
        if port.server_id is not None:
            ports.setdefault(port.server_id, []).append(port)
            if port.server_id not in rows.servers:
                found.append(Violation("a port outlives its server", port.id, port.server_id))
        elif port.made or ((port.plugged or port.host) and not port.pinned):
            found.append(Violation("a port is bound to no server", port.id))
    lost = rows.addresses.keys() - {port.id for port in rows.ports}
    found += [Violation("an address outlives its port", port_id) for port_id in sorted(lost)]
    for server in rows.servers.values():
        if server.id not in rows.open:
            found += _check_server(server, claims.get(server.id, []), ports.get(server.id, []))
            found += _check_holding(server, rows.holdings.get(server.id, set()))
    if quiet:
        found += [
            Violation("what may be left of a server on a host is never removed", ident, host)
            for ident, hosts in rows.holdings.items()
            for host in sorted(hosts)
            if ident not in rows.servers or host not in {rows.servers[ident].host, _left(rows.servers[ident])}
        ]
    return found


def _check_holding(server: Row, hosts: Set[str]) -> Iterable[Violation]:
    """Check that it is known where something of it may be; elsewhere something may be owed by a host that is down."""
    if Part.DISKS in server_states.holds(server.vm_state, server.host) and server.host not in hosts:
        yield Violation("nothing says that a host has something of a server", server.id, server.host)
    if (left := _left(server)) and left not in hosts:
        yield Violation("nothing says that a host has what a server was before it moved", server.id, left)


def _left(server: Row) -> str:
    """Return the host that keeps what a server was before it moved, "" if none does."""
    return "" if server.former is None or server.former.host == server.host else str(server.former.host)


def check_images(rows: Rows, blobs: Iterable[str], *, quiet: bool) -> list[Violation]:
    """Compare the images with the blobs that there are bytes of; with `quiet` none may be on its way in or out.

    `blobs` is what was seen in the store before the rows were read: a row comes before the first byte.
    """
    wanted, there = set(rows.image_data.values()), set(blobs)
    allowed = wanted if quiet else wanted | rows.image_blobs
    found = [
        *(
            Violation("an image is stuck", ident, "it is being saved, and nobody is at it")
            for ident in rows.stuck_images
        ),
        *(Violation("bytes are left of an image", blob_id) for blob_id in sorted(there - allowed)),
        *(
            Violation("an image has no bytes", ident, blob_id)
            for ident, blob_id in sorted(rows.image_data.items())
            if blob_id not in there
        ),
    ]
    found += [
        Violation("no action is at bytes that come or go", blob_id, "`floe audit --repair` begins one")
        for blob_id in sorted(rows.loose_blobs)
    ]
    if quiet:
        found += [Violation("a blob's end is never written", blob_id) for blob_id in sorted(rows.image_blobs)]
        found += [
            Violation("an action never ends", ident, ", ".join(kinds)) for ident, kinds in rows.open_images.items()
        ]
    return found


def check_waiting(untaken: Iterable[Row]) -> list[Violation]:
    """Name the actions that no conductor takes up; `untaken` is what `store.audit.untaken` found."""
    advice = "see that a conductor runs, and what its log says of action"
    return [
        Violation("nobody takes up an action", row.subject, f"{row.kind}, since {iso(row.since)}: {advice} {row.id}")
        for row in untaken
    ]


def _check_server(server: Row, claims: list[Row], ports: list[Row]) -> Iterable[Violation]:
    if not server_states.settled(server.vm_state, server.task_state):
        yield Violation("a server is stuck", server.id, f"{server.vm_state}/{server.task_state}")
        return
    if server.vm_state == ERROR and not (server.fault and server.fault.get("message")):
        yield Violation("a server in ERROR says no cause", server.id)
    if server.host is None and not server_states.may_be_nowhere(server.vm_state):
        yield Violation("a server that was built is on no host", server.id, server.vm_state)
    yield from _check_shelf(server)
    held = server_states.holds(server.vm_state, server.host)
    yield from _check_claims(server, claims, must=Part.CLAIM in held)
    yield from _check_ports(server, ports, must=Part.PORTS in held)


def _check_shelf(server: Row) -> Iterable[Violation]:
    """Check that a server is kept in an image if it is shelved; whether there still is one is its user's business."""
    if server.kept is not (server.vm_state in {SHELVED, SHELVED_OFFLOADED}):
        what = (
            "is kept in an image, and is not shelved" if server.kept else "is shelved, and nothing says in which image"
        )
        yield Violation(f"a server {what}", server.id, server.vm_state)
    if server.vm_state == SHELVED_OFFLOADED and server.host is not None:
        yield Violation("a server that left its host is on one", server.id, server.host)


def _check_claims(server: Row, claims: list[Row], *, must: bool) -> Iterable[Violation]:
    if not must:
        for claim in claims:
            yield Violation("a server on no host holds an allocation", server.id, claim.host)
        return
    former = server.former
    takes, at = {RUNNING: (server.vcpus, server.memory_mib)}, {RUNNING: server.host}
    if former is not None:
        takes[FORMER], at[FORMER] = (former.flavor.vcpus, former.flavor.memory_mib), _left(server) or server.host
    elif server.vm_state == RESIZED:
        yield Violation("nothing says what a server was before its resize", server.id)
    if sorted((claim.host, claim.purpose) for claim in claims) != sorted((at[why], why) for why in takes):
        where = ", ".join(sorted(f"{claim.host} ({claim.purpose})" for claim in claims)) or "nowhere"
        yield Violation("a server is not where its allocation is", server.id, f"{server.host}, claimed: {where}")
    if former is not None:  # its row counts what is more of both
        takes[RUNNING] = server.flavor["vcpus"], server.flavor["memory_mib"]
    for claim in claims:
        if (claim.vcpus, claim.memory_mib) != takes.get(claim.purpose):
            yield Violation("an allocation is not what its server takes", server.id, claim.host)


def _check_ports(server: Row, ports: list[Row], *, must: bool) -> Iterable[Violation]:
    if not must:
        for port in ports:
            yield Violation("a server on no host holds a port", server.id, port.id)
        return
    if len(ports) != len(server.networks):
        yield Violation("a server has not the ports it asked for", server.id, f"{len(ports)} ports")
    for port in ports:
        if port.host != server.host or port.plugged != (server.host is not None):
            yield Violation("a port is not plugged where its server is", port.id, f"{port.host}, {server.host}")
        if port.further:
            yield Violation("a port is bound to more than its server's host", port.id, f"{port.further} more")


def check_host(host: str, rows: Rows, wanted: HostNetwork, view: HostView) -> list[Violation]:
    """Compare a host with the rows, when nothing is under way; `wanted` is `host_networks.whole` of it."""
    here = {ident: server for ident, server in rows.servers.items() if server.host == host}
    kept = {ident for ident, server in here.items() if Part.DISKS in server_states.holds(server.vm_state, host)}
    halves = {claim.server_id for claim in rows.allocations if (claim.host, claim.purpose) == (host, FORMER)}
    found = []
    for ident, state in view.guests.items():
        server = here.get(ident)
        if server is None and ident in halves:
            continue
        if server is None:
            found.append(Violation("a guest is left on a host that should not have it", ident, host))
        elif not server_states.agrees(server.vm_state, PowerState(server.power_state), state):
            text = f"{host}: {state.name}, row: {server.vm_state}, {PowerState(server.power_state).name}"
            found.append(Violation("a guest is not in the state its server is in", ident, text))
    for ident, server in here.items():
        if ident not in view.guests and Part.GUEST in server_states.holds(server.vm_state, host):
            found.append(Violation("a server has no guest", ident, f"{host}, {server.vm_state}"))
    found += [
        Violation("files are left of a guest that is not there", ident, host)
        for ident in sorted(view.folders - view.guests.keys() - kept - halves)
    ]
    found += [Violation("a guest has no files", ident, host) for ident in sorted(view.guests.keys() - view.folders)]
    return [*found, *_check_network(host, wanted, view.network)]


def _check_network(host: str, wanted: HostNetwork, real: HostNetwork) -> Iterable[Violation]:
    # A host learns what a network is called with the next change of something that matters to it.
    segments = [{x.network_id: replace(x, name="") for x in side.segments} for side in (wanted, real)]
    parts: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("port", {x.port_id: x for x in wanted.ports}, {x.port_id: x for x in real.ports}),
        ("segment", segments[0], segments[1]),
        ("group", {x.group_id: x for x in wanted.groups}, {x.group_id: x for x in real.groups}),
        ("router", {x.router_id: x for x in wanted.routers}, {x.router_id: x for x in real.routers}),
    )
    for what, should, does in parts:
        for ident in sorted(should.keys() | does.keys()):
            if ident not in does:
                yield Violation(f"a {what} is not on its host", ident, host)
            elif ident not in should:
                yield Violation(f"a {what} is left on a host", ident, host)
            elif should[ident] != does[ident]:
                yield Violation(f"a {what} is out of date on its host", ident, host)
