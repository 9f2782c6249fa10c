"""What is asked of a guest that runs, and at once: nothing of it is kept, and nobody goes on with it after a death."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class SetPassword(msgspec.Struct, frozen=True, kw_only=True):
    """Have the guest's agent set the password of one of its users. Answered by `Done`; may be repeated.

    Where no agent speaks in the guest the host fails with `not_supported`.
    """

    server_id: str
    user: str
    password: str

    def __repr__(self) -> str:
        return f"SetPassword(server_id={self.server_id!r}, user={self.user!r})"


def admin_of(properties: Mapping[str, str]) -> str:
    """Return whose password is the administrator's, in a guest made of an image with these properties."""
    return properties.get("os_admin_user") or ("Administrator" if properties.get("os_type") == "windows" else "root")


class ReadDiagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What has the guest used so far? Answered by `Diagnostics`; one that does not run fails with `conflict`."""

    server_id: str


class DiskUse(msgspec.Struct, frozen=True, kw_only=True):
    """What was done with a disk since the guest was started, whose name there is `device`."""

    device: str
    read_requests: int
    read_bytes: int
    write_requests: int
    write_bytes: int
    errors: int


class NicUse(msgspec.Struct, frozen=True, kw_only=True):
    """What went through a NIC since the guest was started; received and sent are as the guest sees it."""

    device: str
    mac: str
    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_drops: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_drops: int


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest has used: nanoseconds of each of its CPUs; memory in KiB, and what else is counted of it."""

    cpus: tuple[int, ...] = ()
    disks: tuple[DiskUse, ...] = ()
    nics: tuple[NicUse, ...] = ()
    memory_max: int = 0
    memory_used: int = 0
    memory: dict[str, int] = msgspec.field(default_factory=dict)
