"""`floe up`: every role in one process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from floe.api.front.limits import Limits, limits_of, raise_open_files
from floe.cli import interpreter
from floe.cli.credentials import clouds, clouds_yaml
from floe.cli.notify import Notify
from floe.cli.orphans import Orphans
from floe.cli.secrets import Secrets, load_or_make, write_private
from floe.cli.serving import add_settings, bind, settings_of, told_to_stop, url_of, within
from floe.cli.state_directory import take
from floe.core.errors import FloeError, Invalid
from floe.logs import configure
from floe.pools import share_memory
from floe.settings import Settings

if TYPE_CHECKING:
    from floe.cli.sandbox import Sandbox

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare a flag for every setting."""
    add_settings(parser, but=("bus", "bus_key", "bus_ca", "instance", "status_listen"))


def run(args: argparse.Namespace) -> int:
    """Start the cloud, serve until SIGTERM or Ctrl-C, stop it in order. Return the exit status."""
    try:
        settings = settings_of(args)
        configure(settings.log_level)
        share_memory()
        limits = limits_of(settings, raise_open_files())
        lock = take(settings.state)
        listener = bind("listen", settings.address())  # before the sandbox, to stay on the outer loopback
        listeners = [listener]
        secrets = load_or_make(settings.state)
        sandbox = None
        if settings.sandbox:
            from floe.cli.sandbox import enter

            sandbox = enter(settings.state)
            listeners += within(listener)
    except (FloeError, OSError) as error:
        print(f"floe: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    import uvloop

    with lock, ExitStack() as held, ExitStack() as starting:
        for each in listeners:
            held.enter_context(each)
        starting.enter_context(interpreter.starting())
        return uvloop.run(_serve(settings, limits, listeners, secrets, sandbox, starting.close))


async def _serve(
    settings: Settings,
    limits: Limits,
    listeners: Sequence[socket.socket],
    secrets: Secrets,
    sandbox: Sandbox | None,
    started: Callable[[], None],
) -> int:
    from floe.api.front.server import Server
    from floe.assembly.node import Node

    listener = listeners[0]
    url = settings.public_url or url_of(listener)
    try:
        node = Node(settings, passwords=secrets.passwords, token_keys=secrets.token_keys, url=url)
    except Invalid as error:
        print(f"floe: {error}", file=sys.stderr)
        return 2
    server = Server(node, node.cloud.counters, limits)
    orphans = Orphans()
    orphans.adopt()
    stopping, notify = told_to_stop(), Notify(os.environ)
    try:
        if not await _unless(stopping, node.start()):
            return 0
        started()
        serving = asyncio.create_task(server.serve(sockets=list(listeners)))
        ready = asyncio.create_task(_announce(settings, secrets, url, listener, sandbox, notify))
        await serving
        ready.cancel()
    except FloeError as error:
        print(f"floe: cannot start: {error}", file=sys.stderr)
        return 1
    finally:
        notify.stopping()
        await node.stop()
        orphans.leave()
    return 0


async def _unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, or give it up when it is time to stop; say whether it was done."""
    doing, waiting = asyncio.create_task(work), asyncio.create_task(stopping.wait())
    await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not doing.done():
        doing.cancel()
        await asyncio.wait({doing})
        return False
    await doing
    return True


async def _announce(
    settings: Settings, secrets: Secrets, url: str, listener: socket.socket, sandbox: Sandbox | None, notify: Notify
) -> None:
    """Say that the cloud is ready once it answers through its own front door."""
    entries = clouds(f"{url}/identity/v3", settings.region, secrets.passwords)
    write_private(settings.state / "clouds.yaml", clouds_yaml(entries))
    parts = await _answers(listener, sandbox)
    log.info("ready after %.2f s of CPU", time.process_time())
    print(f"floe: ready at {url} (state in {settings.state})", flush=True)
    notify.ready(f"serving at {url}")
    for name, state in parts.items():
        if state != "ok":
            log.warning("not all is well with the %s: %s", name, state)


async def _answers(listener: socket.socket, sandbox: Sandbox | None) -> dict[str, str]:
    """Wait until `/healthz` tells of the parts, well or not: what is amiss is no reason to say nothing."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    while True:
        with contextlib.suppress(OSError):
            client = _client(listener.family, sandbox)
            await asyncio.get_running_loop().sock_connect(client, (host, port))
            reader, writer = await asyncio.open_connection(sock=client)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            _, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            parts: dict[str, str] = json.loads(body or b"{}").get("parts", {})
            if parts and "process" not in parts:
                return parts
        await asyncio.sleep(0.05)


def _client(family: int, sandbox: Sandbox | None) -> socket.socket:
    """Return a socket from which the API can be reached: it listens outside of the sandbox this process is in."""
    client = sandbox.socket_outside(family) if sandbox else socket.socket(family, socket.SOCK_STREAM)
    client.setblocking(False)
    return client
