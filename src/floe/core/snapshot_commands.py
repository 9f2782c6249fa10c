"""The command to copy a guest's disk for an image, and what answers it: see `core.messages`."""

from __future__ import annotations

import msgspec

from floe.core.disks import ROOT
from floe.core.guests import GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.image_tickets import ImageTicket
from floe.core.step_times import StepTime


class TakeSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Copy a guest's disk as it is, and send that to the image store for a ticket. Answered by `SnapshotTaken`.

    Said again, it is answered alike. A host that does not know the guest fails with `not_found`, and is told once more
    with the whole of it.
    """

    action_id: str
    server_id: str
    ticket: ImageTicket
    role: str = ROOT
    guest: GuestSpec | None = None
    network: HostNetwork | None = None
    """With the guest: what its host must know of its ports."""


class SnapshotTaken(msgspec.Struct, frozen=True, kw_only=True):
    """The image has all its bytes, so many; `steps` says what that took."""

    size: int
    steps: tuple[StepTime, ...] = ()
