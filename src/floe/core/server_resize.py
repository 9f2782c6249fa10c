"""What a resize asks for, and what the host of the server is told of it: make it, keep it, take it back."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from floe.core.guests import GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.power import Wanted

MAKE: Final = "make"
KEEP: Final = "keep"
TAKE_BACK: Final = "take-back"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for; a `disk_config` that is None stays what it is.

    Or an administrator: another host alone, any or a certain one.
    """

    flavor_id: str = ""
    disk_config: str | None = None
    host: str | None = None


class Resize(msgspec.Struct, frozen=True, kw_only=True):
    """Have a guest be `guest` and not `before`, as it is wanted. Answered by `PowerChanged`; said again, alike.

    To `make` one copies the disks that it has, whose files stay beside the new ones. To `keep` it removes those;
    to `take-back` makes it the guest again whose files stayed, and removes the others. Where that fails, the guest
    is what it was. It has `patience` seconds to shut down by itself.
    """

    action_id: str
    server_id: str
    do: Literal["make", "keep", "take-back"]
    wanted: Wanted
    patience: float = 0.0
    guest: GuestSpec
    before: GuestSpec
    network: HostNetwork
