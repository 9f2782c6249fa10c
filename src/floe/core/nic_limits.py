"""How much the NICs of a guest may send and receive, as its flavor's extra specs `quota:vif_*` say. Pure.

Units and rules are those of libvirt's `<bandwidth>`, which other clouds hand these numbers to.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from floe.core.errors import Invalid

NIC_LIMITS_TRAIT = "CUSTOM_NIC_LIMITS"
"""Of hosts that can limit NICs; no trait that all clouds know says so."""
WAYS, RATES = ("inbound", "outbound"), ("average", "peak", "burst")
_MOST = (10_000_000, 10_000_000, 4_000_000)
"""Of each: 80 Gbit/s, and 4 GB. The kernel counts a bucket of both in nanoseconds, in 64 bits."""
_NAMES = frozenset(f"quota:vif_{way}_{rate}" for way in WAYS for rate in RATES)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of one way: kilobytes (1000) per second; of `burst` KiB (1024) at once, 0 where nobody says."""

    average: int
    peak: int = 0
    """At which a burst goes at most; 0 as fast as it can."""
    burst: int = 0


class NicLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What each NIC of a guest may receive (`inbound`) and send; None is all that it can."""

    inbound: Rate | None = None
    outbound: Rate | None = None

    def __str__(self) -> str:
        ways = (("receives", self.inbound), ("sends", self.outbound))
        return " and ".join(f"{what} {rate.average} kB/s at most" for what, rate in ways if rate is not None)


def limits_of(specs: Mapping[str, str]) -> NicLimits | None:
    """Return the limits of a guest's NICs, None where there are none. Raises Invalid for what does not go together."""
    if _NAMES.isdisjoint(specs):
        return None
    inbound, outbound = (_rate(specs, way) for way in WAYS)
    return None if inbound is outbound is None else NicLimits(inbound=inbound, outbound=outbound)


def _rate(specs: Mapping[str, str], way: str) -> Rate | None:
    name = f"quota:vif_{way}_"
    average, peak, burst = (int(specs.get(name + rate) or 0) for rate in RATES)
    if not average and (peak or burst):
        raise Invalid(f"Extra spec {name}{'peak' if peak else 'burst'} means nothing without {name}average.")
    if peak and peak < average:
        raise Invalid(f"Extra spec {name}peak ({peak}) must not be less than {name}average ({average}).")
    for rate, amount, most in zip(RATES, (average, peak, burst), _MOST, strict=True):
        if amount > most:
            raise Invalid(f"The most that an extra spec {name}{rate} may be is {most}.")
    return Rate(average=average, peak=peak, burst=burst) if average else None
