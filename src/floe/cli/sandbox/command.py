"""`floe sandbox`: show or remove the sandbox of a state directory."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from floe.cli.sandbox import remove, status
from floe.cli.state_option import add_state_arguments, state_directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument("action", choices=("status", "remove"), help="remove ends every guest in it too")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Do it; the status of a sandbox that does not exist is 1."""
    state_dir = state_directory(args)
    if args.action == "remove":
        ended = remove(state_dir)
        print(json.dumps({"ended": ended}) if args.json else f"sandbox of {state_dir} removed; {ended} processes ended")
        return 0
    found = status(state_dir)
    if found is None:
        print("null" if args.json else f"no sandbox for {state_dir}")
        return 1
    record, members = found
    if args.json:
        print(json.dumps({"holder": asdict(record), "members": [asdict(member) for member in members]}))
    else:
        print(f"sandbox of {state_dir}, held by process {record.pid}")
        for member in members:
            print(f"  {member.pid:>7}  {member.command[:120]}")
    return 0
