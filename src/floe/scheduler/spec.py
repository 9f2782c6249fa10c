"""What a server asks of a host, worked out once from its flavor, image, group, zone and hints."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from floe.core import host_queries, scheduler_hints
from floe.core.aggregates import Demand
from floe.core.extra_specs import OWN_CLASSES, disk_gib
from floe.core.image_properties import UEFI_TRAIT
from floe.core.nic_limits import NIC_LIMITS_TRAIT, limits_of
from floe.core.properties import AMOUNT
from floe.core.resources import Resources
from floe.core.server_groups import ServerGroup
from floe.core.servers import Server

_TRAIT, _RESOURCE = re.compile(r"trait[a-zA-Z0-9_-]{0,64}:(.+)"), re.compile(r"resources[a-zA-Z0-9_-]{0,64}:(.+)")
"""A host is one provider of resources: groups of them, which a name may number, are all asked of it."""


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One request for a host.

    `group_hosts` says how many members of the server group each host holds. `same_hosts` is None unless the
    hint `same_host` was given. The flavor's `resources:` for vCPUs, memory and disk are left alone (the flavor's own
    amounts count); those of any other class stand in `extra_classes`, and no host offers them.
    """

    resources: Resources
    zone: str | None = None
    host: str | None = None
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    architecture: str | None = None
    hypervisor_type: str | None = None
    group: ServerGroup | None = None
    group_hosts: Mapping[str, int] = msgspec.field(default_factory=dict)
    same_hosts: frozenset[str] | None = None
    different_hosts: frozenset[str] = frozenset()
    query: host_queries.Condition | None = None
    near: scheduler_hints.Network | None = None
    extra_classes: Mapping[str, int] = msgspec.field(default_factory=dict)
    aggregates: Mapping[Demand, frozenset[int]] = msgspec.field(default_factory=dict)
    """What is asked of the host's aggregates, with the ids of those that have it: it has to be in one of each."""
    excluded: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Hosts that were tried already, with what went wrong there."""


def resources_of(server: Server) -> Resources:
    """Return what a server takes of its host."""
    return Resources(server.flavor.vcpus, server.flavor.memory_mib, disk_gib(server.flavor))


def spec_of(
    server: Server,
    *,
    group: ServerGroup | None = None,
    group_hosts: Mapping[str, int] | None = None,
    hint_hosts: Mapping[str, str] | None = None,
    aggregates: Mapping[Demand, frozenset[int]] | None = None,
    excluded: Mapping[str, str] | None = None,
) -> RequestSpec:
    """Return what a server asks for. `hint_hosts` maps the servers its hints name to the hosts they are on.

    `aggregates` are those that meet what its flavor asks of them.
    """
    specs, properties = server.flavor.extra_specs, server.image_properties
    required, forbidden = _traits(specs)
    image_required, image_forbidden = _traits(properties)
    if properties.get("hw_firmware_type") == "uefi":
        image_required.add(UEFI_TRAIT)
    if limits_of(specs) is not None:
        required.add(NIC_LIMITS_TRAIT)
    same, different = hinted_hosts(server, hint_hosts or {})
    return RequestSpec(
        resources=resources_of(server),
        zone=server.requested_zone,
        host=server.requested_host,
        required=frozenset(required | image_required),
        forbidden=frozenset(forbidden | image_forbidden),
        architecture=_architecture(properties),
        hypervisor_type=(properties.get("img_hv_type") or properties.get("hypervisor_type") or "").lower() or None,
        group=group,
        group_hosts=group_hosts or {},
        same_hosts=same,
        different_hosts=different,
        query=scheduler_hints.query(server.scheduler_hints),
        near=scheduler_hints.near(server.scheduler_hints),
        extra_classes=_extra_classes(specs),
        aggregates=aggregates or {},
        excluded=excluded or {},
    )


def hinted(server: Server) -> tuple[str, ...]:
    """Return the ids of all servers that the hints `same_host` and `different_host` name."""
    return (*_named(server, "same_host"), *_named(server, "different_host"))


def hinted_hosts(server: Server, where: Mapping[str, str]) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return the hosts of which a server is to be on one, None where that is not asked for, and those to stay off.

    `where` are the hosts of the servers that its hints name.
    """
    same, different = _named(server, "same_host"), _named(server, "different_host")
    with_them = frozenset(where[ident] for ident in same if ident in where) if same else None
    return with_them, frozenset(where[ident] for ident in different if ident in where)


def _named(server: Server, hint: str) -> tuple[str, ...]:
    value = server.scheduler_hints.get(hint)
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _traits(specs: Mapping[str, str]) -> tuple[set[str], set[str]]:
    chosen: dict[str, set[str]] = {"required": set(), "forbidden": set()}
    for key, value in specs.items():
        named = _TRAIT.fullmatch(key)
        if named and value in chosen:
            chosen[value].add(named[1])
    return chosen["required"], chosen["forbidden"]


def _extra_classes(specs: Mapping[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in specs.items():
        named = _RESOURCE.fullmatch(key)
        if named and named[1] not in OWN_CLASSES and AMOUNT.allow(value) and int(value):
            found[named[1]] = found.get(named[1], 0) + int(value)
    return found


def _architecture(properties: Mapping[str, str]) -> str | None:
    name = (properties.get("hw_architecture") or properties.get("architecture") or "").lower()
    return {"amd64": "x86_64", "x64": "x86_64", "i386": "i686", "arm64": "aarch64"}.get(name, name) or None
