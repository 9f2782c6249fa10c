"""`floe conductor`: what places servers and carries out actions, in a process of its own."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from floe.cli import role
from floe.cli.secrets import load_or_make
from floe.cli.serving import add_settings, bind, url_of
from floe.cli.state_directory import hold_role
from floe.places import one_at_a_time, place
from floe.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a flag for every setting that a conductor knows."""
    add_settings(parser, but=("roles", "sandbox", "listen"))


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. Return the exit status."""
    return role.serve(args, "conductor", _prepare)


def _prepare(settings: Settings, held: ExitStack) -> role.Prepared:
    from floe.assembly import roles, surroundings

    name = "-".join(filter(None, ("conductor", settings.instance)))
    folder = held.enter_context(hold_role(settings.state, name))
    listener = held.enter_context(bind("status_listen", settings.status_address("conductor")))
    with one_at_a_time(settings.state / "roles" / "secrets"):
        secrets = load_or_make(settings.state)

    def make() -> roles.Role:
        around = surroundings.shared(settings, name)
        return roles.conductor(around, place=place(folder), token_keys=secrets.token_keys)

    return role.Prepared(listener=listener, make=make, said=f"how it is, is at {url_of(listener)}/healthz")
