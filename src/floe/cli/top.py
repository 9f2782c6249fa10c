"""`floe top`: the hosts, their load, the conductors, and what is being done with which servers, live in a terminal."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.state_option import add_state_arguments, state_directory
from floe.cli.terminal import plain
from floe.core.errors import FloeError, Invalid, Unauthenticated
from floe.core.servers import TASK_STATES

if TYPE_CHECKING:
    from rich.console import Group

_AMOUNTS = "2.87"
"""The last microversion of compute at which hosts tell their amounts."""
_PAGE = 1000
_MOST_DOING = 1000
"""Servers that are read of those with which something is being done."""
_SHARE = 0.1
"""Of the time, that is spent with asking at most: a large cloud is asked less often."""
_LINES = 24
"""Of a terminal that does not say how many it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLoad:
    """A host: what of it is promised, of how much."""

    name: str
    up: bool
    enabled: bool
    servers: int
    vcpus: tuple[int, int]
    memory_mib: tuple[int, int]
    disk_gib: tuple[int, int]

    @property
    def load(self) -> float:
        """The share of what is most used."""
        return max(used / total if total else 0.0 for used, total in (self.vcpus, self.memory_mib, self.disk_gib))


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """A server with which something is being done, where, and since how many seconds."""

    server: str
    name: str
    state: str
    host: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A cloud at a moment."""

    hosts: tuple[HostLoad, ...]
    """The most loaded first."""
    conductors: Mapping[str, bool]
    """Whether each is up."""
    doing: tuple[Doing, ...]
    """The longest first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument("--cloud", metavar="NAME", default="floe-admin", help="whose eyes to see with (floe-admin)")
    parser.add_argument("--seconds", metavar="N", type=float, default=2.0, help="between two looks (default: 2)")
    parser.add_argument("--once", action="store_true", help="look once, as where the output is no terminal")
    parser.add_argument("--json", action="store_true", help="look once, and print all of it as JSON")


def run(args: argparse.Namespace) -> int:
    """Show the cloud until Ctrl-C in a terminal, else once and all of it. Return the exit status."""
    if not 0.2 <= args.seconds <= 3600:
        raise Invalid(f"--seconds must be between 0.2 and 3600 (it is {args.seconds:g}).")
    access = clouds_file.entry(clouds_file.access(state_directory(args)), args.cloud)
    client = Client(access)
    if args.json:
        print(json.dumps(asdict(look(client, datetime.now(UTC))), indent=1))
    elif args.once or not sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False, markup=False)
        console.print(drawn(look(client, datetime.now(UTC)), lines=None))
    else:
        _live(client, access, args.seconds)
    return 0


def look(client: Client, now: datetime) -> Look:
    """Ask a cloud how it is. Raises NotFound, Unavailable."""
    services = client.get("/compute/v2.1/os-services?binary=nova-conductor")["services"]
    asked = "&".join(f"task_state={state}" for state in TASK_STATES)
    path = f"/compute/v2.1/servers/detail?all_tenants=1&limit={_MOST_DOING}&sort_key=updated_at&sort_dir=asc&{asked}"
    doing = [_doing(server, now) for server in client.get(path)["servers"]]
    return Look(
        hosts=tuple(sorted(map(_host, _hypervisors(client)), key=lambda host: (-host.load, host.name))),
        conductors={service["host"]: service["state"] == "up" for service in services},
        doing=tuple(sorted(doing, key=lambda each: -each.seconds)),
    )


