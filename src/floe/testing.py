"""A whole cloud in one event loop, for tests, notebooks and trials of what one builds on it.

    async with EmbeddedCloud(folder) as cloud:
        print(cloud.url, cloud.passwords["demo"])

Everything in it is what `floe up --hypervisor fake` runs: SQLite at full durability, the local bus with its
codec, fake hosts. It listens on a port of the loopback that the kernel chooses, so that any client can be used.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from cryptography.fernet import Fernet

from floe.api.front.limits import Limits
from floe.api.front.server import Server
from floe.assembly.node import Node
from floe.cli.state_directory import hold
from floe.pools import alone
from floe.settings import Settings


class _Server(Server):
    """The server, but for its taking over of signals: those are the business of whoever runs the event loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


@dataclass
class EmbeddedCloud:
    """A cloud in `folder`, with `hosts` fake hosts. Enter it to start it; leaving stops it; it can be entered again.

    With `template`, a folder that a cloud stopped in, it starts from that state instead of from nothing. `limits` are
    those of its front door. Raises Conflict while another cloud runs in the folder.
    """

    folder: Path
    hosts: int = 1
    delay: float = 0.0
    template: Path | None = None
    passwords: dict[str, str] = field(default_factory=lambda: {"admin": "admin-secret", "demo": "demo-secret"})
    token_key: bytes = field(default_factory=Fernet.generate_key)
    limits: Limits = field(default_factory=Limits)
    database: str = ""
    """A PostgreSQL to use in place of SQLite in the folder."""
    repeated_writes: float = 0.0
    """The share of writes that run twice, as they may where the database is across a network."""
    images_over_http: bool = False
    """Whether the hosts fetch images from this cloud's API, as hosts on other machines do."""
    shelved_offload_time: float = 0.0
    """As in `Settings`."""
    trusted_image_certificates: str = ""
    """As in `Settings`."""
    url: str = ""

    async def __aenter__(self) -> EmbeddedCloud:
        if self.template is not None and not self.folder.exists():
            await alone(shutil.copytree, self.template, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold(self.folder)
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = Settings(
            state=self.folder,
            database=self.database,
            hypervisor="fake",
            fake_hosts=self.hosts,
            fake_delay=self.delay,
            shelved_offload_time=self.shelved_offload_time,
            trusted_image_certificates=self.trusted_image_certificates,
            images_from=self.url if self.images_over_http else "",
        )
        self.node = Node(
            settings,
            passwords=self.passwords,
            token_keys=[self.token_key],
            url=self.url,
            repeated_writes=self.repeated_writes,
        )
        try:
            await self.node.start()
        except BaseException:
            self._lock.close()
            raise
        self._server = _Server(self.node, self.node.cloud.counters, self.limits)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        await self._serving
        await self.node.stop()
        self._lock.close()

    async def settled(self) -> None:
        """Wait until nothing is being done any more."""
        await self.node.idle()
