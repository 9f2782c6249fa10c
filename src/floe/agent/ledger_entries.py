"""What a ledger's lines say, one kind of entry each."""

from __future__ import annotations

import msgspec

from floe.core.disks import MIB_PER_GIB, local_disks
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec, PowerState
from floe.core.host_network import (
    HostGroup,
    HostNetwork,
    HostPort,
    HostRouter,
    HostSegment,
    MembersChange,
    RoutersChange,
)
from floe.core.host_network_state import HostNetworkState
from floe.core.messages import Failed, PowerChanged, Spawned
from floe.core.nics import VIF_MODELS, Nic, Tap
from floe.core.power import Wanted


class Begun(msgspec.Struct, tag="begun-2", omit_defaults=True):
    """A spawn began."""

    action_id: str
    guest: GuestSpec
    network: HostNetwork


class NicBefore(msgspec.Struct):
    """A NIC as guests had it before there were kinds of NICs."""

    port_id: str
    mac: str
    tap: str
    mtu: int = 1450


class GuestBefore(msgspec.Struct, kw_only=True):
    """A guest as hosts were told of it before there were kinds of disks and NICs."""

    server_id: str
    name: str
    vcpus: int
    memory_mib: int
    root_gib: int
    ephemeral_gib: int = 0
    swap_mib: int = 0
    image: GuestImage
    kernel: GuestImage | None = None
    ramdisk: GuestImage | None = None
    ports: tuple[NicBefore, ...] = ()
    metadata: GuestMetadata
    config_drive: bool = False
    extra_specs: dict[str, str] = {}

    def guest(self) -> GuestSpec:
        """Return it as it is said now."""
        properties = self.image.properties
        model = properties.get("hw_vif_model") or VIF_MODELS[0]
        return GuestSpec(
            server_id=self.server_id,
            name=self.name,
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            disks=local_disks(
                properties,
                image_id=self.image.image_id,
                root_mib=self.root_gib * MIB_PER_GIB,
                ephemeral_mib=self.ephemeral_gib * MIB_PER_GIB,
                swap_mib=self.swap_mib,
                config_drive=self.config_drive,
            ),
            nics=tuple(
                Tap(port_id=nic.port_id, mac=nic.mac, device=nic.tap, mtu=nic.mtu, model=model) for nic in self.ports
            ),
            image=self.image,
            kernel=self.kernel,
            ramdisk=self.ramdisk,
            metadata=self.metadata,
            extra_specs=self.extra_specs,
        )


class BegunBefore(msgspec.Struct, tag="begun"):
    """A spawn began, as releases before this one wrote it; read, and never written."""

    action_id: str
    guest: GuestBefore
    network: HostNetwork


class Remade(msgspec.Struct, tag="remade", omit_defaults=True):
    """A guest is made of other disks from here on: those it had are not its own any more."""

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


class Adopted(msgspec.Struct, tag="adopted", omit_defaults=True):
    """A guest that was built here before, and of which nothing was known any more, is known again."""

    at: float
    action_id: str
    """Releases before wrote that of who told of the guest, which kept whoever had it built from having it removed."""
    guest: GuestSpec
    network: HostNetwork

    def settled(self) -> Settled:
        """Return what says that it was built."""
        built = Spawned(power_state=PowerState.NOSTATE)
        return Settled(self.at, self.action_id, self.guest.server_id, generation=0, spawned=built)


class Told(msgspec.Struct, tag="told", omit_defaults=True):
    """A guest may read something else about itself."""

    server_id: str
    metadata: GuestMetadata


class Posted(msgspec.Struct, tag="posted", omit_defaults=True):
    """A guest posted a password, or has none any more, of which its server's row may not know."""

    server_id: str
    turn: int
    password: str | None = None


class Whole(msgspec.Struct, tag="whole"):
    """The whole network was replaced."""

    network: HostNetwork

    def apply(self, network: HostNetworkState) -> None:
        """Take it into account."""
        network.replace(self.network)


class Rewired(msgspec.Struct, tag="rewired", omit_defaults=True):
    """A guest is to have these NICs, and ports of it that are `gone` are no more, as of a generation."""

    server_id: str
    nics: tuple[Nic, ...]
    network: HostNetwork
    gone: tuple[str, ...] = ()
    generation: int = 0


class Members(msgspec.Struct, tag="members"):
    """Members of security groups changed."""

    change: MembersChange

    def apply(self, network: HostNetworkState) -> None:
        """Take it into account."""
        network.change_members(self.change)


class Routers(msgspec.Struct, tag="routers"):
    """Routers changed."""

    change: RoutersChange

    def apply(self, network: HostNetworkState) -> None:
        """Take it into account."""
        network.change_routers(self.change)


class Network(msgspec.Struct, tag="network"):
    """The network state as it was at a compaction, its tombstones included."""

    generation: int
    segments: dict[str, HostSegment]
    ports: dict[str, HostPort]
    groups: dict[str, HostGroup]
    learnt: dict[str, int]
    members_at: int = 0
    known_at: dict[str, int] = {}
    routers: dict[str, HostRouter] | None = None
    """None where a release wrote it that left them out."""
    aside: dict[str, HostNetwork] = {}

    @classmethod
    def of(cls, state: HostNetworkState) -> Network:
        """Return the entry that says it."""
        return cls(**{name: getattr(state, name) for name in cls.__struct_fields__})

    def state(self) -> HostNetworkState:
        """Return it as it was; where the routers were left out it counts as out of date, and is asked for anew."""
        said = {name: getattr(self, name) for name in self.__struct_fields__}
        if self.routers is None:
            said |= {"generation": 0, "routers": {}}
        return HostNetworkState(**said)


class Want(msgspec.Struct, tag="wanted", omit_defaults=True):
    """A guest should be this; `booted` is its latest boot that somebody asked for."""

    server_id: str
    wanted: Wanted
    booted: int = 1


class Answered(msgspec.Struct, tag="answered", omit_defaults=True):
    """A change of a guest's power was answered."""

    at: float
    server_id: str
    action_id: str
    changed: PowerChanged | None = None
    failed: Failed | None = None


class Machine(msgspec.Struct, tag="machine"):
    """The guests run on the machine since this boot of it."""

    boot_id: str


class Flushed(msgspec.Struct, tag="flushed"):
    """The disks of a guest, as they were made, are on the disk for certain."""

    server_id: str


class Damaged(msgspec.Struct, tag="damaged"):
    """The machine's power failed before the disks of a guest were on the disk for certain."""

    server_id: str


class Overtook(msgspec.Struct, tag="overtook"):
    """An action was taken up again, by a conductor that overtook another."""

    at: float
    server_id: str
    action_id: str
    attempt: int


OfPower = Want | Answered | Machine | Flushed | Damaged
OfNetwork = Whole | Members | Routers | Network
OfGuest = Begun | BegunBefore | Adopted | Settled | Destroyed | Told | Posted | Rewired | Remade
Entry = OfGuest | OfNetwork | Overtook | OfPower
