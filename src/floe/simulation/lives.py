"""What users ask of servers that there are beyond their power: other disks, images, a rest, another day."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.simulation.copied import Copied
from floe.simulation.moved import Moved
from floe.simulation.put_off import PutOff
from floe.simulation.rebuilt import Rebuilt
from floe.simulation.rescued import Rescued
from floe.simulation.resized import Resized
from floe.simulation.routed import Args
from floe.simulation.shelved import Shelved
from floe.store.engine import Connection
from floe.store.memory import MemoryStore

Drop = Callable[[Cloud, str, int, str], Awaitable[None]]


class Lives:
    """Users of all of it; `made` are the servers that were made, each with its project, `drop` deletes one.

    `deletes` is told the id of a server before its delete is asked for.
    """

    def __init__(
        self,
        made: Sequence[tuple[int, str]],
        drop: Drop,
        deletes: Callable[[str], None],
        store: MemoryStore,
        accuse: Callable[[Violation], None],
    ) -> None:
        self._rebuilt, self._rescued, self._copied = Rebuilt(made, drop), Rescued(made, drop), Copied(made, drop)
        self._shelved, self._put_off = Shelved(made, drop), PutOff(made, drop, deletes)
        self._resized, self._moved = Resized(made, drop, store, accuse), Moved(made, drop)
        self.asks: Mapping[str, Callable[[Cloud, str, Args], Awaitable[None]]] = {
            "rebuild": self._rebuilt.ask,
            "rescue": self._rescued.ask,
            "copy": self._copied.ask,
            "shelve": self._shelved.ask,
            "put-off": self._put_off.ask,
            "resize": self._resized.ask,
            "move": self._moved.ask,
        }

    def committed(self) -> None:
        """Something was committed: see that what resizes keep is kept."""
        self._resized.committed()

    def check(self, conn: Connection) -> list[Violation]:
        """Compare what was asked for with the rows, when nothing is under way."""
        parts = (self._rebuilt, self._rescued, self._copied, self._shelved, self._put_off, self._resized)
        return [each for part in parts for each in part.check(conn)]
