"""The server: the user's VM, its states, and what a create asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from floe.core.disks import Disk
from floe.core.guests import MadeOf, PowerState, guest_name
from floe.core.nics import PlannedNic
from floe.core.server_rescue import Rescue

# vm_state: what it is; task_state: what is being done with it.
BUILDING, ACTIVE, STOPPED, ERROR, DELETED = "building", "active", "stopped", "error", "deleted"
PAUSED, SUSPENDED, RESCUED, SOFT_DELETED = "paused", "suspended", "rescued", "soft-delete"
RESIZED, SHELVED, SHELVED_OFFLOADED = "resized", "shelved", "shelved_offloaded"
SCHEDULING, NETWORKING, SPAWNING, DELETING = "scheduling", "networking", "spawning", "deleting"
POWERING_ON, POWERING_OFF, REBOOTING, REBOOTING_HARD = "powering-on", "powering-off", "rebooting", "rebooting_hard"
PAUSING, UNPAUSING, SUSPENDING, RESUMING = "pausing", "unpausing", "suspending", "resuming"
REBUILDING, RESCUING, UNRESCUING = "rebuilding", "rescuing", "unrescuing"
SOFT_DELETING, RESTORING = "soft-deleting", "restoring"
RESIZE_PREP, RESIZE_MIGRATING, RESIZE_FINISH = "resize_prep", "resize_migrating", "resize_finish"
RESIZE_CONFIRMING, RESIZE_REVERTING = "resize_confirming", "resize_reverting"
IMAGE_SNAPSHOT, IMAGE_BACKUP, IMAGE_UPLOADING = "image_snapshot", "image_backup", "image_uploading"
SHELVING, SHELVING_IMAGE_PENDING, SHELVING_IMAGE_UPLOADING = (
    "shelving",
    "shelving_image_pending_upload",
    "shelving_image_uploading",
)
SHELVING_OFFLOADING, UNSHELVING = "shelving_offloading", "unshelving"
TASK_STATES = (
    *(SCHEDULING, NETWORKING, SPAWNING, DELETING, POWERING_ON, POWERING_OFF, REBOOTING, REBOOTING_HARD),
    *(PAUSING, UNPAUSING, SUSPENDING, RESUMING, REBUILDING, IMAGE_SNAPSHOT, IMAGE_BACKUP, IMAGE_UPLOADING),
    *(RESCUING, UNRESCUING, SOFT_DELETING, RESTORING),
    *(SHELVING, SHELVING_IMAGE_PENDING, SHELVING_IMAGE_UPLOADING, SHELVING_OFFLOADING, UNSHELVING),
    *(RESIZE_PREP, RESIZE_MIGRATING, RESIZE_FINISH, RESIZE_CONFIRMING, RESIZE_REVERTING),
)
"""What may be being done with a server."""


class ServerFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a server is in ERROR: a text its user can act on, and details for administrators alone."""

    code: int
    message: str
    details: str = ""
    created_at: datetime


class ServerFlavor(msgspec.Struct, frozen=True, gc=False):
    """The flavor as it was when the server was made; later changes of the flavor do not reach the server."""

    flavor_id: str
    name: str
    vcpus: int
    memory_mib: int
    root_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    rxtx_factor: float = 1.0
    description: str | None = None
    disabled: bool = False
    public: bool = True
    extra_specs: Mapping[str, str] = msgspec.field(default_factory=dict)


class Former(msgspec.Struct, frozen=True, kw_only=True):
    """What a server was before it was resized, since `at`: all that a revert brings back. Its `host` keeps the disks.

    "" is the host that it is on, as of what an earlier release resized.
    """

    flavor: ServerFlavor
    disks: tuple[Disk, ...]
    vm_state: str
    disk_config: str
    root_device: str
    at: datetime
    host: str = ""
    made_of: MadeOf | None = None


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server as the database holds it."""

    id: str
    number: int
    """Small and unique; makes the guest's name `instance-0000002a`."""
    project_id: str
    user_id: str
    name: str
    description: str | None = None
    hostname: str
    vm_state: str
    task_state: str | None = None
    power_state: PowerState = PowerState.NOSTATE
    host: str | None = None
    requested_zone: str | None = None
    requested_host: str | None = None
    reservation_id: str
    launch_index: int = 0
    flavor: ServerFlavor
    image_id: str | None = None
    image_properties: Mapping[str, str] = msgspec.field(default_factory=dict)
    key_name: str | None = None
    keys: tuple[tuple[str, str, str], ...] = ()
    """The user's keys as given to the guest: name, type, public key."""
    user_data: str | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    config_drive: bool = False
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    security_groups: tuple[str, ...] = ()
    """Names of the groups that its ports were planned to be in (shown while no port exists)."""
    networks: tuple[PlannedNic, ...] = ()
    """Its NICs as they were planned; where a NIC is now, its port says."""
    scheduler_hints: Mapping[str, Any] = msgspec.field(default_factory=dict)
    group_id: str | None = None
    disk_config: str = "MANUAL"
    locked: bool = False
    locked_reason: str | None = None
    locked_by: str | None = None
    """`owner`, or `admin`: then only an administrator may unlock it."""
    root_device: str = "/dev/vda"
    trusted_certificates: tuple[str, ...] | None = None
    """Ids of certificates, one of which all that it boots has to be signed under; None: any that the cloud has."""
    made_of: MadeOf | None = None
    """What it was rebuilt from last; None: what its create says."""
    rescue: Rescue | None = None
    """What its guest boots from instead; in ERROR, what it may boot from."""
    former: Former | None = None
    """What it goes back to, while its resize is neither confirmed nor reverted."""
    boots: int = 1
    """The latest boot of its guest that was asked for: a number that grows, see `core.power.Wanted`."""
    guest_generation: int = 0
    """The latest wish what its guest should be: a number that grows, likewise."""
    password: str | None = None
    """What its guest posted, see `core.guest_passwords`."""
    password_turn: int = 0
    reclaim_at: datetime | None = None
    """When it is deleted for good, once it is soft-deleted."""
    power_before: int | None = None
    """What its guest was doing when it was soft-deleted last."""
    quota_owner: str | None = None
    """Whom it is counted for besides its project: its user, if that has limits of their own."""
    fault: ServerFault | None = None
    created_at: datetime
    updated_at: datetime | None = None
    launched_at: datetime | None = None
    terminated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def left(self) -> str:
        """The host that it moved from, which keeps what it was until that is confirmed or reverted; "" if none does."""
        host = "" if self.former is None else self.former.host
        return "" if host == self.host else host

    @property
    def unplaced(self) -> bool:
        """Whether it is being built and has had no host yet."""
        return self.vm_state == BUILDING and self.task_state == SCHEDULING and self.host is None

    def overdue(self, now: datetime) -> bool:
        """Whether its time to be restored is over, and nothing is being done with it."""
        return self.task_state is None and self.reclaim_at is not None and self.reclaim_at <= now

    @property
    def guest_name(self) -> str:
        """The name its guest goes by on a host."""
        return guest_name(self.number)
