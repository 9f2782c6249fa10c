"""`floe agent`: the agent of this machine's hypervisor, in a process that sees the bus and no database.

`floe agent join` makes this machine a host before.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from floe.cli import role
from floe.cli.serving import add_settings, bind, url_of
from floe.cli.state_directory import hold_host
from floe.settings import CONFIG, HYPERVISORS, Settings

if TYPE_CHECKING:
    from floe.assembly.process import Plain

_OF_THE_BUS = ("join_bus", "bus_config", "bus_members", "bus_reload")
"""Settings of whoever keeps the bus."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a flag for every setting that an agent knows."""
    add_settings(parser, but=("roles", "listen", "instance", "database", *_OF_THE_BUS))
    deeds = parser.add_subparsers(dest="deed", metavar="join", description="Without one, it serves.")
    text = "make this machine a host of a cloud, with the command that `floe host add` prints there"
    _add_join_arguments(deeds.add_parser("join", help=text, description=text[:1].upper() + text[1:] + "."))


def run(args: argparse.Namespace) -> int:
    """Join, or serve until SIGTERM or Ctrl-C. Return the exit status."""
    if args.deed == "join":
        from floe.cli import join  # what it needs an agent that serves has no use for

        return join.run(args)
    return role.serve(args, "agent", _prepare)


def _add_join_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="of the cloud, as `floe host add` printed it")
    parser.add_argument("--host", required=True, metavar="NAME", help="of this host")
    parser.add_argument("--token", required=True, metavar="TOKEN", help="as `floe host add` printed it; -: is read")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="certificates to know the cloud by, at an https:// URL")
    parser.add_argument("--state", metavar="DIR", help="state directory (default: FLOE_STATE, else /var/lib/floe)")
    parser.add_argument("--hypervisor", metavar="KIND", help=f"one of {', '.join(HYPERVISORS)} (default: auto)")
    parser.add_argument(
        "--config", type=Path, default=CONFIG, metavar="FILE", help=f"of the settings to write (default: {CONFIG})"
    )
    parser.add_argument("--overwrite", action="store_true", help="keep settings that are there as FILE.before")


def _prepare(settings: Settings, held: ExitStack) -> role.Prepared:
    from floe.assembly import hosts, roles, surroundings

    names = hosts.names_of_agent(settings)
    for host in names:
        held.enter_context(hold_host(settings.state, host))
    listener = held.enter_context(bind("status_listen", settings.status_address("agent")))
    way_out = _enter_sandbox(settings, held) if settings.sandbox else []
    who = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

    def make() -> roles.Role:
        return roles.agent(surroundings.shared(settings, f"agent of {who}"), names=names, before=way_out)

    said = f"for {who}; how it is, is at {url_of(listener)}/healthz"
    return role.Prepared(listener=listener, make=make, said=said, orphans=True)


def _enter_sandbox(settings: Settings, held: ExitStack) -> list[Plain]:
    """Enter it, after whatever stays on the machine's own loopback is bound, and return what leads out."""
    from floe.assembly.process import Plain
    from floe.cli.sandbox import enter
    from floe.cli.sandbox.way_out import WayOut, targets

    outside = targets(settings)
    way_out = WayOut(enter(settings.state), outside, held)
    return [Plain(start=way_out.start, stop=way_out.stop)]