def drawn(seen: Look, *, lines: int | None) -> Group:
    """Draw a cloud in at most so many lines, in as many as it takes where None is given."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    room = None if lines is None else max(lines - 8, 4)
    most_doing = len(seen.doing) if room is None else min(len(seen.doing), max(room // 2, room - len(seen.hosts)))
    most_hosts = len(seen.hosts) if room is None else min(len(seen.hosts), room - most_doing)
    hosts = Table(box=None, pad_edge=False)
    for name in ("host", "state", "servers", "vCPU", "memory GiB", "disk GiB", "load"):
        hosts.add_column(name, justify="left" if name in {"host", "state"} else "right", no_wrap=True)
    for host in seen.hosts[:most_hosts]:
        state = "up" if host.up else "DOWN"
        hosts.add_row(
            Text(host.name),
            Text(state if host.enabled else f"{state}, disabled", "" if host.up else "bold red"),
            str(host.servers),
            _of(host.vcpus),
            _of((host.memory_mib[0] // 1024, host.memory_mib[1] // 1024)),
            _of(host.disk_gib),
            f"{host.load:.0%}",
        )
    doing = Table(box=None, pad_edge=False)
    for name in ("server", "name", "what", "host", "for"):
        doing.add_column(name, justify="right" if name == "for" else "left", no_wrap=name != "name")
    for each in seen.doing[:most_doing]:
        named = (each.server, each.name, each.state, each.host or "-")
        doing.add_row(*(Text(plain(text)) for text in named), f"{each.seconds:.0f} s")
    return Group(
        Text(_summary(seen), "bold"),
        hosts,
        Text(_more(len(seen.hosts) - most_hosts, "hosts, less loaded") + "\n"),
        doing if seen.doing else Text("nothing is being done"),
        Text(_more(len(seen.doing) - most_doing, "servers")),
    )


def _live(client: Client, access: Mapping[str, str], seconds: float) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, screen=True) as live:
        while True:
            began = time.monotonic()
            try:
                live.update(drawn(look(client, datetime.now(UTC)), lines=live.console.height or _LINES), refresh=True)
            except Unauthenticated:
                client = Client(access)  # the token's time was over
            except FloeError as error:
                live.update(Text(error.message, "bold red"), refresh=True)
            time.sleep(max(seconds, (time.monotonic() - began) * (1 - _SHARE) / _SHARE))


def _hypervisors(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    marker = ""
    while True:
        path = f"/compute/v2.1/os-hypervisors/detail?limit={_PAGE}{marker}"
        page: list[dict[str, Any]] = client.get(path, compute=_AMOUNTS)["hypervisors"]
        found += page
        if len(page) < _PAGE:
            return found
        marker = f"&marker={page[-1]['id']}"


def _host(shown: Mapping[str, Any]) -> HostLoad:
    return HostLoad(
        name=shown["hypervisor_hostname"],
        up=shown["state"] == "up",
        enabled=shown["status"] == "enabled",
        servers=shown["running_vms"],
        vcpus=(shown["vcpus_used"], shown["vcpus"]),
        memory_mib=(shown["memory_mb_used"], shown["memory_mb"]),
        disk_gib=(shown["local_gb_used"], shown["local_gb"]),
    )


def _doing(server: Mapping[str, Any], now: datetime) -> Doing:
    since = datetime.fromisoformat(server["updated"].replace("Z", "+00:00"))
    return Doing(
        server=server["id"],
        name=server["name"],
        state=server["OS-EXT-STS:task_state"] or "",
        host=server["OS-EXT-SRV-ATTR:host"] or "",
        seconds=max((now - since).total_seconds(), 0.0),
    )


def _summary(seen: Look) -> str:
    up, conductors = sum(host.up for host in seen.hosts), seen.conductors
    states = Counter(each.state for each in seen.doing)
    what = ", ".join(f"{number} {state}" for state, number in states.most_common()) or "idle"
    servers = sum(host.servers for host in seen.hosts)
    return (
        f"hosts: {up} of {len(seen.hosts)} up   servers: {servers}   "
        f"conductors: {sum(conductors.values())} of {len(conductors)} up   now: {what}"
    )


def _of(amount: tuple[int, int]) -> str:
    return f"{amount[0]}/{amount[1]}"


def _more(number: int, what: str) -> str:
    return f"... and {number} more {what}" if number > 0 else ""
