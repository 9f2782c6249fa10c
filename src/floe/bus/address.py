"""Where the servers of the bus between machines are, and who we are to them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from floe.bus import keys
from floe.core.errors import Invalid

_SERVER = re.compile(r"(nats|tls)://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsAddress:
    """Where the servers are, and who we are to them. With a `ca_file`, or for `tls://`, nothing is said in clear."""

    servers: tuple[str, ...]
    """Each as `nats://host:port` or `tls://host:port`."""
    seed: str = field(default="", repr=False)
    """The secret half of our nkey."""
    ca_file: Path | None = None
    """Certificates of whom the server's has to be signed by one; those of the system if there is none."""

    def __post_init__(self) -> None:
        """Refuse what names no server, and what is no key."""
        if not self.servers:
            raise Invalid("The bus has no server; nats://host:port is wanted.")
        for server in self.servers:
            if not _SERVER.fullmatch(server):
                raise Invalid(f"The bus's server is {server[:200]!r}; nats://host:port or tls://host:port is wanted.")
        if self.seed:
            try:
                keys.public_key(self.seed)
            except ValueError as error:
                raise Invalid(f"The key for the bus is none of a user's: {error}; `floe bus-key` makes one.") from error

    @property
    def secure(self) -> bool:
        """Whether the connection has to be encrypted."""
        return self.ca_file is not None or any(server.startswith("tls://") for server in self.servers)
