"""Keeps what a conductor has in hand its own: one write for all leases that are due, however many there are."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from floe.conductor.flow import Flow
from floe.conductor.stops import Fenced, Interrupted
from floe.core.clock import Clock
from floe.core.errors import Unavailable
from floe.store import leases
from floe.store.engine import Isolation, Transactions

log = logging.getLogger(__name__)

OVER = 1 / 4
"""How much of a lease is over when it is renewed, or an eighth more (see `ConductorSettings.renew`): a conductor may
stand still for more than half of the time before another one takes over what it has in hand."""


class Renewal:
    """Renews the leases of an owner, which are for so many seconds each."""

    def __init__(self, db: Transactions, clock: Clock, *, owner: str, lease: float) -> None:
        self._db, self._clock, self._owner, self._lease = db, clock, owner, timedelta(seconds=lease)

    async def renew(self, flows: Iterable[Flow]) -> None:
        """Renew the leases of those flows that are due. Whoever lost one finds that when it writes."""
        begun, now = self._clock.monotonic(), self._clock.now()
        late = begun - self._lease.total_seconds() * OVER
        due = {flow.action.id: flow for flow in flows if flow.held and not flow.closed and flow.renewed_at <= late}
        for flow in [flow for flow in due.values() if flow.journal.is_behind]:
            del due[flow.action.id]
            try:
                await flow.renew()  # which writes what its user is to see while it takes so long
            except (Fenced, Interrupted):
                log.info("action %s is not ours any more", flow.action.id)
        if not due:
            return
        keep = partial(leases.keep, owner=self._owner, ids=sorted(due), now=now, until=now + self._lease)
        try:
            kept = await self._db.write(keep, Isolation.READ_COMMITTED)
        except Unavailable as error:
            log.warning("%d leases could not be renewed: %s", len(due), error.message)
            return
        for ident, attempt in kept.items():
            flow = due[ident]
            if flow.attempt == attempt and begun > flow.renewed_at:  # else it was written to meanwhile
                flow.renewed_at, flow.leased_at = begun, now
