"""Servers as their users see them, made by the thousand for each page that is polled."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floe.core.ports import ServerPort


class SeenServer(msgspec.Struct, frozen=True, gc=False):
    """A server with what other nouns know of it. What costs time to read stands in it as it is kept.

    Times are microseconds since 1970; `flavor`, `image_properties`, `metadata`, `security_groups`, `scheduler_hints`,
    `trusted_certificates` and `fault` are JSON.
    """

    id: str
    number: int
    project_id: str
    user_id: str
    name: str
    description: str | None
    hostname: str
    vm_state: str
    task_state: str | None
    power_state: int
    host: str | None
    requested_zone: str | None
    reservation_id: str
    launch_index: int
    flavor_id: str
    flavor: str
    image_id: str | None
    image_properties: str
    key_name: str | None
    user_data: str | None
    metadata: str
    config_drive: bool
    access_ipv4: str | None
    access_ipv6: str | None
    security_groups: str
    scheduler_hints: str
    group_id: str | None
    disk_config: str
    locked: bool
    locked_reason: str | None
    root_device: str
    trusted_certificates: str | None
    fault: str | None
    created_at: int
    updated_at: int | None
    launched_at: int | None
    terminated_at: int | None
    tags: Sequence[str]
    """Sorted."""
    zone: str
    """The zone of its host, or the one asked for while it has none."""
    host_state: str
    """UP, DOWN, MAINTENANCE or UNKNOWN; empty without a host."""
    ports: Sequence[ServerPort]
    """In the order of its NICs."""
