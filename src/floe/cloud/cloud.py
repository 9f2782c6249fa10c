"""The collaborators that every function of `floe.cloud` may need, made once by `floe.assembly`."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import msgspec

from floe.blobs.protocol import Blobs
from floe.bus.protocol import Bus
from floe.cloud.own_actions import Leases, OwnActions
from floe.cloud.pools import Pools, make_pools
from floe.cloud.turns import Turns
from floe.core.actions import Action
from floe.core.clock import Clock
from floe.core.counters import Counters
from floe.core.ids import IdSource
from floe.core.messages import ActionWaits, NetworkChanged
from floe.store.engine import Transactions

_MOST_SEALED = 32 * 1024
"""Characters of an action's secrets that travel to its conductor; those of a create have the user's files in them."""


class CloudSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set about the cloud as a whole."""

    region: str = "RegionOne"
    public_url: str = "http://127.0.0.1:8774"
    """Where clients reach it, without a trailing slash; the catalogue is made from it."""
    availability_zone: str = "nova"
    dns_domain: str = "cloud.internal"
    token_seconds: int = 86400
    default_mtu: int = 1450
    max_image_bytes: int = 64 * 2**30
    max_virtual_bytes: int = 2 * 2**40
    external_range: IPv4Network = IPv4Network("172.24.4.0/24")
    """Of the external network that the first start makes."""
    upload_lease: float = 30.0
    """Seconds for which a process that shows no life is waited for with what it does with bytes of images."""
    login_attempts: int = 5
    """Wrong secrets of one user from one address before the next are slowed down; 0 never slows any."""
    login_delay: float = 30.0
    """Seconds that a further attempt waits at most."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Who is believed about where a request comes from."""
    history_days: float = 90.0
    """How long what is over is kept: deleted servers, closed actions and the like; 0 is for ever."""
    reclaim_instance_interval: float = 0.0
    """Seconds for which a deleted server can be restored; 0: it is gone at once."""
    resize_confirm_window: float = 0.0
    """Seconds after which a resize is confirmed that nobody confirmed or reverted; 0 is never."""
    shutdown_timeout: float = 60.0
    """Seconds that a guest has to shut down by itself, unless its image says otherwise."""
    shelved_offload_time: float = 0.0
    """Seconds after which a shelved server leaves its host; 0 is at once, -1 never."""
    host_bus: str = ""
    """Where machines that join find the bus; empty where that is within this process."""
    host_bus_ca: str = ""
    """Certificates that they know its server by, in PEM; empty where it speaks in clear, or is known to all."""
    host_images: str = ""
    """Which APIs they fetch images from."""
    image_certificates: Path | None = None
    """The folder of the certificates that signatures of images are checked by; None: there are none."""
    trusted_image_certificates: tuple[str, ...] = ()
    """Those that a server trusts which names none; none of them: it may be made of any image."""
    usage_days: float = 730.0
    """How long it is kept what servers used whose history is purged; 0 is for ever."""


class Cloud(msgspec.Struct, frozen=True, kw_only=True):
    """Database, bus, blobs, clock and dice; nothing here is global, so two clouds live in one process in peace."""

    db: Transactions
    bus: Bus
    blobs: Blobs
    clock: Clock
    new_id: IdSource
    settings: CloudSettings
    token_keys: Callable[[], list[bytes]]
    """The Fernet keys for tokens, the one that signs first."""
    image_actions: OwnActions | None = None
    """Who does what is begun here with bytes of images, in a process that has them."""
    leases: Leases | None = None
    """The conductor of this process, in whose name actions may be begun."""
    counters: Counters = msgspec.field(default_factory=Counters)
    """What happened how often, for `/metrics`."""
    pools: Pools = msgspec.field(default_factory=make_pools)
    """Threads for slow work."""
    turns: Turns = msgspec.field(default_factory=Turns)
    """For long work on the event loop, which is done in pieces."""
    caches: MutableMapping[str, Any] = msgspec.field(default_factory=dict)
    """In-memory caches of the process by name; each noun owns and types its own."""

    async def nudge(self, action_id: str) -> None:
        """Tell a conductor, after the commit, that an action waits; losing it only costs the sweep's delay."""
        await self.bus.publish(ActionWaits(action_id=action_id))

    async def hand_over(self, action: Action) -> None:
        """Do what `nudge` does with an action that was just inserted: its row goes with it, if that is not large."""
        small = len(action.sealed or "") <= _MOST_SEALED
        await self.bus.publish(ActionWaits(action_id=action.id, action=action if small else None))

    async def network_nudge(self, *, members: bool = False) -> None:
        """Tell a conductor, after the commit, that the network of some hosts is to be brought up to date.

        With `members`, it is about those of security groups alone: what else changed came with a command.
        """
        await self.bus.publish(NetworkChanged(members=members))
