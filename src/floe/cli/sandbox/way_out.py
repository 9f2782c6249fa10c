"""How a process in a sandbox reaches what this machine's loopback has: the bus, and the APIs with the images.

A sandbox has a loopback of its own, on which nobody but this process listens: at the addresses of what is outside, with
each connection carried on there. Guests do not reach them, as nobody reaches another's loopback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from urllib.parse import urlsplit

from floe.cli.relay import Way, relay
from floe.cli.sandbox.holder import Sandbox
from floe.cli.serving import bind
from floe.core.errors import Invalid
from floe.logs import Rarely
from floe.settings import Settings

log = logging.getLogger(__name__)

Target = tuple[str, int]
"""An address and a port."""
_PORTS = {"http": 80, "https": 443}


def targets(settings: Settings) -> list[Target]:
    """Return what an agent needs from outside. Raises Invalid for what is not on the loopback."""
    found: list[Target] = []
    for setting, urls in (("bus", settings.bus_servers()), ("images_from", settings.image_urls())):
        for url in urls:
            parts = urlsplit(url)
            host = "127.0.0.1" if parts.hostname == "localhost" else str(parts.hostname)
            if not _is_loopback(host):
                raise Invalid(
                    f"{setting} is {url!r}, which is not reached from within a sandbox: with --sandbox it has to be on"
                    " this machine's loopback, like 127.0.0.1."
                )
            target = (host, parts.port or _PORTS[parts.scheme])
            found += [target] if target not in found else []
    return found


class WayOut:
    """Leads from the sandbox that this process is in to each target outside of it, once started."""

    def __init__(self, sandbox: Sandbox, targets: Sequence[Target], held: ExitStack) -> None:
        self._sandbox = sandbox
        self._ways = [Way(held.enter_context(bind("sandbox", target)), *target) for target in targets]
        self._relaying: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._log = Rarely(log)

    async def start(self) -> None:
        """Carry on what connects from now on."""
        work = relay(self._ways, self._sandbox.socket_outside, self._failed, self._stopping)
        self._relaying = asyncio.create_task(work, name="way-out")

    async def stop(self) -> None:
        """Carry on nothing any more."""
        self._stopping.set()
        if self._relaying is not None:
            await self._relaying

    def _failed(self, address: str, port: int, why: str) -> None:
        where = f"{address}:{port}"
        self._log.warning(where, "%s outside of the sandbox: %s", where, why)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
