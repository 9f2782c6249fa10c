"""The metadata service of 169.254.169.254: each guest is answered about itself alone.

Who asks is known by the network or router the socket belongs to and the address it comes from, which anti-spoofing
rules guarantee; nothing in the request is believed. HTTP/1.1, GET and HEAD, one request per connection: guests ask
rarely. A password alone can be posted, once until its users clear it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

from floe.agent import documents
from floe.agent.callers import Callers
from floe.agent.ledger import Ledger
from floe.agent.metadata_request import Request, parse
from floe.core.counters import Count, Counters
from floe.core.errors import Conflict, HostFailure, Invalid, NotFound, TooLarge
from floe.core.guest_passwords import MOST_BYTES
from floe.core.guests import GuestSpec
from floe.core.host_network import HostRouter
from floe.dataplane.protocol import DataPlane, MetadataAddress
from floe.logs import Rarely

log = logging.getLogger(__name__)

REFUSED = Count("floe_refused_metadata", "Connections of guests to the metadata service that were ended", ("why",))

_HEAD_MAX = 8192
_PER_GUEST = 16
_SPARE = 16
"""How many sockets outside namespaces are kept for networks that may come back: there nobody can be answered."""
_WHY = {
    "guest_full": f"this guest has {_PER_GUEST} of them already",
    "full": "there are too many, and the guest with the most of them lost its oldest",
    "slow": "request and answer took too long",
    "head_bytes": f"its request has no end within {_HEAD_MAX} bytes",
}
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    417: "Expectation Failed",
    503: "Service Unavailable",
}
_UNREAD_MAX, _UNREAD_SECONDS = 65_536, 1.0
"""How much of a body that nobody wants is waited for: closed upon it, a connection may lose its answer."""


class MetadataService:
    """Serves on every address that the data plane names; `follow` is called when these may have changed.

    `post` is given the password of a guest, and keeps it, or raises NotFound, Conflict or HostFailure. `addresses`
    gives those of a guest's devices now, by their names, or raises HostFailure.
    A request and its answer may take `seconds`, a guest may have 16 connections, and all guests `connections`.
    """

    def __init__(
        self,
        ledger: Ledger,
        plane: DataPlane,
        counters: Counters,
        seed: Callable[[int], bytes] = os.urandom,
        *,
        post: Callable[[str, str], Awaitable[None]],
        addresses: Callable[[GuestSpec], Awaitable[Mapping[str, str]]],
        seconds: float = 10.0,
        connections: int = 256,
    ) -> None:
        self._ledger = ledger
        self._plane = plane
        self._seed = seed
        self._post = post
        self._addresses = addresses
        self._servers: dict[MetadataAddress, asyncio.Server] = {}
        self._wanted: set[MetadataAddress] = set()
        self._counters = counters
        self._seconds = seconds
        self._said = Rarely(log)
        self._callers = Callers(per_guest=_PER_GUEST, most=connections)
        self._connections: set[asyncio.Task[None]] = set()

    async def follow(self) -> None:
        """Listen where guests ask now, and no more where none do."""
        wanted = self._wanted = set(await self._plane.metadata_addresses())
        idle = [address for address in self._servers if address not in wanted]
        spare = [address for address in idle if address.namespace is None][-_SPARE:]
        for address in set(idle).difference(spare):
            self._servers.pop(address).close()
        for address in wanted - self._servers.keys():
            try:
                await self._listen(address, await self._plane.metadata_socket(address))
            except (OSError, HostFailure) as error:
                log.error("metadata of %s cannot be served: %s", _place(address), error)

    def listening(self) -> dict[str, tuple[str, int]]:
        """Return the address and port of a socket of each network and router that is served, by its id."""
        return {
            address.network_id or address.router_id: server.sockets[0].getsockname()[:2]
            for address, server in self._servers.items()
            if server.sockets and address in self._wanted
        }

    async def close(self) -> None:
        """Stop listening, and end the connections there are."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def answer(self, asked: MetadataAddress, source: str, path: str) -> tuple[str, bytes] | None:
        """Return content type and body for a guest, by its address and where it asked; None where there is nothing.

        Raises HostFailure where it is not known now.
        """
        guest, network = self._ledger.guests.get(self._server(asked, source) or ""), self._ledger.network
        if guest is None:
            return None
        addresses = documents.NOWHERE
        if "meta_data.json" in path and documents.tells_addresses(guest, network):
            addresses = await self._addresses(guest)
        return documents.lookup(documents.view_of(guest, network, self._seed(512), addresses), path)

    def _server(self, asked: MetadataAddress, source: str) -> str | None:
        """Return whose guest has an address where it asked."""
        network = self._ledger.network
        networks = (
            {asked.network_id} if asked.network_id else _networks_of(network.routers.get(asked.router_id), source)
        )
        return next(
            (
                port.server_id
                for port in network.ports.values()
                if port.network_id in networks and any(held.address == source for held in port.addresses)
            ),
            None,
        )

    async def _listen(self, address: MetadataAddress, listener: socket.socket) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._connections.add(task)
            try:
                await self._serve(address, task, reader, writer)
            except asyncio.CancelledError:
                writer.transport.abort()
            finally:
                self._connections.discard(task)

        self._servers[address] = await asyncio.start_server(serve, sock=listener, limit=_HEAD_MAX)

    async def _serve(
        self,
        asked: MetadataAddress,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        peer = writer.get_extra_info("peername")
        who = (_place(asked), str(peer[0]) if peer else "")
        ended = self._callers.enter(who, task)
        if ended is not None:
            self._note(ended, who)
        try:
            if ended == "guest_full":
                writer.transport.abort()
                return
            async with asyncio.timeout(self._seconds):
                head = await reader.readuntil(b"\r\n\r\n")
                reply, unread = await self._reply(asked, who[1], head, reader, writer)
                writer.write(reply)
                await writer.drain()
                if unread:
                    writer.write_eof()
                    await _pass_over(reader)
                writer.close()
                await writer.wait_closed()  # in the same time: what is not taken is not kept
        except TimeoutError:
            self._end("slow", who, writer)
        except asyncio.LimitOverrunError:
            self._end("head_bytes", who, writer)
        except (EOFError, ConnectionError):
            writer.transport.abort()
        finally:
            self._callers.leave(who, task)

    def _end(self, why: str, who: tuple[str, str], writer: asyncio.StreamWriter) -> None:
        """Hang up on a guest: it would not read why."""
        self._note(why, who)
        writer.transport.abort()

    def _note(self, why: str, who: tuple[str, str]) -> None:
        self._counters.add(REFUSED, why)
        self._said.warning(why, "metadata: a connection from %s of %s was ended: %s", who[1], who[0], _WHY[why])

    async def _reply(
        self,
        asked: MetadataAddress,
        source: str,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[bytes, bool]:
        """Return what is answered, and whether there may be more of the request that was not read."""
        try:
            request = parse(head)
        except Invalid as error:
            return _said(400, error.message), True
        takes = documents.takes_password(request.path)
        if takes and request.method == "POST":
            return await self._take_password(self._server(asked, source) or "", request, reader, writer)
        if request.method not in ("GET", "HEAD"):
            allowed = "GET, HEAD, POST" if takes else "GET, HEAD"
            return _said(405, "metadata can only be read", f"Allow: {allowed}\r\n"), True
        try:
            found = await self.answer(asked, source, request.path)
        except HostFailure:
            return _said(503, "it is not known just now; try again later"), False
        if found is None:
            return _said(404, "there is nothing here"), False
        kind, body = found
        reply = _reply(200, kind, body)
        return reply if request.method == "GET" else reply[: len(reply) - len(body)], False

    async def _take_password(
        self, server_id: str, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[bytes, bool]:
        """Take what a guest posts, as Nova does; what the head is enough to refuse costs nothing more."""
        unread = True
        try:
            self._ledger.passwords.check(server_id)
            length = request.body_bytes(MOST_BYTES)
            if length is None:
                return _said(411, "the length of a password has to be said in Content-Length"), unread
            if request.expects and not request.waits:
                return _said(417, "that cannot be expected here"), unread
            if request.waits and length:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            password, unread = (await reader.readexactly(length)).decode(), False
            if password:
                await self._post(server_id, password)
        except NotFound:
            return _said(404, "there is nothing here"), unread
        except Conflict as error:
            return _said(409, error.message), unread
        except (Invalid, TooLarge) as error:
            return _said(400, error.message), unread
        except UnicodeDecodeError:
            return _said(400, "a password has to be text in UTF-8"), False
        except HostFailure:
            return _said(503, "it could not be stored; try again later"), unread
        return _reply(200, "text/plain; charset=utf-8", b""), unread


def _place(address: MetadataAddress) -> str:
    return f"network {address.network_id}" if address.network_id else f"router {address.router_id}"


def _networks_of(router: HostRouter | None, source: str) -> set[str]:
    """Return the networks from which an address comes through a router: those with an interface on its subnet."""
    legs = router.interfaces if router is not None else ()
    address = ipaddress.IPv4Address(source)
    return {
        leg.network_id for leg in legs if any(address in ipaddress.IPv4Interface(own).network for own in leg.addresses)
    }


async def _pass_over(reader: asyncio.StreamReader) -> None:
    """Read what else there is of a request, until the guest has hung up, or said too much."""
    left = _UNREAD_MAX
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_UNREAD_SECONDS):
            while left > 0 and (part := await reader.read(left)):
                left -= len(part)


def _said(status: int, text: str, extra: str = "") -> bytes:
    return _reply(status, "text/plain", f"{text}\n".encode(), extra)


def _reply(status: int, kind: str, body: bytes, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    )
    return head.encode() + body
