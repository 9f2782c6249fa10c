"""The host's network state brought into the data plane: many changes in one apply, a bad port alone in its failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from floe.core.errors import HostFailure
from floe.core.host_network import HostNetwork
from floe.dataplane.protocol import DataPlane, PortsFailure

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """Ports that somebody waits for; none where he waits for the network as the state now has it."""

    ports: frozenset[str]
    done: asyncio.Future[None]


class Ports:
    """Applies the network to the plane; who comes while an apply runs is served by the next, together.

    `after_apply` follows each apply: where metadata is asked for may have changed.
    """

    def __init__(
        self,
        wanted: Callable[[], HostNetwork],
        plane: DataPlane,
        after_apply: Callable[[], Awaitable[None]],
    ) -> None:
        self._wanted = wanted
        self._plane = plane
        self._after_apply = after_apply
        self._changes: list[_Change] = []
        self._worker: asyncio.Task[None] | None = None
        self._rounds = 0

    async def plug(self, port_ids: frozenset[str] = frozenset()) -> None:
        """Wait until the plane has these ports, and has let go of those that the state no longer has.

        Raises HostFailure (stage ports). That other ports of the host cannot be made is not the caller's failure.
        """
        loop = asyncio.get_running_loop()
        change = _Change(ports=port_ids, done=loop.create_future())
        self._changes.append(change)
        if self._worker is None:
            self._worker = loop.create_task(self._work(), name="apply-network")
        await change.done

    async def drift(self) -> tuple[HostNetwork, list[str]]:
        """Return what should be and how the plane differs from it; nothing that is being changed meanwhile."""
        wanted, rounds = self._wanted(), self._rounds
        if self._worker is not None:
            return wanted, []
        found = await self._plane.drift(wanted)
        still = self._worker is None and self._rounds == rounds and self._wanted() == wanted
        return wanted, found if still else []

    async def close(self) -> None:
        """Stop applying; who still waits is cancelled."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _work(self) -> None:
        batch: list[_Change] = []
        try:
            while self._changes:
                batch, self._changes = self._changes, []
                await self._apply(batch)
        finally:
            self._worker = None
            for change in (*batch, *self._changes):
                if not change.done.done():
                    change.done.cancel()
            self._changes = []

    async def _apply(self, batch: list[_Change]) -> None:
        self._rounds += 1
        refused: dict[str, str] = {}
        failure: HostFailure | None = None
        wanted = self._wanted()
        known = {port.port_id for port in wanted.ports}
        try:
            await self._plane.apply(wanted)
        except PortsFailure as partial:
            refused = partial.ports
            log.warning("the host's network is in place but for a part: %s", partial.detail or partial.message)
        except HostFailure as error:
            failure = error
        except Exception as error:
            log.error("the data plane failed unexpectedly", exc_info=error)
            failure = HostFailure("The host's network could not be set up.", stage="ports", detail=repr(error))
        try:
            await self._after_apply()
        except Exception as error:
            log.error("metadata cannot follow the network", exc_info=error)
        for change in batch:
            bad = sorted(change.ports & refused.keys())
            lost = sorted(change.ports - known)
            if change.done.done():
                continue
            if failure is not None:
                change.done.set_exception(
                    HostFailure(failure.message, stage=failure.stage or "ports", detail=failure.detail)
                )
            elif bad:
                text = f"Port {bad[0]} could not be set up: {refused[bad[0]]}"
                change.done.set_exception(HostFailure(text, stage="ports", detail=text))
            elif lost:
                text = f"Port {lost[0]} was taken away from this host meanwhile."
                change.done.set_exception(HostFailure(text, stage="ports", detail=text))
            else:
                change.done.set_result(None)
