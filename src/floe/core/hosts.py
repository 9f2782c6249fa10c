"""Hosts: the machines that run guests, what each has to offer, and when one counts as up."""

from __future__ import annotations

import functools
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from floe.core.resources import Inventory, Resources

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
"""The resource classes that hosts offer and servers take, in the order of every column of amounts."""

DOWN_AFTER = timedelta(seconds=60)
"""A host not heard of for this long is down. Its row is written every 15 s at most, so that idle costs little."""

HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""What an operator may name a host."""

_MANY = 16_384
"""Names whose UUIDs are kept: to make one takes longer than all else of a host in a list."""
_NAMESPACE = uuid.UUID("6b7f0a50-7c54-5d5c-9a0e-3f2d5a9b1c77")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host as the database holds it. `generation` counts every change of what it has or what is taken of it."""

    name: str
    number: int = 0
    hypervisor_type: str = ""
    hypervisor_version: int = 0
    inventories: tuple[Inventory, ...] = ()
    traits: tuple[str, ...] = ()
    cpu_info: Mapping[str, str] = msgspec.field(default_factory=dict)
    address: str = "127.0.0.1"
    availability_zone: str = "nova"
    """The zone that it names itself, which holds where its aggregates name none; see `zone`."""
    aggregates: tuple[int, ...] = ()
    aggregate_zone: str | None = None
    enabled: bool = True
    disabled_reason: str | None = None
    forced_down: bool = False
    connected: bool = True
    """False once it said itself that it stops."""
    used: Resources = Resources()
    generation: int = 0
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    last_seen: datetime

    @property
    def id(self) -> str:
        """Its UUID, made from its name, so that it is the same for ever."""
        return host_id(self.name)

    @property
    def zone(self) -> str:
        """The availability zone that it is in."""
        return self.aggregate_zone or self.availability_zone

    @property
    def seen(self) -> HostSeen:
        """It, as one that it is chosen as."""
        return HostSeen(self.name, self.zone, self.aggregates, self.started_at)

    def inventory(self, resource_class: str) -> Inventory:
        """Return what it offers of one class; an inventory of nothing when it offers none."""
        for inventory in self.inventories:
            if inventory.resource_class == resource_class:
                return inventory
        return Inventory(resource_class=resource_class, total=0)

    def is_up(self, now: datetime) -> bool:
        """Say whether it counts as up."""
        return self.connected and not self.forced_down and now - self.last_seen < DOWN_AFTER


class HostSeen(msgspec.Struct, frozen=True):
    """A host as it was when it was chosen: what a claim has to find still, beside the amounts that it counts itself."""

    name: str
    zone: str
    aggregates: tuple[int, ...]
    started_at: datetime
    """All that a host says of itself it says as it starts: traits, architecture, the most that one server may take."""


RUNNING = "running"
"""The purpose of what a server takes of the host on which its guest is, or is to be."""
FORMER = "former"
"""That of what it took before it was resized, and goes back to if that is reverted."""


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """What one server takes of one host for one purpose; of a host it may take something for several."""

    server_id: str
    host: str
    purpose: str = RUNNING
    project_id: str
    user_id: str
    resources: Resources
    group_id: str | None = None
    created_at: datetime


@functools.lru_cache(maxsize=_MANY)
def host_id(name: str) -> str:
    """Return the UUID of a host of that name."""
    return str(uuid.uuid5(_NAMESPACE, name))


@functools.lru_cache(maxsize=_MANY)
def service_id(name: str, role: str = "") -> str:
    """Return the UUID of the service that the agent of a host is on the compute API, or another role there."""
    return str(uuid.uuid5(_NAMESPACE, f"service {role}{' on ' if role else ''}{name}"))
