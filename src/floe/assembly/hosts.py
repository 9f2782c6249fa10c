"""The role of hosts: agents, each with its hypervisor and its data plane. Nothing here knows the database."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from floe.agent.agent import GUESTS, Agent
from floe.agent.image_copy import ImageSource
from floe.agent.image_eviction import Keeping
from floe.agent.role import Agents
from floe.agent.snapshots import SnapshotStore
from floe.agent.threads import Threads
from floe.assembly.surroundings import Surroundings
from floe.core.errors import Invalid
from floe.core.networks import PUBLIC
from floe.dataplane.fake import FakePlane
from floe.dataplane.protocol import DataPlane
from floe.hypervisors.fake import FakeHost, FakeHypervisor, kept_host
from floe.hypervisors.protocol import Hypervisor
from floe.places import host_name
from floe.pools import Pool
from floe.settings import EXTERNAL_HOST, Settings

if TYPE_CHECKING:
    from floe.dataplane.linux.machine import Machine

_LIBVIRT_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """The agents of a process, their threads, and the machines that fake hypervisors stand for.

    Faults can be written into `fake`.
    """

    agents: Agents
    threads: Pool
    fake: dict[str, FakeHost] = msgspec.field(default_factory=dict)


def make_hosts(
    around: Surroundings, images: ImageSource, store: SnapshotStore, names: Callable[[], Sequence[str]]
) -> Hosts:
    """Return the agents of hosts, which find the bytes of images at a source, and send others to a store.

    `names` is asked at each start.
    """
    folder = around.settings.state / "hosts"
    threads, fake = Pool("hosts", 6, counters=around.counters), dict[str, FakeHost]()
    agents = Agents(folder, lambda: [_agent(around, images, store, host, folder, threads, fake) for host in names()])
    return Hosts(agents=agents, threads=threads, fake=fake)


def names_of_all(settings: Settings) -> list[str]:
    """Return the names of the hosts of a process that has all roles."""
    if hypervisor(settings) == "fake":
        return [f"fake-{number}" for number in range(1, settings.fake_hosts + 1)]
    return [host_name(settings.state, settings.host)]


def names_of_agent(settings: Settings) -> list[str]:
    """Return the names of the hosts of an agent's process: fake ones are called after the host that is named."""
    if hypervisor(settings) == "fake" and settings.host:
        several = range(1, settings.fake_hosts + 1) if settings.fake_hosts > 1 else ()
        return [f"{settings.host}-{number}" for number in several] or [settings.host]
    return names_of_all(settings)


def libvirt_uri(settings: Settings) -> str:
    """Return which libvirt to speak to: the one named, else a daemon that runs, else one inside this process."""
    if settings.libvirt_uri:
        return settings.libvirt_uri
    if not settings.sandbox and any(Path(path).exists() for path in _LIBVIRT_SOCKETS):
        return "qemu:///system"
    return f"qemu:///embed?root={settings.state / 'libvirt'}"


def hypervisor(settings: Settings) -> str:
    """Return `libvirt` or `fake`. `auto` never falls back to guests that do not exist: it says what is missing."""
    if settings.hypervisor != "auto":
        return settings.hypervisor
    missing = [] if find_spec("libvirt") else ["the libvirt bindings for Python (pip install 'floe-cloud[libvirt]')"]
    missing += [] if shutil.which("qemu-system-x86_64") else ["QEMU (apt install qemu-system-x86 qemu-utils)"]
    if missing:
        raise Invalid(
            f"No hypervisor can be used here: {' and '.join(missing)} cannot be found. `floe doctor` says more; "
            "with --hypervisor fake the whole API works, on guests that exist in memory alone."
        )
    return "libvirt"


def _agent(
    around: Surroundings,
    images: ImageSource,
    store: SnapshotStore,
    host: str,
    folder: Path,
    threads: Pool,
    fake: dict[str, FakeHost],
) -> Agent:
    settings = around.settings
    if hypervisor(settings) == "fake":
        machine = fake.setdefault(host, kept_host(folder / host / "fake-guests"))
        drivers = _fake_drivers(settings, machine)
    else:
        drivers = _real_drivers(settings, folder, host)
    return Agent(
        host,
        bus=around.bus,
        hypervisor=drivers[0],
        plane=drivers[1],
        images=images,
        store=store,
        state_dir=folder / host,
        image_dir=folder / "images",
        clock=around.clock,
        offload=Threads(threads),
        availability_zone=settings.availability_zone,
        keeping=Keeping(
            seconds=settings.image_cache_hours * 3600,
            room=around.room,
            users=lambda: folder.glob(f"*/{GUESTS}/*"),
        ),
        counters=around.counters,
    )


def _fake_drivers(settings: Settings, machine: FakeHost) -> tuple[Hypervisor, DataPlane]:
    return FakeHypervisor(machine, delay=settings.fake_delay, cpu_ratio=settings.cpu_ratio), FakePlane()


def _real_drivers(settings: Settings, folder: Path, host: str) -> tuple[Hypervisor, DataPlane]:
    from importlib.metadata import version

    from floe.dataplane.linux.plane import LinuxPlane
    from floe.hypervisors.libvirt.driver import LibvirtHypervisor

    driver = LibvirtHypervisor(
        libvirt_uri(settings),
        disk_dir=folder / host / GUESTS,
        guest_uids=settings.guest_uids(),
        version=version("floe-cloud"),
        cpu_ratio=settings.cpu_ratio,
        memory_ratio=settings.memory_ratio,
        disk_ratio=settings.disk_ratio,
        reserved_memory_mib=settings.reserved_memory_mib,
    )
    leading, machine = _outside(settings)
    return driver, LinuxPlane(folder / host, leading, machine=machine, guest_connections=settings.guest_connections)


def _outside(settings: Settings) -> tuple[dict[str, str], Machine]:
    """Return which device leads to the external network, or that the machine, or the sandbox, is what it leads to."""
    from floe.dataplane.linux.machine import NOWHERE, Machine

    itself = settings.external == EXTERNAL_HOST
    if settings.sandbox or itself:
        return {}, Machine(addresses={PUBLIC: settings.outside_gateway()}, forwards=itself)
    return ({PUBLIC: settings.external} if settings.external else {}), NOWHERE
