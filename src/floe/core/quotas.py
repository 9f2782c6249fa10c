"""How much a project may have of each resource, unless an administrator says otherwise. -1 means no limit."""

from __future__ import annotations

from collections.abc import Mapping

from floe.core.errors import OverQuota

COMPUTE: Mapping[str, int] = {
    "instances": 10,
    "cores": 20,
    "ram": 51200,  # MiB
    "metadata_items": 128,
    "injected_files": 5,
    "injected_file_content_bytes": 10240,
    "injected_file_path_bytes": 255,
    "key_pairs": 100,
    "server_groups": 10,
    "server_group_members": 10,
    "fixed_ips": -1,  # kept for who sets it: a project has as many as its ports
}
"""Nova's names and Nova's defaults."""

NETWORK: Mapping[str, int] = {
    "network": 100,
    "subnet": 100,
    "port": 500,
    "security_group": 10,
    "security_group_rule": 100,
    "address_group": 100,
    "router": 10,
    "floatingip": 50,
    "subnetpool": 100,
    "address_scope": 100,
}
"""Neutron's names and Neutron's defaults; of address groups and scopes and subnet pools it lets everybody have any."""

IMAGE: Mapping[str, int] = {
    "image_count_total": 100,
    "image_size_total": 102400,  # MiB
    "image_stage_total": 102400,  # MiB
    "image_count_uploading": 10,
}
"""Glance's names; Glance itself has no defaults."""

DEFAULTS: Mapping[str, int] = {**COMPUTE, **NETWORK}
"""Those that the compute and network APIs show."""


def lower(limits: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Return the lower one of each limit, where there are two."""
    both = {name: [each for each in (limits[name], other) if each >= 0] for name, other in others.items()}
    return {**limits, **{name: min(found, default=-1) for name, found in both.items()}}


def demand(limits: Mapping[str, int], wanted: Mapping[str, tuple[int, int]], of: str = "") -> None:
    """Raise OverQuota unless all of `wanted` ({resource: (asked for, used already)}) fits `limits`.

    The text names every resource that lacks room, what was asked, what is used, and the limit.
    """
    lacking = []
    for resource, (asked, used) in wanted.items():
        limit = limits[resource]
        if limit >= 0 and used + asked > limit:
            lacking.append(f"{resource}: requested {asked}, already used {used}, limit {limit}")
    if lacking:
        raise OverQuota(f"Quota{of} exceeded for {'; '.join(lacking)}.")
