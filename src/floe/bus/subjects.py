"""The subjects that messages travel under between machines: pure.

    floe.do.HOST            commands to a host
    _R.HOST.ASKER.NUMBER    the answer to one of them
    floe.all.HOST           what a host tells everybody
    floe.one.HOST           what a host tells one of many
    floe.all, floe.one      the same, from the control plane
    floe.part.HOST          all but the last part of what one of many is told, if that is large: all of them keep it
    floe.here.HOST          that a host takes commands from now on, or no more

The host's name stands in each subject that it speaks under, so that the server can keep it from speaking for another.
"""

from __future__ import annotations

import hashlib
import re

from floe.core.errors import Invalid
from floe.core.messages import Event, ForAll

TAKERS = "takers"
"""The queue group of those who share what is for one."""

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_MOST = 128
"""Characters of a token; the server takes lines of 4 KiB, with two of them and more."""


def token(name: str) -> str:
    """Return what stands for a name in a subject: another for each name, without what has a meaning there.

    What is not a letter, a digit, `_` or `-` is written as in URLs; names that get too long so, as their digest.
    Raises Invalid for no name at all.
    """
    if _PLAIN.fullmatch(name) and len(name) <= _MOST:
        return name
    if not name:
        raise Invalid("A name on the bus is empty; every host and every process needs one.")
    data = name.encode(errors="surrogatepass")
    made = "".join(chr(byte) if _PLAIN.fullmatch(chr(byte)) else f"%{byte:02X}" for byte in data)
    return made if len(made) <= _MOST else f"%-{hashlib.sha256(data).hexdigest()}"


def commands(host: str) -> str:
    """Return the subject of the commands to a host."""
    return f"floe.do.{token(host)}"


def event(said: Event) -> str:
    """Return the subject that an event is told under."""
    kind = "all" if isinstance(said, ForAll) else "one"
    host: str | None = getattr(said, "host", None)
    return f"floe.{kind}" if host is None else f"floe.{kind}.{token(host)}"


def part(said: Event) -> str:
    """Return the subject of all but the last part of an event for one."""
    return event(said).replace("one", "part", 1)


def here(host: str) -> str:
    """Return the subject under which a host says whether it takes commands."""
    return f"floe.here.{token(host)}"


def speaker(subject: str) -> str:
    """Return the token of the host that a subject belongs to, an empty one for the control plane's."""
    return subject.split(".")[2] if subject.count(".") > 1 else ""


def answers(asker: str) -> str:
    """Return the pattern of the subjects that an asker is answered under; `asker` is a token."""
    return f"_R.*.{asker}.*"


def answer(host: str, asker: str, number: int) -> str:
    """Return the subject of the answer to one command."""
    return f"_R.{token(host)}.{asker}.{number}"


FOR_ALL = ("floe.all", "floe.all.*")
FOR_ONE = ("floe.one", "floe.one.*")
PARTS = ("floe.part", "floe.part.*")
HERE = "floe.here.*"
