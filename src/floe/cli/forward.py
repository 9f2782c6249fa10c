"""`floe forward`: ports of this machine's loopback that lead to ports of a server, out of or into the sandbox."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import os
import re
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.relay import Make, Way, relay
from floe.cli.sandbox import reach
from floe.cli.serving import told_to_stop
from floe.cli.state_option import add_state_arguments, state_directory
from floe.cli.terminal import plain
from floe.core.errors import Invalid, NotFound, Unavailable

_PORTS = re.compile(r"(?:([0-9]{0,5}):)?([0-9]{1,5})")
_LAST_PORT = 65535


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
        ways = [Way(held.enter_context(_listener(listen, each.here)), target.address, each.there) for each in leads]
        _say(target, ways, as_json=args.json)
        asyncio.run(_serve(target, ways, make))
    return 0


def find(client: Client, server: str) -> Target:
    """Return where a server is reached from outside of its network, or else within it. Raises NotFound, Unavailable."""
    server_id = client.server_id(server)
    found = client.get(f"/compute/v2.1/servers/{server_id}")["server"]
    held: Sequence[Mapping[str, Any]] = [
        each for each in (entry for entries in found["addresses"].values() for entry in entries) if each["version"] == 4
    ]
    name = plain(found["name"])
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
        # Python's own text says the address once more.
        why = os.strerror(error.errno) if error.errno else str(error)
        raise Unavailable(f"Port {port} of {address} cannot be had: {why}.") from None


def _say(target: Target, ways: Sequence[Way], *, as_json: bool) -> None:
    found = [(*way.listener.getsockname()[:2], way) for way in ways]
    if as_json:
        shown = [
            {"address": address, "port": port, "to": way.address, "to_port": way.port} for address, port, way in found
        ]
        print(json.dumps({"server": target.server, "forwards": shown}), flush=True)
        return
    for address, port, way in found:
        here = f"[{address}]" if ":" in address else address
        print(f"{here}:{port} leads to {target.server} ({way.address}:{way.port})", flush=True)
    print("Ctrl-C ends it.", flush=True)


async def _serve(target: Target, ways: Sequence[Way], make: Make) -> None:
    def tell(address: str, port: int, why: str) -> None:
        print(f"floe: {target.server} ({address}:{port}): {why}", file=sys.stderr, flush=True)

    await relay(ways, make, tell, told_to_stop())
