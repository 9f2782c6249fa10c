"""Networks, and the ways in which the network surface refuses that compute does not know."""

from __future__ import annotations

import re
import zlib
from datetime import datetime

import msgspec

from floe.core.errors import Conflict, Invalid, Outdated

MIN_MTU = 68
"""The least an IPv4 link may carry (RFC 791)."""
MAX_TAG = 65535
"""A tag is a VNI (24 bits) and a conntrack zone (16 bits)."""


OVERLAY, FLAT = "vxlan", "flat"
"""How a network is made: of tunnels between the hosts, told apart by its tag; or it is a physical one, as it is."""


PUBLIC = "public"
"""The external network of the first start, and the physical network that it is."""


class NoAddress(Conflict):
    """The subnets of a network have no free address."""

    kind = "no_address"


class NoRoom(Conflict):
    """The project's network quota has no room; the network surface calls that a conflict."""

    kind = "over_quota"


class Network(msgspec.Struct, frozen=True, gc=False):
    """A network as the database holds it. `mtu` is in bytes."""

    id: str
    project_id: str
    mtu: int
    tag: int
    created_at: datetime
    updated_at: datetime
    name: str = ""
    description: str = ""
    up: bool = True
    shared: bool = False
    port_security: bool = True
    """What new ports of the network get."""
    external: bool = False
    """It leads out of the cloud: routers have their gateways on it, and floating IPs are of it."""
    default: bool = False
    """The external network that is taken where none is named."""
    kind: str = OVERLAY
    physical: str | None = None
    """What a host calls the physical network that this one is; no other network is the same one."""
    dns_domain: str = ""
    """Of the names on it, with a dot at its end; "" is the cloud's."""
    tags: tuple[str, ...] = ()
    revision: int = 0
    subnet_ids: tuple[str, ...] = ()


def checked_mtu(mtu: int | None, largest: int) -> int:
    """Return the MTU asked for, the largest when none (or 0, Neutron's word for none) was. Raises Invalid."""
    if not mtu:
        return largest
    if not MIN_MTU <= mtu <= largest:
        raise Invalid(f"Invalid input for mtu: {mtu} must be between {MIN_MTU} and {largest}.")
    return mtu


def checked_kind(kind: str | None, tag: int | None, physical: str | None) -> tuple[str, int | None, str | None]:
    """Return how an administrator asks for a network to be made: kind, tag if any, physical network. Raises Invalid."""
    if kind is None:
        if tag is not None or physical is not None:
            raise Invalid("Invalid input for provider:network_type: it is required beside the other provider fields.")
        return OVERLAY, None, None
    if kind == FLAT:
        if not physical:
            raise Invalid(f"Invalid input for provider:physical_network: a network of type {FLAT} needs one.")
        if tag is not None:
            raise Invalid(f"Invalid input for provider:segmentation_id: a network of type {FLAT} has none.")
        return FLAT, None, physical
    if kind != OVERLAY:
        raise Invalid(
            f"Invalid input for provider:network_type: {kind!r} is not supported; {OVERLAY!r} and {FLAT!r} are."
        )
    if physical is not None:
        raise Invalid(f"Invalid input for provider:physical_network: a network of type {OVERLAY} is on none.")
    if tag is not None and not 1 <= tag <= MAX_TAG:
        raise Invalid(f"Invalid input for provider:segmentation_id: {tag} must be between 1 and {MAX_TAG}.")
    return OVERLAY, tag, None


def unchanged_since(revision: int, seen: int | None) -> None:
    """Raise Outdated if a thing is not at the revision that a caller has seen and relies on; None relies on none."""
    if seen is not None and seen != revision:
        raise Outdated(f"Constrained to {seen}, but current revision is {revision}.")


def first_tag(network_id: str) -> int:
    """Return where the search for a network's tag begins: spread, so that a deleted network's is not reused soon."""
    return 1 + zlib.crc32(network_id.encode()) % MAX_TAG


def plain_name(name: str) -> str:
    """Return a name that is safe in any file or rule of a host."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:63]
