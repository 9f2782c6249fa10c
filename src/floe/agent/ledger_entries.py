"""What a ledger's lines say, one kind of entry each."""

from __future__ import annotations

import msgspec

from floe.core.guests import GuestMetadata, GuestSpec
from floe.core.host_network import HostGroup, HostNetwork, HostPort, HostSegment, MembersChange
from floe.core.messages import Failed, Spawned


class Begun(msgspec.Struct, tag="begun", omit_defaults=True):
    """A spawn began."""

    action_id: str
    guest: GuestSpec
    network: HostNetwork


class Settled(msgspec.Struct, tag="settled", omit_defaults=True):
    """A spawn was answered."""

    at: float
    action_id: str
    server_id: str
    generation: int
    spawned: Spawned | None = None
    failed: Failed | None = None


class Destroyed(msgspec.Struct, tag="destroyed", omit_defaults=True):
    """A server is to be no more here, or a build of it."""

    at: float
    action_id: str
    server_id: str
    final: bool
    port_ids: tuple[str, ...] = ()
    generation: int = 0


class Told(msgspec.Struct, tag="told", omit_defaults=True):
    """A guest may read something else about itself."""

    server_id: str
    metadata: GuestMetadata


class Whole(msgspec.Struct, tag="whole"):
    """The whole network was replaced."""

    network: HostNetwork


class Members(msgspec.Struct, tag="members"):
    """Members of security groups changed."""

    change: MembersChange


class Network(msgspec.Struct, tag="network"):
    """The network state as it was at a compaction, its tombstones included."""

    generation: int
    segments: dict[str, HostSegment]
    ports: dict[str, HostPort]
    groups: dict[str, HostGroup]
    learnt: dict[str, int]
    members_at: int = 0
    known_at: dict[str, int] = {}


Entry = Begun | Settled | Destroyed | Told | Whole | Members | Network
