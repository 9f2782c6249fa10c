"""What a service manager is told of this process: `sd_notify(3)`, a datagram each; nothing where none has asked."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

from floe.logs import Rarely

log = logging.getLogger(__name__)


class Notify:
    """Tells whoever the environment names. The event loop feeds the watchdog, so one that hangs starves it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environment.get("WATCHDOG_USEC", "") if ours else ""
        self._watchdog = int(microseconds) / 1_000_000 if microseconds.isdigit() else 0.0
        self._feeding: asyncio.Task[None] | None = None
        self._log = Rarely(log)

    def ready(self, status: str) -> None:
        """Say that the process serves, and feed the watchdog from now on."""
        self._say(f"READY=1\nSTATUS={status}")
        if self._address and self._watchdog:
            self._feeding = asyncio.get_running_loop().create_task(self._feed(), name="watchdog")

    def status(self, text: str) -> None:
        """Say what it does."""
        self._say(f"STATUS={text}")

    def stopping(self) -> None:
        """Say that the process stops; the watchdog is fed to the end."""
        self._say("STOPPING=1\nSTATUS=stopping")

    def end(self) -> None:
        """Feed nothing any more."""
        if self._feeding is not None:
            self._feeding.cancel()

    async def _feed(self) -> None:
        while True:
            self._say("WATCHDOG=1")
            await asyncio.sleep(self._watchdog / 3)

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
                speaker.setblocking(False)
                speaker.connect(address)
                speaker.send(text.encode())
        except OSError as error:  # it may be about to start anew itself
            text = "the service manager at %s cannot be told: %s"
            self._log.warning("untold", text, self._address, error.strerror)
