"""What a guest may read about itself, made from its server's row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from floe.core.disk_config import LEFT
from floe.core.guests import GuestMetadata
from floe.core.servers import Server

_APART = {"admin_password", "files", "password", "password_turn", "leave_root"}
_TOLD = tuple(name for name in GuestMetadata.__struct_fields__ if name not in _APART)

_ENCODER = msgspec.json.Encoder(order="deterministic")


def describe(
    server: Server, zone: str, *, admin_password: str | None = None, files: Sequence[tuple[str, str]] = ()
) -> GuestMetadata:
    """Return a guest's metadata; password and files are known at create alone (the row does not keep them)."""
    return GuestMetadata(
        hostname=server.hostname,
        name=server.name,
        project_id=server.project_id,
        availability_zone=zone,
        launch_index=server.launch_index,
        reservation_id=server.reservation_id,
        metadata=dict(server.metadata),
        keys=server.keys,
        user_data=server.user_data,
        admin_password=admin_password,
        flavor_name=server.flavor.name,
        files=tuple((path, content) for path, content in files),
        kernel_id=server.image_properties.get("kernel_id"),
        ramdisk_id=server.image_properties.get("ramdisk_id"),
        password=server.password,
        password_turn=server.password_turn,
        leave_root=server.disk_config == LEFT,
    )


def fingerprint(metadata: GuestMetadata) -> str:
    """Return what tells two versions of a guest's metadata apart; what is known at create alone is left out.

    That of a guest which never posted a password, and is told nothing of its root file system, is what releases say
    that know of neither.
    """
    said = [getattr(metadata, name) for name in _TOLD]
    if metadata.password_turn:
        said += [metadata.password, metadata.password_turn]
    if metadata.leave_root:
        said.append("leave_root")
    text = _ENCODER.encode(said)
    return hashlib.blake2b(text, digest_size=8).hexdigest()
