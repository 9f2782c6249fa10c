"""Planted bugs of the bus between machines: what comes late, in parts, or to somebody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import structs

from floe.bus import subjects, wire
from floe.bus.envelope import Envelope, Word, frames
from floe.bus.lateness import HostClocks, Punctual
from floe.bus.parts import Parts
from floe.core.messages import Event
from floe.simulation.planting import Memory, Planted, patched, remembering

_refusal, _put, _until = Punctual.refusal, Parts.put, HostClocks.until


def _never_late(self: Punctual, asked: Envelope) -> Word | None:
    """Do what is asked, whenever it comes."""
    found = _refusal(self, asked)
    return None if found == Word.LATE else found


def _of_any_run(self: Punctual, asked: Envelope) -> Word | None:
    """Do what an earlier start of the agent was asked."""
    return _refusal(self, structs.replace(asked, run=self.run) if asked.run else asked)


_GENEROUS = 40.0


def _longer_than_it_waits(self: HostClocks, host: str, seconds: float) -> tuple[str, float]:
    """Give a host more time than one waits oneself."""
    return _until(self, host, seconds + _GENEROUS)


def _for_everybody(_host: str) -> str:
    """Tell all hosts what is for one."""
    return "floe.do.hosts"


def _of_any_message(self: Parts, source: str, part: Envelope) -> Envelope | None:
    """Put parts together by who sent them alone."""
    whole = _put(self, source, structs.replace(part, by="", number=0))
    return whole and structs.replace(whole, by=part.by, number=part.number)


def _as_they_come(memory: Memory) -> Any:
    """Put parts together in the order in which they come."""

    def put(self: Parts, source: str, part: Envelope) -> Envelope | None:
        came = memory.setdefault((id(self), source, part.by, part.number), (self, []))[1]
        if part.part[0] not in came:
            came.append(part.part[0])
        return _put(self, source, structs.replace(part, part=(came.index(part.part[0]), part.part[1])))

    return put


def _without_the_last(envelope: Envelope, most: int) -> Iterator[bytes]:
    """Send all parts but the last."""
    made = list(frames(envelope, most))
    yield from made[:-1] if len(made) > 1 else made


def _parts_for_one(said: Event) -> str:
    """Give each part of what is for one to somebody else."""
    return subjects.event(said)


BUS = (
    Planted(
        "deadline-ignored",
        "a host does what it is told when whoever asked has given up",
        patched((Punctual, "refusal", _never_late)),
        needs="very-late",
    ),
    Planted(
        "deadline-too-long",
        "a host is given more time to begin than whoever asks waits",
        patched((HostClocks, "until", _longer_than_it_waits)),
        needs="very-late",
    ),
    Planted(
        "commands-for-all",
        "each host does what any is told",
        patched((subjects, "commands", _for_everybody), (Punctual, "refusal", _of_any_run)),
    ),
    Planted("parts-mixed", "parts of two messages make one", patched((Parts, "put", _of_any_message))),
    Planted("parts-as-they-come", "parts are not put in order", remembering((Parts, "put", _as_they_come))),
    Planted("last-part-unsent", "of a large message the end is not sent", patched((wire, "frames", _without_the_last))),
    Planted(
        "parts-for-one",
        "the parts of a large event for one go to different programs",
        patched((subjects, "part", _parts_for_one)),
    ),
    Planted("one-taken-by-each", "nobody says that events for one are for one", patched((subjects, "TAKERS", ""))),
)
