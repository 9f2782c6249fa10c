"""Packets as guests and the machine outside send them, each by what it should be answered or not.

That something is stopped is shown as elsewhere: what is sent after it, by a way that is open, is answered without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from floe.core.host_network import HostPort
from floe.core.packets.asking import Question, why_not
from floe.core.packets.scene import Scene, Step
from floe.dataplane.linux import kernel
from floe.dataplane.linux.names import leg_device

from .conftest import Town
from .test_routers import MACHINE, own, place

OUT, FAR = "outside", "far"
"""The machine outside, from its address on the external network, and from another one of its own."""
FAR_ADDRESS = "203.0.113.9"
_PATIENCE = 15
_ROUNDS = 3
_CONTROL = 7
"""UDP port by which the two last guests can always reach each other."""
_idents = itertools.count(1)


@dataclass(frozen=True)
class Case:
    """A packet, and what stops it: the kind of thing, or nothing."""

    source: str
    target: str
    to: str
    protocol: str
    port: int | None = None
    stopped_by: str | None = None
    inner: int | None = None
    """The port that the guest has, where the packet is for another."""

    def __str__(self) -> str:
        what = f"{self.source} to {self.target} at {self.to}, {self.protocol} {self.port or ''}"
        return f"{what} ({self.stopped_by})" if self.stopped_by else what


class Sending:
    """All that is sent in one town."""

    def __init__(self, town: Town, guests: dict[str, HostPort]) -> None:
        self._town, self._guests = town, guests
        self._control = [town.guest(101), town.guest(102)]
        self._echoes = Echoes(town)

    async def __aenter__(self) -> Sending:
        await self._town.guests.run(self._town.outside, "ip", "addr", "add", f"{FAR_ADDRESS}/32", "dev", "lo")
        for guest in self._town.guests.ports:
            await self._town.guests.run(guest, "ip", "link", "set", "dev", "lo", "up")
        await self._echoes.serve(place(self._control[1]), "udp", _CONTROL)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._echoes.close()

    async def check(self, cases: Iterable[Case]) -> None:
        """Send all, in the town as it was applied; assert that those are answered that nothing is said to stop."""
        await forwarding(self._town)
        tries = [await Try.of(self._town, self._echoes, self._guests, case) for case in cases]
        await answered([each for each in tries if each.case.stopped_by is None])
        sentinel = Case("x", "y", own(self._control[1]), "udp", _CONTROL)
        stopped = [each for each in tries if each.case.stopped_by]
        await unanswered(self._town, place(self._control[0]), sentinel, stopped)


def found(town: Town, guests: dict[str, HostPort], case: Case) -> Step | None:
    """Return what stops a packet, as the model says."""
    outside = {OUT: MACHINE, FAR: FAR_ADDRESS}
    question = Question(
        server_id=guests[case.target].server_id,
        protocol=case.protocol,
        port=case.inner or case.port,
        source_id=None if case.source in outside else guests[case.source].server_id,
        source_address=outside.get(case.source),
        to=case.to,
    )
    scene = Scene(network=town.world.network, external=frozenset({town.public.network_id}))
    return why_not(scene, question).stop


async def forwarding(town: Town) -> None:
    """Wait until each bridge passes on what comes from the ports and legs that are up: that comes a little later."""
    ports = {port.tap for port in town.world.network.ports if port.up}
    legs = {
        leg_device(leg.port_id) for each in town.world.network.routers for leg in each.legs if each.up and leg.up
    }  # fmt: skip
    async with asyncio.timeout(_PATIENCE):
        while True:
            shown = await asyncio.to_thread(_links)
            if {link["ifname"] for link in shown if link.get("state") == "forwarding"} >= ports | legs:
                return


def _links() -> list[dict[str, Any]]:
    return json.loads(subprocess.run(["bridge", "-j", "link"], check=True, capture_output=True).stdout)


class Echoes:
    """Servers in guests that send back what they get."""

    def __init__(self, town: Town) -> None:
        self._town, self._tasks, self._sockets = town, [], {}

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._sockets.values():
            each.close()

    async def serve(self, where: str, protocol: str, port: int) -> None:
        if (where, protocol, port) in self._sockets:
            return
        made = self._town.guests.listen if protocol == "tcp" else self._town.guests.datagrams
        opened = self._sockets[where, protocol, port] = await made(where, port)
        self._tasks.append(asyncio.create_task(self._accept(opened) if protocol == "tcp" else self._send_back(opened)))

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            served, _ = await asyncio.get_running_loop().sock_accept(listener)
            served.setblocking(False)
            self._tasks.append(asyncio.create_task(self._stream(served)))

    async def _stream(self, served: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with served, contextlib.suppress(OSError):
            while data := await loop.sock_recv(served, 64):
                await loop.sock_sendall(served, data)

    async def _send_back(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                data, sender = await loop.sock_recvfrom(opened, 64)
                await loop.sock_sendto(opened, data, sender)


@dataclass
class Try:
    """A case, and the means to send its packet."""

    town: Town
    case: Case
    where: str
    bound: str | None = None

    @classmethod
    async def of(cls, town: Town, echoes: Echoes, guests: dict[str, HostPort], case: Case) -> Try:
        if case.port is not None:
            await echoes.serve(place(guests[case.target]), case.protocol, case.inner or case.port)
        where = town.outside if case.source in {OUT, FAR} else place(guests[case.source])
        return cls(town, case, where, FAR_ADDRESS if case.source == FAR else None)

    async def opened(self) -> socket.socket:
        """Return a socket to send it from, to be closed."""
        return await kernel.in_namespace(self.where, self._socket)

    async def answer(self, opened: socket.socket) -> bool:
        """Send it, and wait for its answer; False where it, or the sender, is told that it does not get through."""
        try:
            return await self._echoed(opened)
        except OSError:
            return False

    def _socket(self) -> socket.socket:
        kinds = {"tcp": (socket.SOCK_STREAM, 0), "udp": (socket.SOCK_DGRAM, 0), "icmp": (socket.SOCK_RAW, 1)}
        opened = socket.socket(socket.AF_INET, *kinds[self.case.protocol])
        opened.setblocking(False)
        if self.bound:
            opened.bind((self.bound, 0))
        return opened

    async def _echoed(self, opened: socket.socket) -> bool:
        loop = asyncio.get_running_loop()
        if self.case.protocol == "tcp":
            await loop.sock_connect(opened, (self.case.to, self.case.port))
        else:
            opened.connect((self.case.to, self.case.port or 0))
        number = next(_idents)
        sent = b"echo %d" % number if self.case.port is not None else echo_request(number)
        await loop.sock_sendall(opened, sent)
        while True:
            data = await loop.sock_recv(opened, 128)
            if self.case.port is not None:
                return data == sent
            if data[20:22] == b"\0\0" and data[24:28] == struct.pack("!HH", number, 1):
                return True


def echo_request(number: int) -> bytes:
    head = struct.pack("!BBHHH", 8, 0, 0, number, 1)
    total = sum(struct.unpack("!4H", head))
    return struct.pack("!BBHHH", 8, 0, ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF, number, 1)


async def answered(tries: Iterable[Try]) -> None:
    """Have each packet sent until it is answered: the first ones may be too early."""
    results = await asyncio.gather(*map(_until_answered, tries))
    silent = [str(case) for case, there in results if not there]
    assert not silent, f"not answered: {'; '.join(silent)}"


async def _until_answered(each: Try) -> tuple[Case, bool]:
    for _ in range(_PATIENCE):
        with await each.opened() as opened, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                if await each.answer(opened):
                    return each.case, True
    return each.case, False


async def unanswered(town: Town, where: str, sentinel: Case, tries: list[Try]) -> None:
    """Send each packet several times, and after each time one that is answered."""
    tasks = {}
    with contextlib.ExitStack() as sockets:
        for _ in range(_ROUNDS):
            for each in tries:
                opened = sockets.enter_context(await each.opened())
                tasks[asyncio.create_task(each.answer(opened))] = each.case
            await answered([Try(town, sentinel, where)])
        there = [str(tasks[task]) for task in tasks if task.done() and task.result()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not there, f"answered: {'; '.join(there)}"
