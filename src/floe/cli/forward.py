"""`floe forward`: ports of this machine's loopback that lead to ports of a server, out of or into the sandbox."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.sandbox import reach
from floe.cli.serving import told_to_stop
from floe.cli.state_option import add_state_arguments, state_directory
from floe.core.errors import Invalid, NotFound, Unavailable

_PORTS = re.compile(r"(?:([0-9]{0,5}):)?([0-9]{1,5})")
_LAST_PORT = 65535
_MOST = 256
"""Connections at a time; more wait."""
_CONNECT_SECONDS = 10.0
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a server is reached: by a floating IP, or else on the network that its address is of."""

    server: str
    address: str
    network_id: str | None = None


@dataclass(frozen=True, slots=True)
class Lead:
    """A port here (0: any that is free) and the port of the server that it leads to."""

    here: int
    there: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument(
        "--cloud", metavar="NAME", default=clouds_file.ADMIN, help=f"whose eyes to see with ({clouds_file.ADMIN})"
    )
    parser.add_argument(
        "--address", metavar="ADDRESS", default="127.0.0.1", help="where to listen (default: 127.0.0.1)"
    )
    parser.add_argument("--json", action="store_true", help="say in JSON which ports lead where")
    parser.add_argument("server", metavar="SERVER", help="id or name of the server")
    parser.add_argument(
        "ports", metavar="[HERE:]PORT", nargs="+", help="port of the server, and the one here (default: any free one)"
    )


def run(args: argparse.Namespace) -> int:
    """Forward until SIGTERM or Ctrl-C."""
    leads = [_lead(text) for text in args.ports]
    listen = _checked_address(args.address)
    state = state_directory(args)
    access = clouds_file.access(state)
    if args.cloud not in access:
        raise NotFound("cloud", args.cloud, f"There is no cloud {args.cloud!r} in clouds.yaml: {', '.join(access)}.")
    target = find(Client(access[args.cloud]), args.server)
    with ExitStack() as held:
        make = held.enter_context(reach(state, target.network_id))
        listeners = [held.enter_context(_listener(listen, lead.here)) for lead in leads]
        _say(target, leads, listeners, as_json=args.json)
        asyncio.run(_serve(target, leads, listeners, make))
    return 0


def find(client: Client, server: str) -> Target:
    """Return where a server is reached from outside of its network, or else within it. Raises NotFound, Unavailable."""
    server_id = client.server_id(server)
    found = client.get(f"/compute/v2.1/servers/{server_id}")["server"]
    held: Sequence[Mapping[str, Any]] = [
        each for each in (entry for entries in found["addresses"].values() for entry in entries) if each["version"] == 4
    ]
    name = found["name"]
    for each in held:
        if each.get("OS-EXT-IPS:type") == "floating":
            return Target(server=name, address=each["addr"])
    for each in held:
        ports = client.get(f"/network/v2.0/ports?device_id={server_id}&fields=network_id&fields=fixed_ips")["ports"]
        for port in ports:
            if any(entry["ip_address"] == each["addr"] for entry in port["fixed_ips"]):
                return Target(server=name, address=each["addr"], network_id=port["network_id"])
    raise Unavailable(f"Server {name} ({found['status']}) has no address yet that it could be reached at.")


def _lead(text: str) -> Lead:
    found = _PORTS.fullmatch(text)
    if found is None or not 0 < int(found[2]) <= _LAST_PORT or int(found[1] or 0) > _LAST_PORT:
        raise Invalid(f"{text!r} is no port: give one like 22, or with the one here before it, like 2222:22.")
    return Lead(int(found[1] or 0), int(found[2]))


def _checked_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise Invalid(f"--address must be an address of this machine, like 127.0.0.1 (it is {text!r}).") from None


def _listener(address: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=128)
    except OSError as error:
        raise Unavailable(f"Port {port} of {address} cannot be had: {error.strerror}.") from None


def _say(target: Target, leads: Sequence[Lead], listeners: Sequence[socket.socket], *, as_json: bool) -> None:
    found = [
        {"address": here.getsockname()[0], "port": here.getsockname()[1], "to": target.address, "to_port": lead.there}
        for lead, here in zip(leads, listeners, strict=True)
    ]
    if as_json:
        print(json.dumps({"server": target.server, "forwards": found}), flush=True)
        return
    for each in found:
        print(f"{each['address']}:{each['port']} leads to {target.server} ({each['to']}:{each['to_port']})", flush=True)
    print("Ctrl-C ends it.", flush=True)


async def _serve(
    target: Target,
    leads: Sequence[Lead],
    listeners: Sequence[socket.socket],
    make: Callable[[int], socket.socket],
) -> None:
    stopping, room = told_to_stop(), asyncio.Semaphore(_MOST)
    under_way: set[asyncio.Task[None]] = set()

    async def accept(listener: socket.socket, port: int) -> None:
        listener.setblocking(False)
        while True:
            await room.acquire()
            taken, _ = await asyncio.get_running_loop().sock_accept(listener)
            task = asyncio.create_task(_carry(taken, target, port, make))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            task.add_done_callback(lambda _: room.release())

    accepting = [asyncio.create_task(accept(each, lead.there)) for lead, each in zip(leads, listeners, strict=True)]
    await stopping.wait()
    for task in (*accepting, *under_way):
        task.cancel()
    await asyncio.gather(*accepting, *under_way, return_exceptions=True)


async def _carry(taken: socket.socket, target: Target, port: int, make: Callable[[int], socket.socket]) -> None:
    """Carry one connection, each way until its end."""
    with taken:
        taken.setblocking(False)
        with make(socket.AF_INET) as beyond:
            beyond.setblocking(False)
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await loop.sock_connect(beyond, (target.address, port))
            except (OSError, TimeoutError) as error:
                why = os.strerror(error.errno) if error.errno else f"no answer within {_CONNECT_SECONDS:.0f} s"
                print(f"floe: {target.server} ({target.address}:{port}): {why}", file=sys.stderr, flush=True)
                return
            await asyncio.gather(_pass(taken, beyond), _pass(beyond, taken))


async def _pass(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes, and that it ended; a connection that breaks ends both ways."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(source, _PIECE):
            await loop.sock_sendall(sink, data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
