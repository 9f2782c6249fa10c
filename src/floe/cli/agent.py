"""`floe agent`: the agent of this machine's hypervisor, in a process that sees the bus and no database."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from floe.cli import role
from floe.cli.serving import add_settings, bind, url_of
from floe.cli.state_directory import hold_host
from floe.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a flag for every setting that an agent knows."""
    add_settings(parser, but=("roles", "sandbox", "listen", "instance", "database"))


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. Return the exit status."""
    return role.serve(args, "agent", _prepare)


def _prepare(settings: Settings, held: ExitStack) -> role.Prepared:
    from floe.assembly import hosts, roles, surroundings

    names = hosts.names_of_agent(settings)
    for host in names:
        held.enter_context(hold_host(settings.state, host))
    listener = held.enter_context(bind("status_listen", settings.status_address("agent")))
    who = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

    def make() -> roles.Role:
        return roles.agent(surroundings.shared(settings, f"agent of {who}"), names=names)

    return role.Prepared(listener=listener, make=make, said=f"for {who}; how it is, is at {url_of(listener)}/healthz")
