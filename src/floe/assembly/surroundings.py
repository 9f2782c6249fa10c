"""What every process has around it, whatever its roles: time, bus, disk, counts. Nothing of it knows the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from time import monotonic

import msgspec

from floe.bus.protocol import Bus
from floe.core.counters import Counters
from floe.core.errors import Invalid
from floe.disk import DiskRoom
from floe.settings import Settings


class MachineClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return monotonic()


async def at_once() -> None:
    """Connect a bus that needs no connecting."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process has around it, as its settings say."""

    settings: Settings
    bus: Bus
    room: DiskRoom
    open_bus: Callable[[], Awaitable[None]] = at_once
    """Connects the bus; raises Unavailable while nobody is there."""
    counters: Counters = msgspec.field(default_factory=Counters)
    clock: MachineClock = msgspec.field(default_factory=MachineClock)


def whole(settings: Settings, bus: Bus) -> Surroundings:
    """Return those of a process that has all roles, and its bus within it."""
    return Surroundings(settings=settings, bus=bus, room=_room(settings))


def shared(settings: Settings, name: str) -> Surroundings:
    """Return those of a process that others do the rest of, known to them by a name.

    Raises Invalid without a bus that they can share.
    """
    if not settings.bus:
        raise Invalid(
            "bus is not set: roles in processes of their own need a bus that they share, like "
            'bus = "nats://127.0.0.1:4222"; `floe up` needs none.'
        )
    if not find_spec("nats"):
        raise Invalid("the bus needs its client for Python: pip install 'floe-cloud[nats]'.")
    from floe.bus.address import NatsAddress  # a second of CPU, which nobody pays who has no use for it
    from floe.bus.nats import NatsBus

    address = NatsAddress(
        servers=settings.bus_servers(),
        seed=text_of("bus_key", settings.bus_key),
        ca_file=Path(settings.bus_ca) if text_of("bus_ca", settings.bus_ca) else None,
    )
    counters = Counters()
    bus = NatsBus(address, name, counters=counters)
    return Surroundings(settings=settings, bus=bus, room=_room(settings), open_bus=bus.open, counters=counters)


def _room(settings: Settings) -> DiskRoom:
    reserve = settings.disk_reserve_mib
    return DiskRoom(settings.state, None if reserve < 0 else reserve * 2**20)


def text_of(setting: str, file: str) -> str:
    """Return what is in a file that a setting names, nothing where it names none. Raises Invalid."""
    if not file:
        return ""
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"{setting} is {file!r}, which cannot be read: {error}.") from error
