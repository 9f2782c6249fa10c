"""What actions are given, beyond their subject's row: a type for each workflow, kept as JSON with the action.

Releases read what others wrote. A field that they do not know is not read; so one that comes later has a default, which
means what was done before there was one. A field that is renamed, or means something else, is a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from floe.core.disks import ROOT, Disk
from floe.core.guests import GuestImage
from floe.core.power import Wanted
from floe.core.server_rescue import Rescue


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What every workflow is given: nothing."""


class CreateGiven(Given, frozen=True, kw_only=True):
    """What a server is made of, and how many are made together: `least` of them, or none.

    `warning` is what its user should know, for the trace.
    """

    image: GuestImage
    kernel: GuestImage | None = None
    ramdisk: GuestImage | None = None
    warning: str = ""
    least: int = 1
    together: int = 1


class CreateSecrets(Given, frozen=True, kw_only=True):
    """What a create is given that is sealed: `files` are pairs of a path and its content."""

    admin_password: str | None = None
    files: tuple[tuple[str, str], ...] = ()


class BlobGiven(Given, frozen=True, kw_only=True):
    """The blob whose bytes come, or go; `maker` is the action of a server that they are made by, if there is one."""

    blob: str
    maker: str = ""


class NicGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, and the port whose NIC it is about."""

    host: str
    port_id: str


class RebuildGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, what that should be there, and for how many seconds it may shut down by itself.

    `was` are the columns of the server's row that the request changed, as they were before, `became` what they are
    since then; `disks` are those that the server had, `makes` those that it is to have.
    """

    host: str
    wanted: Wanted
    patience: float = 0.0
    was: Mapping[str, Any]
    became: Mapping[str, Any]
    disks: tuple[Disk, ...]
    makes: tuple[Disk, ...]


class RescueGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, what that should be there, and for how many seconds it may shut down by itself.

    And what it is rescued with, or was.
    """

    host: str
    wanted: Wanted
    patience: float = 0.0
    rescue: Rescue


class ResizeGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, what that should be there, and for how many seconds it may shut down by itself.

    `disks` are those that the server has, `makes` those that it is to have. Where it moves, its root disk travels as
    the image `image_id`, and others as `others` says by their roles; it has to, if it is to go `away`, be it `to` some
    host. One that has moved has the other half on the host `left`.
    """

    host: str
    wanted: Wanted
    patience: float = 0.0
    disks: tuple[Disk, ...] = ()
    makes: tuple[Disk, ...] = ()
    image_id: str = ""
    others: Mapping[str, str] = msgspec.field(default_factory=dict)
    away: bool = False
    to: str | None = None
    left: str = ""

    @property
    def images(self) -> Mapping[str, str]:
        """The images that disks travel as, by their roles."""
        return {ROOT: self.image_id, **self.others}


class SnapshotGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, and the image that is made of its root disk.

    Of a backup its kind, `daily`, and how many of that kind stay when it is there.
    """

    host: str
    image_id: str
    backup: str = ""
    rotation: int = 0


class ShelveGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, and the image that is made of its root disk.

    Whether the guest runs, and is off before that; or stands still, and is ended after it. What it should be then, and
    for how many seconds it may shut down by itself.
    """

    host: str
    image_id: str
    runs: bool = False
    stands: bool = False
    wanted: Wanted
    patience: float = 0.0


class UnshelveGiven(Given, frozen=True, kw_only=True):
    """What the guest should be on the host that still has it; where none has, the image that it is made of there.

    `make` is that of the new disks. `was` are the columns of the server's row that the request changed.
    """

    host: str = ""
    wanted: Wanted
    image: GuestImage | None = None
    make: int = 0
    was: Mapping[str, Any] = msgspec.field(default_factory=dict)


class PowerGiven(Given, frozen=True, kw_only=True):
    """The host that has the guest, what that should be there, and for how many seconds it may shut down by itself.

    `reclaim_at` is when the server is deleted for good, if it is soft-deleted once this has ended. With `replug` the
    ports of the guest were on another host meanwhile.
    """

    host: str
    wanted: Wanted
    patience: float = 0.0
    reclaim_at: datetime | None = None
    replug: bool = False
