"""The command `floe`: one module per sub-command, each imported only when it is the one asked for.

A sub-command's module has `add_arguments(parser)` and `run(args) -> int`, the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from floe.core.errors import FloeError


class Command(Protocol):
    """What the module of a sub-command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare flags and arguments."""
        ...

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit status; a FloeError becomes one line on standard error and status 1."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table of sub-commands."""

    module: str
    help: str


COMMANDS: Mapping[str, Entry] = {
    "up": Entry("floe.cli.up", "start the whole cloud on this machine"),
    "api": Entry("floe.cli.api", "serve the APIs, over a bus and a database that conductors share"),
    "conductor": Entry("floe.cli.conductor", "place servers and carry out what is asked of the APIs"),
    "agent": Entry("floe.cli.agent", "run guests on this machine for conductors elsewhere"),
    "host": Entry("floe.cli.host", "have machines join as hosts; list, disable, enable and remove hosts"),
    "trace": Entry("floe.cli.trace", "show how a server came to be, step by step"),
    "why-not": Entry("floe.cli.why_not", "follow a packet to a server, and say what stops it"),
    "top": Entry("floe.cli.top", "show hosts, their load, and what is being done, live"),
    "audit": Entry("floe.cli.audit", "check that everything is as it must be, and mend what is safe"),
    "purge": Entry("floe.cli.purge", "forget what was over before a day"),
    "db": Entry("floe.cli.db", "show, upgrade, check or copy the database"),
    "openrc": Entry("floe.cli.openrc", "print a cloud's credentials for a shell"),
    "exec": Entry("floe.cli.exec", "run a command where the guests are: inside the sandbox"),
    "forward": Entry("floe.cli.forward", "reach ports of a server by ports of this machine's loopback"),
    "sandbox": Entry("floe.cli.sandbox.command", "show or remove the sandbox of a state directory"),
    "bus-key": Entry("floe.cli.bus_key", "make a key for the bus between machines, and print its public half"),
    "bus-config": Entry("floe.cli.bus_config", "write who may speak on the bus, as a file for its server"),
    "doctor": Entry("floe.cli.doctor", "say whether this machine is fit to be a host"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `floe` with these arguments and return its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview())
        return 0 if words else 2
    if words[0] in {"-V", "--version"}:
        from importlib.metadata import version  # it brings all of `email`, which no other command needs

        print(f"floe {version('floe-cloud')}")
        return 0
    entry = COMMANDS.get(words[0])
    if entry is None:
        print(f"floe: there is no command {words[0]!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    command = cast("Command", importlib.import_module(entry.module))
    parser = argparse.ArgumentParser(prog=f"floe {words[0]}", description=_sentence(entry.help))
    command.add_arguments(parser)
    try:
        return command.run(parser.parse_args(words[1:]))
    except FloeError as error:
        print(f"floe: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output went away (`floe trace | head`); nothing is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def overview() -> str:
    """Return what `floe --help` prints."""
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {entry.help}" for name, entry in COMMANDS.items()]
    return "\n".join(["usage: floe COMMAND ...", "", *lines, "", "`floe COMMAND --help` tells more of each."])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
