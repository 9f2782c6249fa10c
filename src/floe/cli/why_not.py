"""`floe why-not`: a packet to a server, followed as data from place to place, and what stops it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.state_option import add_state_arguments, state_directory
from floe.cli.terminal import plain

if TYPE_CHECKING:
    from rich.table import Table

_PATH = "/floe/v1/servers/{server}/why-not?{query}"
_MARKS = {"passes": ("✓", "green"), "stops": ("✗", "bold red"), "beware": ("!", "yellow")}
_VERDICTS = {
    "passes": ("passes", "green"),
    "stops": ("does not pass", "bold red"),
    "doubtful": ("passes, if what is marked ! holds", "yellow"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument(
        "--cloud", metavar="NAME", default=clouds_file.ADMIN, help="whose eyes to see with (default: floe-admin)"
    )
    where = "a server's id or name, or an address: who sends (default: somebody outside)"
    parser.add_argument("--from", dest="source", metavar="SERVER|ADDRESS", help=where)
    parser.add_argument("--protocol", choices=("tcp", "udp", "icmp"), default="tcp", help="(default: tcp)")
    parser.add_argument("--to", metavar="ADDRESS", help="which of the server's addresses (default: the best)")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")
    parser.add_argument("server", metavar="SERVER", help="id or name of the server")
    parser.add_argument("port", metavar="PORT", nargs="?", help="that the packet is for; none for icmp")


def run(args: argparse.Namespace) -> int:
    """Print what becomes of the packet. Exit status 1 if something stops it."""
    access = clouds_file.access(state_directory(args))
    client = Client(clouds_file.entry(access, args.cloud))
    source = None if args.source is None else _sender(client, args.source)
    asked = {"port": args.port, "protocol": args.protocol, "from": source, "to": args.to}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    found = client.get(_PATH.format(server=client.server_id(args.server), query=query))["why_not"]
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        _print(found)
    return 1 if found["verdict"] == "stops" else 0


def picture(found: Mapping[str, Any]) -> Table:
    """Draw the way of a packet: from place to place, down to where it arrives or is stopped."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table.grid(padding=(0, 1))
    drawn.title, drawn.title_justify = _title(found), "left"
    drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="fold")
    drawn.add_column(overflow="fold", ratio=1)
    for number, step in enumerate(found["steps"]):
        mark, style = _MARKS[step["mark"]]
        what = Text(plain(f"{step['kind'].replace('_', ' ')} {step['name'] or ''}".strip()))
        if step["id"]:
            what.append(f"\n{plain(step['id'])}", "dim")
        said = Text(plain(step["text"]), style if step["mark"] != "passes" else "")
        if step["rule"]:
            said.append(f"\nrule {plain(step['rule'])}", "dim")
        chain = Text(mark, style)
        if number < len(found["steps"]) - 1:
            chain.append("\n│" * max(what.plain.count("\n"), said.plain.count("\n"), 0), "dim")
        drawn.add_row(chain, what, said)
    return drawn


def _title(found: Mapping[str, Any]) -> Any:
    from rich.text import Text

    verdict, style = _VERDICTS[found["verdict"]]
    packet = found["packet"]
    if packet is None:
        return Text("no packet can be sent", style)
    words = packet["protocol"] if packet["port"] is None else f"{packet['protocol']} {packet['port']}"
    return Text.assemble(f"{words} from {packet['source']} to {packet['target']}: ", (verdict, style))


def _print(found: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
    console.print(picture(found))
    for remedy in dict.fromkeys(step["remedy"] for step in found["steps"] if step["remedy"]):
        console.print(f"→ {plain(remedy)}", style="cyan", soft_wrap=True)


def _sender(client: Client, source: str) -> str:
    try:
        return str(IPv4Address(source))
    except ValueError:
        return client.server_id(source)
