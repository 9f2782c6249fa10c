"""What a create asks for, and the rules that need nothing but the request, the flavor and the image."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from floe.core.block_devices import BlockDevice
from floe.core.errors import Invalid, OverQuota
from floe.core.nics import PlannedNic
from floe.core.servers import ServerFlavor

GIB = 2**30
MAX_USER_DATA = 65535


class NewServer(msgspec.Struct, frozen=True, kw_only=True):
    """A create request, free of the wire: every value here has its right type already."""

    name: str
    flavor_id: str
    image_id: str | None = None
    min_count: int = 1
    max_count: int = 1
    description: str | None = None
    hostname: str | None = None
    key_name: str | None = None
    security_groups: tuple[str, ...] = ()
    zone: str | None = None
    host: str | None = None
    user_data: str | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    admin_password: str | None = None
    block_devices: tuple[BlockDevice, ...] = ()
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    networks: tuple[PlannedNic, ...] | Literal["auto", "none"] | None = None
    """None: the one network that there is, or no NIC where there is none."""
    config_drive: bool | None = None
    disk_config: str | None = None
    hints: Mapping[str, Any] = msgspec.field(default_factory=dict)
    tags: tuple[str, ...] = ()
    trusted_certificates: tuple[str, ...] | None = None


def check_user_data(text: str) -> None:
    """Raise Invalid unless it is base64 of at most 65535 characters, encoded."""
    if len(text) > MAX_USER_DATA:
        raise Invalid(f"user_data is {len(text)} characters of base64; {MAX_USER_DATA} is the most.")
    if decoded_size(text) is None:
        raise Invalid(f"Invalid input for field/attribute user_data: {text[:40]!r} is not base64.")


def decoded_size(text: str) -> int | None:
    """Return how many bytes a base64 text stands for (white space left out); None if it is not base64."""
    try:
        return len(base64.b64decode(b"".join(text.encode("ascii").split()), validate=True))
    except (binascii.Error, ValueError):
        return None


def check_files(files: Sequence[tuple[str, str]], limits: Mapping[str, int]) -> None:
    """Raise OverQuota for more or larger injected files than allowed, Invalid for a path or content that is none."""
    _demand("injected_files", len(files), limits)
    for path, content in files:
        size = decoded_size(content)
        if size is None:
            raise Invalid(f"Personality content for {path[:80]!r} is not base64.")
        if not path or "\0" in path or ".." in path.split("/"):
            raise Invalid(f"Personality path {path[:80]!r} is not valid: it must be a path without '..'.")
        _demand("injected_file_path_bytes", len(path.encode()), limits)
        _demand("injected_file_content_bytes", size, limits)


def check_metadata(metadata: Mapping[str, str], limits: Mapping[str, int]) -> None:
    """Raise OverQuota for more metadata items than `limits` allow."""
    _demand("metadata_items", len(metadata), limits)


def _demand(resource: str, asked: int, limits: Mapping[str, int]) -> None:
    limit = limits[resource]
    if 0 <= limit < asked:
        raise OverQuota(f"Quota exceeded for {resource}: requested {asked}, limit {limit} for each server.")


def check_image_fits(
    flavor: ServerFlavor, *, image_id: str, min_disk_gib: int, min_ram_mib: int, virtual_size: int
) -> None:
    """Raise Invalid unless an image can boot in a flavor; a root disk of 0 GiB is as large as the image."""
    if min_ram_mib > flavor.memory_mib:
        raise Invalid(
            f"Flavor's memory is too small for requested image: image {image_id} needs {min_ram_mib} MiB (min_ram), "
            f"flavor {flavor.name} has {flavor.memory_mib} MiB."
        )
    if flavor.root_gib == 0:
        return
    if min_disk_gib > flavor.root_gib:
        raise Invalid(
            f"Flavor's disk is too small for requested image: image {image_id} needs {min_disk_gib} GiB (min_disk), "
            f"flavor {flavor.name} has {flavor.root_gib} GiB."
        )
    if virtual_size > flavor.root_gib * GIB:
        raise Invalid(
            f"Flavor's disk is too small for requested image: image {image_id} is a disk of {virtual_size} bytes, "
            f"flavor {flavor.name} has {flavor.root_gib} GiB ({flavor.root_gib * GIB} bytes)."
        )


def names(name: str, count: int) -> list[str]:
    """Return the names of `count` servers made together: `web-1`, `web-2`...; of a single one, its own.

    Shortened where the number would make it longer than 255.
    """
    if count == 1:
        return [name]
    found = []
    for number in range(1, count + 1):
        suffix = f"-{number}"
        found.append(name[: 255 - len(suffix)] + suffix)
    return found
