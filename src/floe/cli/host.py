"""`floe host`: the hosts of a running cloud: have a machine join, list, take no servers for a while, remove."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.state_option import add_state_arguments, state_directory
from floe.cli.terminal import plain
from floe.core.host_keys import bus_digest, demand_name

if TYPE_CHECKING:
    from rich.table import Table

_PATH = "/floe/v1/hosts"
_PAGE = 1000
_LOOPBACK = re.compile(r"//(127\.|localhost\b|\[::1\])")
_DEEDS = {
    "add": "print the command by which a new machine becomes a host, once and within an hour",
    "list": "show hosts, whether each is up, how many servers it has, and its key",
    "disable": "place no more servers on a host; those that it has stay",
    "enable": "place servers on a host again",
    "remove": "forget a host that is gone for good, and what its name is bound to",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    deeds = parser.add_subparsers(dest="deed", required=True, metavar=" | ".join(_DEEDS))
    for name, text in _DEEDS.items():
        deed = deeds.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        add_state_arguments(deed)
        if name != "list":
            deed.add_argument("host", metavar="NAME", help="of the host")
        if name in {"list", "add"}:
            deed.add_argument("--json", action="store_true", help="print the same as JSON")
        if name == "add":
            what = "of a host that joined before: lock out the key that it has, at once"
            deed.add_argument("--new-key", action="store_true", help=what)
        if name == "disable":
            deed.add_argument("--reason", metavar="TEXT", help="why, for whoever lists hosts")


def run(args: argparse.Namespace) -> int:
    """Do it, and return the exit status."""
    client = Client(clouds_file.access(state_directory(args))[clouds_file.ADMIN])
    if args.deed == "list":
        found = hosts_of(client)
        if args.json:
            print(json.dumps(found, indent=1))
        else:
            _report(found, datetime.now(UTC))
        return 0
    if args.deed == "add":
        _add(client, args.host, new_key=args.new_key, as_json=args.json)
        return 0
    at = f"{_PATH}/{quote(args.host, safe='')}"
    if args.deed == "remove":
        client.delete(at)
        print(f"{args.host} is forgotten; nobody is let in by that name until `floe host add {args.host}`.")
    else:
        reason = {"disabled_reason": args.reason} if args.deed == "disable" and args.reason else {}
        client.put(at, {"host": {"enabled": args.deed == "enable", **reason}})
        print(f"{args.host} is {args.deed}d.")
    return 0


def hosts_of(client: Client) -> list[dict[str, Any]]:
    """Return all hosts of a cloud and the names that are awaited, by name."""
    found: list[dict[str, Any]] = []
    marker = ""
    while True:
        page: list[dict[str, Any]] = client.get(f"{_PATH}?limit={_PAGE}{marker}")["hosts"]
        found += page
        if len(page) < _PAGE:
            return found
        marker = f"&marker={quote(page[-1]['name'], safe='')}"


def command(made: dict[str, Any]) -> str:
    """Return the command for the new machine. The token carries a digest of where the bus is, and of who signs for it.

    So whoever answers in the cloud's place cannot have the machine believe in another bus.
    """
    token = f"{made['token']}.{bus_digest(made['bus'], made['bus_ca'] or '')}"
    return shlex.join(["floe", "agent", "join", made["url"], "--host", made["name"], "--token", token])


def table(hosts: Sequence[dict[str, Any]], now: datetime) -> Table:
    """Draw hosts, one line each."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False)
    for heading in ("host", "state", "servers", "last heard", "key"):
        justify = "right" if heading in {"servers", "last heard"} else "left"
        drawn.add_column(heading, justify=justify, no_wrap=heading == "host", overflow="fold")  # type: ignore[arg-type]
    for host in hosts:
        heard = _ago(now, host["last_seen"]) if host["last_seen"] else "-"
        key = host["fingerprint"] or "-"
        drawn.add_row(*map(Text, (host["name"], _state(host, now), str(host["servers"]), heard, key)))
    return drawn


def _add(client: Client, name: str, *, new_key: bool, as_json: bool) -> None:
    made = client.post(_PATH, {"host": {"name": demand_name(name), "new_key": new_key}})["host"]
    if as_json:
        print(json.dumps({**made, "command": command(made)}, indent=1))
        return
    until = datetime.fromisoformat(made["token_expires_at"]).replace(tzinfo=UTC)
    print(f"On the machine that is to be {name}, as root, until {until:%H:%M} UTC, once:", file=sys.stderr)
    print(command(made))
    for what, where, setting in (("the cloud", made["url"], "public_url"), ("the bus", made["bus"], "join_bus")):
        if _LOOPBACK.search(where):
            print(
                f"floe: {what} is at {where}, which no other machine reaches: set {setting} and start the APIs again.",
                file=sys.stderr,
            )


def _report(hosts: Sequence[dict[str, Any]], now: datetime) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
    if hosts:
        console.print(table(hosts, now))
    else:
        console.print("there is no host; `floe host add NAME` prints the command by which a machine becomes one")


def _state(host: dict[str, Any], now: datetime) -> str:
    state = "DOWN" if host["state"] == "down" else host["state"]
    if host["state"] == "awaited":
        until = datetime.fromisoformat(host["token_expires_at"]).replace(tzinfo=UTC)
        state = f"awaited until {until:%H:%M} UTC" if until > now else "its token's hour is over"
    if host["state"] == "joined":
        state = "joined, not heard of yet"
    if not host["enabled"]:
        state += ", disabled" + (f": {host['disabled_reason']}" if host["disabled_reason"] else "")
    return plain(state)


def _ago(now: datetime, moment: str) -> str:
    seconds = max(0, int((now - datetime.fromisoformat(moment).replace(tzinfo=UTC)).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
