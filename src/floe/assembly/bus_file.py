"""The file of who may connect to the bus, kept as the database has it: hosts that joined, and a list of all others.

It is looked at again and again, so that nothing which cuts off a redemption, a removal or this process leaves a host
that is not let in, or one that still is. Any number of processes may keep one file.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from floe import programs
from floe.assembly.process import Part
from floe.bus import permissions
from floe.bus.permissions import Member
from floe.bus.server_file import read_list, write_whole
from floe.cloud import host_keys
from floe.cloud.cloud import Cloud
from floe.core.counters import Count
from floe.core.errors import FloeError, Invalid, Unavailable
from floe.core.health import OK
from floe.pools import alone
from floe.settings import Settings

log = logging.getLogger(__name__)

FAILED = Count("floe_bus_file_failures", "Times that the file of who may connect to the bus could not be kept")
_LOOK = 1.0
"""Seconds between two looks whether anything changed."""
_AGAIN = 2.0
"""Seconds after which what could not be done is tried again."""
_RELOAD_SECONDS = 30.0
_MOST_NAMED = 5


class _Mark(msgspec.Struct, frozen=True):
    """What the file was made of, how often keys changed and which list it was, and how it was left."""

    generation: int
    listed: tuple[int, int]
    left: tuple[int, int] | None


def parts_of(cloud: Cloud, settings: Settings) -> list[Part]:
    """Return what keeps the file that the settings name, nothing where they name none."""
    if not settings.bus_config:
        return []
    return [
        BusFile(
            cloud,
            listed=Path(settings.bus_members).absolute(),
            file=Path(settings.bus_config).absolute(),
            reload=settings.reload_command(),
        )
    ]


class BusFile:
    """Keeps `file`, made of a list and of the hosts that joined; `reload` is run after each change."""

    def __init__(
        self,
        cloud: Cloud,
        *,
        listed: Path,
        file: Path,
        reload: Sequence[str],
        look: float = _LOOK,
        again: float = _AGAIN,
    ) -> None:
        self._cloud, self._listed, self._file, self._reload = cloud, listed, file, reload
        self._every, self._again = look, again
        self._made: _Mark | None = None
        self._taken = False
        """Whether the server was told since the file changed; whether the last process came to that nobody knows."""
        self._clash, self._failure = "", ""
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bring the file up to date, and keep it so. What is amiss with it, `parts` says."""
        self._made, self._taken = None, False
        await self._look()
        self._keeping = asyncio.get_running_loop().create_task(self._keep(), name="bus-file")

    async def stop(self) -> None:
        """Leave the file as it is."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    async def parts(self) -> dict[str, str]:
        """Say whether the bus's server lets in whom it should; the cloud that is there goes on if it does not."""
        said = self._failure or self._clash
        return {"bus_config": f"{OK}: {said}" if said else OK}

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._again if self._failure else self._every)
            await self._look()

    async def _look(self) -> None:
        failure = ""
        try:
            await self._once()
        except Unavailable:  # which the database says itself
            return
        except FloeError as error:
            failure = error.message
        except Exception as error:
            log.exception("the file of who may connect to the bus was not kept; it is tried again")
            failure = f"{type(error).__name__}: {error}"
        if failure:
            self._cloud.counters.add(FAILED)
        if failure and failure != self._failure:
            log.warning("bus_config: %s", failure)
        self._failure = failure

    async def _once(self) -> None:
        mark = await self._mark()
        if mark == self._made and self._taken:
            return
        joined = [
            Member(key=key.public_key, part=permissions.Part.HOST, name=key.host)
            for key in await host_keys.bound(self._cloud)
        ]
        changed, clashes = await alone(self._write, joined)
        self._say(clashes)
        self._taken = self._taken and not changed
        if not self._taken and self._reload:
            await self._tell()
        self._made, self._taken = replace(mark, left=_stamp(self._file)), True

    def _say(self, clashes: Sequence[str]) -> None:
        more = f" and {len(clashes) - _MOST_NAMED} more" if len(clashes) > _MOST_NAMED else ""
        clash = (
            f"{', '.join(clashes[:_MOST_NAMED])}{more} joined, but {self._listed} has another key for that name, or "
            "the key for the control plane, and counts; take the line out that is out of date"
        )
        if clashes and clash != self._clash:
            log.warning("bus_config: %s", clash)
        self._clash = clash if clashes else ""

    async def _mark(self) -> _Mark:
        generation = await host_keys.generation(self._cloud)
        try:
            listed = _stamp(self._listed)
        except OSError as error:
            raise Invalid(f"bus_members is {str(self._listed)!r}, which cannot be read: {error.strerror}") from error
        with contextlib.suppress(OSError):
            return _Mark(generation, listed, _stamp(self._file))
        return _Mark(generation, listed, None)

    def _write(self, joined: Sequence[Member]) -> tuple[bool, list[str]]:
        """Write the file if it is another one. Return whether it was, and the names whose key the list contradicts."""
        listed, amiss = permissions.joined_by(permissions.members(read_list(self._listed)), joined)
        if not any(member.part is permissions.Part.CONTROL for member in listed):
            raise Invalid(f"{self._listed} has no line `KEY control NAME`: the bus would let in hosts alone.")
        text = permissions.server_file(listed)
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if self._file.read_text(encoding="utf-8") == text:
                return False, amiss
        write_whole(self._file, text)
        log.info("%s lets in %d that are listed or joined", self._file, len(listed))
        return True, amiss

    async def _tell(self) -> None:
        said = " ".join(self._reload)
        try:
            ended = await programs.run(self._reload, seconds=_RELOAD_SECONDS)
        except (OSError, TimeoutError) as error:
            raise Invalid(f"bus_reload failed: {said}: {error or f'it took {_RELOAD_SECONDS:g} s'}") from error
        if ended.code:
            words = (ended.err or ended.out).decode("utf-8", "replace").strip()[-300:]
            raise Invalid(f"bus_reload failed: {said}: status {ended.code}: {words}")


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
