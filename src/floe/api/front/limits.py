"""What a client may put on the wire, and how slowly; and how many connections there may be."""

from __future__ import annotations

import resource
from pathlib import Path

import msgspec

from floe.core.errors import Invalid
from floe.settings import Network, Settings

MOST_FILES = 65536
"""How far the limit of open files is raised at most: programs that it is inherited by count up to it."""
_SPARE = 64
"""Files kept free at least for what is no connection: database, hypervisor, pipes of programs, logs."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, seconds and connections at most."""

    head_bytes: int = 65536
    """Of a request line with its headers; of what stands between two pieces of a body, trailers among it."""
    headers: int = 200
    """Headers and trailers of a request."""
    head_seconds: float = 10.0
    """From the beginning of a connection, or from the first byte of a further request, until its head is there."""
    idle_seconds: float = 75.0
    """Between two requests."""
    quiet_seconds: float = 30.0
    """Without a byte of a body that is awaited."""
    reply_seconds: float = 60.0
    """Without a byte taken of a reply."""
    rate: int = 1024
    """Bytes a second of a body, and of a reply, on average over `rate_seconds`: fewer is too slow."""
    rate_seconds: float = 60.0
    linger_seconds: float = 2.0
    """How long a client that was refused may go on sending before it is cut off, so that it can read why."""
    rest_seconds: float = 30.0
    """How long the rest of a body may take that was answered before it was there."""
    pipelined: int = 16
    """Requests sent on one connection ahead of their answers."""
    lingering: int = 32
    """Refused clients that are waited for at a time."""
    connections: int = 2048
    per_peer: int = 256
    """Connections from one IPv4 address, or from one IPv6 network of 64 bits."""
    trusted: tuple[Network, ...] = ()
    """Proxies, which speak for many and may have any number of connections."""


def raise_open_files() -> int:
    """Raise this process's limit of open files as far as it may be, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return MOST_FILES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def open_files() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def connections_for(files: int, in_use: int) -> int:
    """Return for how many connections a limit of open files has room.

    A quarter is kept for what is no connection, and each connection may have a file open besides: an upload or a
    download. Raises Invalid where too little is left to serve anybody.
    """
    room = (files - in_use - max(_SPARE, files // 4)) // 2
    if room < 16:
        raise Invalid(
            f"This process may open {files} files and has {in_use} open already: that leaves no room for connections. "
            "Raise the limit (ulimit -n, or LimitNOFILE= of the unit) to 256 or more."
        )
    return room


def limits_of(settings: Settings, files: int) -> Limits:
    """Return the limits that an operator's settings mean, where so many files may be open. Raises Invalid."""
    most = connections_for(files, open_files())
    return Limits(
        connections=min(settings.connections, most),
        per_peer=settings.connections_per_peer,
        trusted=settings.proxies(),
    )
