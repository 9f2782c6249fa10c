"""`floe api`: every API, in a process that has no conductor and no host."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import partial

from floe.cli import role
from floe.cli.credentials import clouds, clouds_yaml
from floe.cli.secrets import load_or_make, write_private
from floe.cli.serving import add_settings, bind, url_of
from floe.cli.state_directory import hold_role
from floe.places import one_at_a_time, place
from floe.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a flag for every setting that an API knows."""
    add_settings(parser, but=("roles", "sandbox", "status_listen"))


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. Return the exit status."""
    return role.serve(args, "api", _prepare)


def _prepare(settings: Settings, held: ExitStack) -> role.Prepared:
    from floe.assembly import roles, surroundings

    name = "-".join(filter(None, ("api", settings.instance)))
    folder = held.enter_context(hold_role(settings.state, name))
    listener = held.enter_context(bind("listen", settings.address()))
    with one_at_a_time(settings.state / "roles" / "secrets"):
        secrets = load_or_make(settings.state)
    url = settings.public_url or url_of(listener)
    file = (folder if settings.instance else settings.state) / "clouds.yaml"
    entries = clouds(f"{url}/identity/v3", settings.region, secrets.passwords)

    def make() -> roles.Role:
        return roles.api(
            surroundings.shared(settings, name),
            place=place(folder),
            passwords=secrets.passwords,
            token_keys=secrets.token_keys,
            url=url,
        )

    return role.Prepared(
        listener=listener,
        make=make,
        said=f"clients find it at {url}",
        drain=settings.drain_seconds,
        ready=partial(write_private, file, clouds_yaml(entries)),
    )
