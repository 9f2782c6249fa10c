"""What a state directory says of the process that holds it: the name of its host, and the place that it runs at."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from floe.core.errors import Invalid


def known_name(state: Path, wanted: str) -> str:
    """Return the name that this machine was known by at its first start, or would be: the one wanted, or its own."""
    with contextlib.suppress(FileNotFoundError):
        return _name_file(state).read_text().strip()
    return wanted or socket.gethostname()


def host_name(state: Path, wanted: str) -> str:
    """Return the name of this host: the same for ever, whatever becomes of the machine's own name.

    A host that came back under another name would look like a new one, and its guests like foreign ones. Raises
    Invalid when another one is wanted.
    """
    known = known_name(state, wanted)
    if wanted and wanted != known:
        raise Invalid(
            f"This state directory belongs to host {known!r}, not to {wanted!r}: its guests are known by that name."
        )
    file = _name_file(state)
    if not file.exists():
        file.parent.mkdir(mode=0o711, exist_ok=True)
        file.write_text(known + "\n")
    return known


def place(state: Path) -> str:
    """Return the name of the place that this state directory is, made at its first use.

    Call it while the directory is held, which one process at a time can: whoever else ran at this place is dead then.
    """
    file = state / "place"
    with contextlib.suppress(FileNotFoundError):
        if found := file.read_text().strip():
            return found
    made = secrets.token_hex(8)
    file.touch(mode=0o600)
    file.write_text(made + "\n")
    return made


@contextlib.contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """Do what several processes of this machine may begin at once, one after the other; a dead one holds up nobody."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _name_file(state: Path) -> Path:
    return state / "hosts" / "name"
