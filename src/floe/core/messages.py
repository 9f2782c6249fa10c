"""What travels between the conductor and the hosts.

A *command* goes to one host and is answered by a *result*; every command may be repeated, and a repeat
has no further effect: effects carry the id of the action they belong to. An *event* comes from a host and is
answered by nobody. All are frozen Structs of plain values, so that the codec can carry them; a failed
command is answered by `Failed`, which the bus raises as `HostFailure` on the caller's side.
"""

from __future__ import annotations

import msgspec

from floe.core.actions import Action
from floe.core.guest_passwords import PasswordPosted
from floe.core.guest_questions import Diagnostics, ReadDiagnostics, SetPassword
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec, GuestState, PowerState
from floe.core.host_network import HostNetwork, MembersChange, RoutersChange
from floe.core.host_uptime import ReadUptime, Uptime
from floe.core.image_tickets import ImageTicket
from floe.core.power import Wanted
from floe.core.resources import Inventory
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize
from floe.core.snapshot_commands import SnapshotTaken, TakeSnapshot
from floe.core.step_times import StepTime

# -- commands, and what answers them ------------------------------------------------------------------


class Spawn(msgspec.Struct, frozen=True, kw_only=True):
    """Make the guest and start it. Answered by `Spawned`; repeated for a guest that runs, likewise."""

    action_id: str
    guest: GuestSpec
    network: HostNetwork
    attempt: int = 0
    """Which attempt at the action this is, if that is counted: after a later one, the host refuses it."""
    tickets: tuple[ImageTicket, ...] = ()
    """With which a host that does not see the image store fetches what the guest is made of."""
    contents: dict[str, GuestImage] = msgspec.field(default_factory=dict)
    """What blank disks begin as that came from another host, by their roles."""
    off: bool = False
    """Whether it is turned off as soon as it was started: it was off where it comes from."""


class Spawned(msgspec.Struct, frozen=True, kw_only=True):
    """The guest runs; `steps` says how long image, disk, ports and guest took."""

    power_state: PowerState
    steps: tuple[StepTime, ...] = ()


class SpawnAll(msgspec.Struct, frozen=True, kw_only=True):
    """Make these guests, each as if it had been asked for alone. Answered by `SpawnedAll`; each may be repeated alone.

    What takes longer than `patience` seconds is answered as not known yet: it goes on, and is to be asked for alone.
    """

    spawns: tuple[Spawn, ...]
    patience: float


class SpawnAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one of many spawns; neither is there for one that is still under way."""

    spawned: Spawned | None = None
    failed: Failed | None = None


class SpawnedAll(msgspec.Struct, frozen=True, kw_only=True):
    """What came of each spawn, in their order: a failure of one is its own."""

    answers: tuple[SpawnAnswer, ...]


class Destroy(msgspec.Struct, frozen=True, kw_only=True):
    """End the guest and remove all that the host holds for it; stops a spawn under way. Answered by `Destroyed`.

    After it the host refuses any later spawn of that server. Succeeds where there is nothing (left) to remove.
    """

    action_id: str
    server_id: str
    guest_name: str
    port_ids: tuple[str, ...] = ()
    generation: int = 0
    final: bool = True
    """False when a build is undone and the same server may be built on this host again by a later action."""
    attempt: int = 0
    """As of `Spawn`."""
    make: int | None = None
    """That of the root disk of a guest that goes whoever built it; a later one stays. Without one, see `final`."""


class Destroyed(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing of the guest is left; `steps` says what was removed."""

    steps: tuple[StepTime, ...] = ()
    posted: PasswordPosted | None = None
    """What the guest had posted last, where its server's row may not know of that; said again with every repeat."""


