"""Availability zones and hosts as a create may name them."""

from __future__ import annotations

from datetime import datetime

from floe.core.errors import Invalid
from floe.store import places as rows
from floe.store.engine import Connection


def check(conn: Connection, default_zone: str, now: datetime, *, zone: str | None, host: str | None) -> None:
    """Raise Invalid for an availability zone or a host that does not exist, or a host that is in another zone.

    The default zone exists though no host is in it.
    """
    if zone is not None:
        zones = rows.zones(conn) | {default_zone}
        if zone not in zones:
            raise Invalid(
                f"The requested availability zone is not available: availability_zone {zone!r} is none of "
                f"{', '.join(sorted(zones))}."
            )
    if host is not None:
        place = rows.get(conn, host, now)
        if place is None:
            raise Invalid(f"Compute host {host!r} could not be found.")
        if zone is not None and zone != place.zone:
            raise Invalid(f"Compute host {host!r} is in availability zone {place.zone!r}, not in {zone!r}.")
