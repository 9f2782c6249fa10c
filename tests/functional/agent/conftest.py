"""One host with its agent on a local bus: the shipped fakes below it, and a world that outlives it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from image_server import Sources

from floe.agent.agent import Agent
from floe.bus.local import LocalBus
from floe.core.disks import local_disks
from floe.core.errors import NotFound
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec
from floe.core.host_network import GroupRule, HostAddress, HostGroup, HostNetwork, HostPort, HostSegment, HostSubnet
from floe.core.messages import Command, Event, Result, Spawn
from floe.core.nics import Tap
from floe.dataplane.fake import FakePlane
from floe.hypervisors.fake import FakeHost, FakeHypervisor

BYTES = b"an image that nobody boots" * 1000
IMAGE = "11111111-0000-4000-8000-000000000000"
NETWORK = "aaaaaaaa-0000-4000-8000-000000000001"
SUBNET = "aaaaaaaa-0000-4000-8000-000000000002"
GROUP = "aaaaaaaa-0000-4000-8000-000000000003"


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@dataclass
class Images:
    """An image source in memory; `gate` holds the stream back after its first chunk."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    error: Exception | None = None
    reads: int = 0

    async def read(self, image_id: str) -> AsyncIterator[bytes]:
        self.reads += 1
        if image_id not in self.blobs:
            raise NotFound("image", image_id)
        data = self.blobs[image_id]
        yield data[:100]
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        yield data[100:]


@dataclass
class World:
    """A host's surroundings, kept over restarts of its agent."""

    state_dir: Path
    bus: LocalBus = field(default_factory=LocalBus)
    machine: FakeHost = field(default_factory=FakeHost)
    plane: FakePlane = field(default_factory=FakePlane)
    images: Images = field(default_factory=Images)
    events: list[Event] = field(default_factory=list)
    agent: Agent | None = None
    hypervisor: FakeHypervisor | None = None

    async def start(self, **settings: Any) -> Agent:
        self.hypervisor = FakeHypervisor(self.machine, delay=settings.pop("delay", 0.0))
        self.agent = Agent(
            "h1",
            bus=self.bus,
            hypervisor=self.hypervisor,
            plane=self.plane,
            images=self.images,
            state_dir=self.state_dir,
            clock=SystemClock(),
            **settings,
        )
        await self.agent.start()
        return self.agent

    async def stop(self) -> None:
        if self.agent is not None:
            await self.agent.stop()
        self.agent = None

    async def kill(self) -> None:
        """End the agent as a crash does: nothing is said, nothing is undone."""
        assert self.agent is not None
        await self.agent.crash()
        self.agent = None

    async def ask(self, command: Command, timeout: float = 30) -> Result:
        return await self.bus.request("h1", command, timeout=timeout)

    async def until(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(20):
            while not (found := condition()):
                await asyncio.sleep(0.002)
        return found

    def folder(self, server_id: str) -> Path:
        return self.state_dir / "guests" / server_id


def server_id(number: int = 1) -> str:
    return f"bbbbbbbb-0000-4000-8000-{number:012}"


def port_id(number: int = 1) -> str:
    return f"cccccccc-0000-4000-8000-{number:012}"


SpawnFactory = Callable[..., Spawn]


@pytest.fixture
def spawn() -> SpawnFactory:
    """Make a spawn of server `number`, whose port has the same number."""

    def make(
        number: int = 1, *, action: str = "", data: bytes = BYTES, checksum: str | None = None, **changes: Any
    ) -> Spawn:
        segment = HostSegment(
            network_id=NETWORK,
            name="private",
            tag=1,
            subnets=(HostSubnet(subnet_id=SUBNET, cidr="10.0.0.0/16", gateway="10.0.0.1", dhcp_address="10.0.0.2"),),
        )
        port = HostPort(
            port_id=port_id(number),
            network_id=NETWORK,
            server_id=server_id(number),
            mac=f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
            tap=f"tap{number:08}",
            addresses=(HostAddress(subnet_id=SUBNET, address=f"10.0.{1 + (number >> 8)}.{number & 255}"),),
            groups=(GROUP,),
        )
        guest = GuestSpec(
            server_id=server_id(number),
            name=f"instance-{number:08x}",
            vcpus=1,
            memory_mib=128,
            disks=local_disks({}, image_id=IMAGE, root_mib=1024),
            image=GuestImage(
                image_id=IMAGE,
                checksum=checksum or hashlib.sha512(data).hexdigest(),
                size=len(data),
                disk_format="raw",
                virtual_size=len(data),
            ),
            nics=(Tap(port_id=port.port_id, mac=port.mac, device=port.tap),),
            metadata=GuestMetadata(hostname=f"vm{number}", name=f"vm{number}", project_id="p", admin_password="s3cret"),
            **changes,
        )
        group = HostGroup(group_id=GROUP, rules=(GroupRule(direction="egress"),))
        network = HostNetwork(generation=number, segments=(segment,), ports=(port,), groups=(group,))
        return Spawn(action_id=action or f"action-{number}", guest=guest, network=network)

    return make


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose agent is not started yet."""
    made = World(tmp_path / "host")
    made.images.blobs[IMAGE] = BYTES

    async def hear(event: Event) -> None:
        made.events.append(event)

    await made.bus.listen(hear)
    await made.bus.share(hear)
    yield made
    await made.stop()
    await made.bus.close()


@pytest.fixture
def sources() -> Iterator[Sources]:
    """Make sources of images that are fetched over HTTP."""
    made = Sources()
    yield made
    made.threads.close()