class ChangePower(msgspec.Struct, frozen=True, kw_only=True):
    """Have the guest as it is wanted. Answered by `PowerChanged`; said again, it is answered alike.

    One that is to go off, or to boot again, has `patience` seconds to shut down by itself; then it is ended. A later
    generation breaks off an earlier one that is under way.

    A host that does not know the guest fails with `not_found`, and is told once more with the whole of it.
    """

    action_id: str
    server_id: str
    wanted: Wanted
    patience: float = 0.0
    guest: GuestSpec | None = None
    network: HostNetwork | None = None
    """With the guest: what its host must know of its ports."""


class PowerChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The guest is as it is wanted; `steps` says what that took."""

    power_state: PowerState
    steps: tuple[StepTime, ...] = ()


class ChangeNics(msgspec.Struct, frozen=True, kw_only=True):
    """Have a guest have NICs of some ports, and of others none. Answered by `NicsChanged`; may be repeated.

    `network` brings the ports that are attached, and has the generation at which those that are detached go. A guest
    that is off has them at its next start; one that runs has `patience` seconds to let go of a NIC.

    A host that does not know the guest fails with `not_found`, and is told once more with the whole of it.
    """

    action_id: str
    server_id: str
    attach: tuple[str, ...] = ()
    detach: tuple[str, ...] = ()
    network: HostNetwork
    patience: float = 0.0
    guest: GuestSpec | None = None
    """As it is to be, with all its NICs."""


class NicsChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The guest has the NICs that it is to have; `steps` says what that took."""

    steps: tuple[StepTime, ...] = ()


class ReadConsole(msgspec.Struct, frozen=True, kw_only=True):
    """Read the end of the guest's serial console: the last `lines` lines, all (up to 1 MiB) when None."""

    server_id: str
    lines: int | None = None


class ConsoleOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What the guest has written."""

    text: str


class ApplyNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """Make the host's network look like this whole. Answered by `NetworkApplied`."""

    network: HostNetwork


class NetworkApplied(msgspec.Struct, frozen=True, kw_only=True):
    """The host's network is that of this generation, or of a later one."""

    generation: int


class ChangeRouters(msgspec.Struct, frozen=True, kw_only=True):
    """Take a change of routers. Answered by `NetworkApplied`, with the generation of the latest whole."""

    change: RoutersChange


class ChangeMembers(msgspec.Struct, frozen=True, kw_only=True):
    """Take a difference of security groups' members. Answered by `MembersChanged`."""

    change: MembersChange


class MembersChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The members are known as they are after the change; not `taken` if there is a gap to what was known before."""

    taken: bool
    at: int = 0
    """Up to which position the host had been told before."""


class UpdateMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Replace what a guest may read about itself. Answered by `Done`."""

    server_id: str
    metadata: GuestMetadata


class ListGuests(msgspec.Struct, frozen=True, kw_only=True):
    """Which guests are there? Answered by `Guests`; foreign guests are not named."""


