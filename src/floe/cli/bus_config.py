"""`floe bus-config`: who may speak on the bus between machines, as a file for its server."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from floe.bus import permissions
from floe.core.errors import FloeError, Invalid, NotFound


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
        "--pid-file",
        type=Path,
        metavar="FILE",
        help="of the server, which is told to read its configuration again: who left is thrown out, others stay",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file, and have the server take it."""
    try:
        listed = permissions.members(args.members.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound("list", str(args.members), f"The list {args.members} cannot be read: {error}") from error
    text = permissions.server_file(listed)
    if args.output is None:
        sys.stdout.write(text)
    else:
        _replace(args.output, text)
    if args.pid_file is not None:
        _reload(args.pid_file)
    return 0


def _replace(path: Path, text: str) -> None:
    """Put it in the place of what was there, as a whole, readable for whom that was readable for."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8")
        with contextlib.suppress(FileNotFoundError):
            before = path.stat()
            fresh.chmod(before.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(fresh, before.st_uid, before.st_gid)
        fresh.replace(path)
    except OSError as error:
        raise FloeError(f"{path} cannot be written: {error}") from error


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
