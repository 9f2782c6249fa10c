"""What a hypervisor runs: all that a host must know of a server to make it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

import msgspec

from floe.core.disks import RESCUE, Disk
from floe.core.image_signatures import ImageProof
from floe.core.nics import Nic


def guest_name(number: int) -> str:
    """Return the name that the guest of a server has on a host."""
    return f"instance-{number:08x}"


class PowerState(IntEnum):
    """What a guest is doing, in the numbers of the compute API."""

    NOSTATE = 0
    RUNNING = 1
    PAUSED = 3
    SHUTDOWN = 4
    CRASHED = 6
    SUSPENDED = 7

    @property
    def off(self) -> bool:
        """Whether the guest does not run, nor could go on from where it was."""
        return self in (PowerState.NOSTATE, PowerState.SHUTDOWN, PowerState.CRASHED)


class GuestImage(msgspec.Struct, frozen=True, kw_only=True):
    """The image a guest's root disk starts from.

    `checksum` is the SHA-512 of the bytes, in hex; a host's copy that does not match is never used.
    `virtual_size` is in bytes. `properties` are the image's `hw_*`, `os_*` and the like.
    """

    image_id: str
    checksum: str
    size: int
    disk_format: str
    virtual_size: int
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)
    blob_id: str = ""
    """What a host fetches; "" is the blob of the image's own id."""
    sha512: str = ""
    """The checksum of an image that is signed. It has no other: what verifies no signatures refuses it for that."""
    proof: ImageProof | None = None
    """What its signature is checked by."""

    @property
    def blob(self) -> str:
        """The blob that holds the bytes."""
        return self.blob_id or self.image_id


class MadeOf(msgspec.Struct, frozen=True, kw_only=True):
    """The images that a guest is made of."""

    image: GuestImage
    kernel: GuestImage | None = None
    ramdisk: GuestImage | None = None


class GuestMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the guest may read about itself, from the metadata service or its config drive."""

    hostname: str
    name: str
    project_id: str
    availability_zone: str = "nova"
    launch_index: int = 0
    reservation_id: str = ""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    keys: tuple[tuple[str, str, str], ...] = ()
    """Of each key: name, type (`ssh`), public key."""
    user_data: str | None = None
    """As the user sent it: base64."""
    admin_password: str | None = None
    flavor_name: str = ""
    files: tuple[tuple[str, str], ...] = ()
    """Injected files: path and base64 content."""
    ramdisk_id: str | None = None
    kernel_id: str | None = None
    password: str | None = None
    """What the guest posted for its users to read, as `core.guest_passwords` says."""
    password_turn: int = 0
    leave_root: bool = False
    """Whether it is told to leave its root file system as its image has it."""


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """All that a guest is made of as a rule, while it is not."""

    disks: tuple[Disk, ...]
    kernel: GuestImage | None = None
    ramdisk: GuestImage | None = None


class GuestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One guest, complete; its memory is in MiB."""

    server_id: str
    name: str
    """The name the hypervisor shows, like `instance-0000002a`."""
    vcpus: int
    memory_mib: int
    disks: tuple[Disk, ...]
    """In the order of their names."""
    nics: tuple[Nic, ...] = ()
    """In the order in which the guest sees them."""
    image: GuestImage
    """What it boots from; its properties choose the hardware."""
    kernel: GuestImage | None = None
    ramdisk: GuestImage | None = None
    rescue: GuestImage | None = None
    """What its rescue disk stands on, which it boots from as long as it has one."""
    aside: Aside | None = None
    """What is kept meanwhile, be it given to the guest or not."""
    metadata: GuestMetadata
    extra_specs: Mapping[str, str] = msgspec.field(default_factory=dict)

    def image_of(self, disk: Disk) -> GuestImage:
        """Return the image that a disk stands on, of those that stand on one."""
        return self.image if disk.role != RESCUE or self.rescue is None else self.rescue

    @property
    def makes(self) -> frozenset[tuple[str, int]]:
        """Which make of which disks there are, given to it or not."""
        return frozenset((disk.role, disk.make) for disk in (*self.disks, *(self.aside.disks if self.aside else ())))


class GuestState(msgspec.Struct, frozen=True, kw_only=True):
    """A guest as a host finds it."""

    server_id: str
    power_state: PowerState
