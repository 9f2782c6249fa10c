"""That a network namespace has one data plane: two would take each other's devices and rules for leftovers.

An abstract socket is the namespace's own, and gone with whoever holds it. Its name says whose it is, so that a process
that takes over from another of the same state directory is no stranger.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
from pathlib import Path

from floe.dataplane.linux.run import ports_failure

_PREFIX = "floe-data-plane/"
_LISTED = Path("/proc/thread-self/net/unix")


def hold(state_dir: Path) -> int:
    """Return the descriptor of what says that the namespace is this state directory's, until it is closed.

    Raises `HostFailure` where another's data plane is in the namespace.
    """
    own = _PREFIX + hashlib.sha256(os.fsencode(state_dir.resolve())).hexdigest()[:16]
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    held.bind(f"\0{own}/{secrets.token_hex(8)}")
    # Looked for after that: of two that begin at once, one at least sees the other.
    if any(name.rpartition("/")[0] != own for name in _names()):
        held.close()
        raise ports_failure(
            "Another Floe has guests in this network already, and both would remove each other's devices: stop that"
            " one, or run this one with --sandbox."
        )
    return held.detach()


def _names() -> set[str]:
    listed = (line.split()[-1] for line in _LISTED.read_text().splitlines()[1:])
    return {name.removeprefix("@") for name in listed if name.startswith(f"@{_PREFIX}")}
