"""What `floe api`, `floe conductor` and `floe agent` have in common: one role, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from floe.api.front.limits import Limits, limits_of, raise_open_files
from floe.cli import interpreter
from floe.cli.notify import Notify
from floe.cli.orphans import Orphans
from floe.cli.serving import settings_of, told_to_stop
from floe.cli.state_directory import share
from floe.core.errors import FloeError, Invalid
from floe.logs import configure
from floe.pools import share_memory
from floe.settings import Settings

if TYPE_CHECKING:
    from floe.assembly.roles import Role

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A role that may begin: `make` is called in the event loop, `said` is what it says once it is ready."""

    listener: socket.socket
    make: Callable[[], Role]
    said: str
    ready: Callable[[], None] = lambda: None
    """Done when it is."""
    drain: float = 0.0
    """Seconds that it serves on when it is told to stop."""
    orphans: bool = False
    """Whether it takes what its children leave behind, as guests are."""


def serve(args: argparse.Namespace, name: str, prepare: Callable[[Settings, ExitStack], Prepared]) -> int:
    """Serve one role until SIGTERM or Ctrl-C, and stop it in order. Return the exit status."""
    with ExitStack() as held:
        try:
            settings = settings_of(args, roles=name)
            configure(settings.log_level)
            share_memory()
            if settings.sandbox and name != "agent":
                raise Invalid(f"sandbox is for `floe up` and `floe agent`, which have guests, not for `floe {name}`.")
            limits = limits_of(settings, raise_open_files())
            held.enter_context(share(settings.state))
            prepared = prepare(settings, held)
        except (FloeError, OSError) as error:
            print(f"floe: {error}", file=sys.stderr)
            return 2 if isinstance(error, Invalid) else 1
        import uvloop

        starting = held.enter_context(ExitStack())
        starting.enter_context(interpreter.starting())
        return uvloop.run(_serve(prepared, limits, name, starting.close))


async def _serve(prepared: Prepared, limits: Limits, name: str, started: Callable[[], None]) -> int:
    from floe.api.front.server import Server

    try:
        role = prepared.make()
    except Invalid as error:
        print(f"floe: {error}", file=sys.stderr)
        return 2
    notify = Notify(os.environ)
    told_to_stop()  # by uvicorn, which ends then
    orphans = Orphans()
    if prepared.orphans:
        orphans.adopt()

    def leave() -> None:
        notify.stopping()
        role.process.leave()

    server = Server(role.app, role.counters, limits, drain=prepared.drain, leave=leave)
    # It answers from the first moment on: with how far the start is, and 503 to whatever needs more.
    serving = asyncio.create_task(server.serve(sockets=[prepared.listener]))
    starting = asyncio.create_task(role.process.start())
    try:
        await asyncio.wait({serving, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            started()
            prepared.ready()
            log.info("ready after %.2f s of CPU", time.process_time())
            print(f"floe: {name} ready, {prepared.said}", flush=True)
            notify.ready(prepared.said)
        await serving
    except FloeError as error:
        print(f"floe: cannot start: {error}", file=sys.stderr)
        return 1
    finally:
        notify.stopping()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
        server.should_exit = True
        await role.process.stop()
        await serving
        notify.end()
        orphans.leave()
    return 0
