"""`floe openrc`: print a cloud's credentials for a shell."""

from __future__ import annotations

import argparse

from floe.cli import clouds_file
from floe.cli.credentials import openrc
from floe.cli.state_option import add_state_arguments, state_directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument(
        "--cloud", metavar="NAME", default="floe", help="floe (default), floe-admin or floe-system-admin"
    )


def run(args: argparse.Namespace) -> int:
    """Print lines for `eval`."""
    print(openrc(clouds_file.entry(clouds_file.read(state_directory(args)), args.cloud)), end="")
    return 0
