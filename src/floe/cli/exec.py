"""`floe exec`: run a command where the guests are."""

from __future__ import annotations

import argparse

from floe.cli.sandbox import exec_in
from floe.cli.state_option import add_state_arguments, state_directory
from floe.core.errors import Invalid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare flags and arguments."""
    add_state_arguments(parser)
    parser.add_argument(
        "--network", metavar="NETWORK_ID", help="run on this network, from the address its DHCP server has"
    )
    parser.add_argument("argv", metavar="-- CMD", nargs=argparse.REMAINDER, help="the command and its arguments")


def run(args: argparse.Namespace) -> int:
    """Become the command; return only by raising."""
    words = list(args.argv)
    if words[:1] == ["--"]:
        del words[0]
    if not words:
        raise Invalid("floe exec needs a command, like: floe exec -- ip link")
    exec_in(state_directory(args), words, args.network)