class Guests(msgspec.Struct, frozen=True, kw_only=True):
    """The guests on a host that are Floe's, and the servers that it has nothing of but files."""

    guests: tuple[GuestState, ...] = ()
    files: tuple[str, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Say `HostUp` anew: what was said before nobody heard. Answered by `Done`."""

    whole: bool = True
    """False to be answered alone, which is a sign of life."""


class Inspect(msgspec.Struct, frozen=True, kw_only=True):
    """What is really on the host? Changes nothing. Answered by `Inspected`."""


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has. Foreign guests and files are not named."""

    guests: tuple[GuestState, ...] = ()
    """As the hypervisor has them now."""
    network: HostNetwork = HostNetwork()
    """What the agent takes for what should be there."""
    folders: tuple[str, ...] = ()
    """The servers that files are kept of."""
    drift: tuple[str, ...] = ()
    """How the data plane differs from `network`, a sentence each; nothing while commands are under way."""
    busy: tuple[str, ...] = ()
    """The servers that a command is under way on: what is told of them may be in between."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It was done; there is nothing more to say."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """It could not be done, and what the command had begun was removed again.

    `kind` is that of `core.errors`; `stage` the step that failed; `message` may be shown to the user; `detail`
    is for administrators (names of files and programs); `steps` are those that were done or tried. Where it was not
    done because something later was said, `heard` is the number of that: an attempt, or a generation.
    """

    kind: str
    message: str
    stage: str = ""
    detail: str = ""
    steps: tuple[StepTime, ...] = ()
    heard: int = 0


# -- events -------------------------------------------------------------------------------------------


class HostUp(msgspec.Struct, frozen=True, kw_only=True):
    """A host is there, and this is what it has; said at start, after a reconnect, and when it changes."""

    host: str
    hypervisor_type: str
    hypervisor_version: int
    inventories: tuple[Inventory, ...]
    traits: tuple[str, ...] = ()
    cpu_info: dict[str, str] = msgspec.field(default_factory=dict)
    address: str = "127.0.0.1"
    availability_zone: str = "nova"
    guests: tuple[GuestState, ...] = ()
    files: tuple[str, ...] = ()
    """The servers that it has nothing of but files."""
    network_generation: int = 0
    network_newest: int = 0
    """The latest generation that the host has heard of, be it in a fragment."""
    members_at: int = 0
    """Up to which position it was told of members of security groups."""
    members_newest: int = 0
    """The latest position that it has heard of, be it in a fragment."""
    told: dict[str, str] = msgspec.field(default_factory=dict)
    """By server, the fingerprint of what its guest may read about itself."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """A host lives; said every few seconds."""

    host: str


class HostDown(msgspec.Struct, frozen=True, kw_only=True):
    """A host stops in good order; its guests go on running."""

    host: str


class GuestChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A guest's power state is now this, whoever changed it."""

    host: str
    server_id: str
    power_state: PowerState


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an action began on a host, or ended (`seconds` is then set); what `floe trace --follow` shows."""

    host: str
    action_id: str
    step: str
    started: float
    seconds: float | None = None
    remark: str = ""


class HostsCompared(msgspec.Struct, frozen=True, kw_only=True):
    """A conductor compared with the rows what these hosts have, so that no other need ask them; it is no host's word.

    Where this is lost, they are asked in vain.
    """

    by: str
    hosts: tuple[str, ...]


class ActionWaits(msgspec.Struct, frozen=True, kw_only=True):
    """An action was added; where this is lost, a conductor's sweep finds it a little later.

    `action` is its row as it was inserted, which whoever takes it up need not read then: the database refuses to lease
    it by a row that is not the latest. It is None where the row may be another by now, or is large.
    """

    action_id: str
    action: Action | None = None


class NetworkChanged(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts are to be told of a change of their network; where this is lost, a conductor's sweep finds which.

    Where it is the `members` of security groups alone that changed, no host is sent its whole network for it.
    """

    members: bool = False


Command = (
    Spawn
    | SpawnAll
    | Destroy
    | ChangePower
    | ChangeNics
    | Rebuild
    | Resize
    | TakeSnapshot
    | ReadConsole
    | SetPassword
    | ReadDiagnostics
    | ReadUptime
    | ApplyNetwork
    | ChangeRouters
    | ChangeMembers
    | UpdateMetadata
    | ListGuests
    | Report
    | Inspect
)
Result = (
    Spawned
    | SpawnedAll
    | Destroyed
    | PowerChanged
    | NicsChanged
    | SnapshotTaken
    | ConsoleOutput
    | Diagnostics
    | Uptime
    | NetworkApplied
    | MembersChanged
    | Guests
    | Inspected
    | Done
    | Failed
)
ForAll = Heartbeat | Progress | HostsCompared
"""What everybody has to know who keeps something in memory of it."""
ForOne = HostUp | HostDown | GuestChanged | PasswordPosted | ActionWaits | NetworkChanged
"""What there is something to be done about, once: whoever takes it does it."""
Event = ForAll | ForOne
Message = Command | Result | Event
