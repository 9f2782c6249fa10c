"""What guests posted comes into the rows, and their hosts hear that it has."""

from __future__ import annotations

import asyncio
import logging

from floe.cloud import server_passwords
from floe.cloud.cloud import Cloud
from floe.core.errors import FloeError
from floe.core.guest_passwords import PasswordPosted

log = logging.getLogger(__name__)

_AT_ONCE = 16


class GuestPasswords:
    """Takes events about passwords, few at a time: whatever is not taken is said again by its host."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._waiting: dict[tuple[str, str], PasswordPosted] = {}
        """By host and server, what was said last and was not begun to be taken in yet."""

    def expects(self, event: PasswordPosted) -> bool:
        """Keep an event; return whether somebody has to `take` it, and does not already."""
        key = event.host, event.server_id
        waits = key in self._waiting
        self._waiting[key] = event
        return not waits

    async def take(self, host: str, server_id: str) -> None:
        """Take what a host said of a server last."""
        async with self._places:
            event = self._waiting.pop((host, server_id))
            try:
                await server_passwords.posted(self._cloud, event)
            except FloeError as error:
                log.warning("what host %s said of a password was not taken in yet: %s", host, error.message)
