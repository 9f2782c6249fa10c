"""The metadata service of 169.254.169.254: each guest is answered about itself alone.

Who asks is known by the network or router the socket belongs to and the address it comes from, which anti-spoofing
rules guarantee; nothing in the request is believed. HTTP/1.1, GET and HEAD, one request per connection: guests ask
rarely.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from urllib.parse import unquote

from floe.agent import documents
from floe.agent.callers import Callers
from floe.agent.ledger import Ledger
from floe.core.counters import Count, Counters
from floe.core.errors import HostFailure
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
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class MetadataService:
    """Serves on every address that the data plane names; `follow` is called when these may have changed.

    A request and its answer may take `seconds`, a guest may have 16 connections, and all guests `connections`.
    """

    def __init__(
        self,
        ledger: Ledger,
        plane: DataPlane,
        counters: Counters,
        seed: Callable[[int], bytes] = os.urandom,
        *,
        seconds: float = 10.0,
        connections: int = 256,
    ) -> None:
        self._ledger = ledger
        self._plane = plane
        self._seed = seed
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

    def answer(self, asked: MetadataAddress, source: str, path: str) -> tuple[str, bytes] | None:
        """Return content type and body for a guest, by its address and where it asked; None where there is nothing."""
        network = self._ledger.network
        networks = (
            {asked.network_id} if asked.network_id else _networks_of(network.routers.get(asked.router_id), source)
        )
        server_id = next(
            (
                port.server_id
                for port in network.ports.values()
                if port.network_id in networks and any(held.address == source for held in port.addresses)
            ),
            None,
        )
        guest = self._ledger.guests.get(server_id or "")
        if guest is None:
            return None
        view = documents.view_of(guest, network, self._seed(512))
        return documents.lookup(view, path)

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
                writer.write(self._reply(asked, who[1], head))
                await writer.drain()
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

    def _reply(self, asked: MetadataAddress, source: str, head: bytes) -> bytes:
        line = head.partition(b"\r\n")[0].split(b" ")
        if len(line) != 3 or not line[2].startswith(b"HTTP/1.") or not line[1].startswith(b"/"):
            return _reply(400, "text/plain", b"this is not an HTTP/1.1 request\n")
        if line[0] not in (b"GET", b"HEAD"):
            return _reply(405, "text/plain", b"metadata can only be read\n", "Allow: GET, HEAD\r\n")
        path = unquote(line[1].partition(b"?")[0].decode("latin-1"), errors="replace")
        found = self.answer(asked, source, path)
        if found is None:
            return _reply(404, "text/plain", b"there is nothing here\n")
        kind, body = found
        reply = _reply(200, kind, body)
        return reply if line[0] == b"GET" else reply[: len(reply) - len(body)]


def _place(address: MetadataAddress) -> str:
    return f"network {address.network_id}" if address.network_id else f"router {address.router_id}"


def _networks_of(router: HostRouter | None, source: str) -> set[str]:
    """Return the networks from which an address comes through a router: those with an interface on its subnet."""
    legs = router.interfaces if router is not None else ()
    address = ipaddress.IPv4Address(source)
    return {
        leg.network_id for leg in legs if any(address in ipaddress.IPv4Interface(own).network for own in leg.addresses)
    }


def _reply(status: int, kind: str, body: bytes, extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    )
    return head.encode() + body
