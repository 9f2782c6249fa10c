"""`floe bus-config`: who may speak on the bus between machines, as a file for its server."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from floe.bus import permissions
from floe.bus.permissions import Member, Part
from floe.bus.server_file import read_list, write_whole
from floe.cli import clouds_file
from floe.cli.client import Client
from floe.cli.host import hosts_of
from floe.cli.state_option import add_state_arguments, state_directory
from floe.core.errors import Invalid, NotFound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    parser.add_argument(
        "members",
        type=Path,
        metavar="LIST",
        help="who may connect, a line each: `KEY host NAME` or `KEY control NAME`; KEY as `floe bus-key` prints it",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="what the server's configuration includes; without it, it is printed",
    )
    parser.add_argument(
        "--joined",
        action="store_true",
        help="let in the hosts that joined a running cloud, too; what `floe api` does itself where it has bus_config",
    )
    add_state_arguments(parser)
    parser.add_argument(
        "--pid-file",
        type=Path,
        metavar="FILE",
        help="of the server, which is told to read its configuration again: who left is thrown out, others stay",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file, and have the server take it."""
    listed, amiss = permissions.joined_by(permissions.members(read_list(args.members)), _joined(args))
    text = permissions.server_file(listed)
    for name in amiss:
        print(f"floe: {name} joined with another key than {args.members} has, which counts.", file=sys.stderr)
    if args.output is None:
        sys.stdout.write(text)
    else:
        write_whole(args.output, text)
    if args.pid_file is not None:
        _reload(args.pid_file)
    return 0


def _joined(args: argparse.Namespace) -> list[Member]:
    if not args.joined:
        return []
    client = Client(clouds_file.access(state_directory(args))[clouds_file.ADMIN])
    return [Member(key=host["key"], part=Part.HOST, name=host["name"]) for host in hosts_of(client) if host.get("key")]


def _reload(pid_file: Path) -> None:
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError) as error:
        raise NotFound("server", str(pid_file), f"{pid_file} names no server: {error}") from error
    comm = Path(f"/proc/{pid}/comm")
    name = comm.read_text().strip() if comm.exists() else ""
    if name != "nats-server":
        raise Invalid(f"{pid_file} says {pid}, which is {name or 'no process'}: is the server running?")
    os.kill(pid, signal.SIGHUP)
