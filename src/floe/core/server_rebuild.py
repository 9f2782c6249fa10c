"""What a rebuild asks for: the image, and what else the server is to be from then on; and what its host is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from floe.core.guests import GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.image_tickets import ImageTicket
from floe.core.power import Wanted


class NewMake(msgspec.Struct, frozen=True, kw_only=True):
    """A rebuild request, free of the wire; `changes` are columns of the server's row, those that it names alone."""

    image_id: str
    changes: Mapping[str, Any] = msgspec.field(default_factory=dict)
    key_name: str | msgspec.UnsetType | None = msgspec.UNSET
    """None: no key from now on; not set: the one that it has."""
    files: tuple[tuple[str, str], ...] = ()
    admin_password: str | None = None
    preserve_ephemeral: bool = False
    trusted_certificates: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET
    """None: none from now on; not set: those that it has."""


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """Have a guest made of other disks, as it is wanted. Answered by `PowerChanged`; said again, it is answered alike.

    Those of its disks that have another make than `before` are made anew; the others stay as they are. Where that
    fails, the guest is what it was. It has `patience` seconds to shut down by itself.
    """

    action_id: str
    server_id: str
    wanted: Wanted
    patience: float = 0.0
    guest: GuestSpec
    before: GuestSpec
    """What it is, for a host that has forgotten that."""
    network: HostNetwork
    tickets: tuple[ImageTicket, ...] = ()
