"""A server with the file of `floe bus-config`: who holds a host's key can be that host, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from certificates import authority, with_tls
from nats.aio.client import Client
from nats_server import NatsServer, nats_folder, nats_server

from floe import cli
from floe.bus import envelope, keys
from floe.bus.address import NatsAddress
from floe.bus.codec import encode
from floe.bus.envelope import Envelope
from floe.bus.nats import NatsBus
from floe.core.errors import Unavailable
from floe.core.messages import (
    ActionWaits,
    Command,
    Done,
    Heartbeat,
    HostDown,
    HostUp,
    ListGuests,
    ReadConsole,
    Result,
)

SEEDS = {name: keys.new_seed() for name in ("h1", "h2", "h3", "conductor")}


def users(*names: str) -> str:
    lines = [f"{keys.public_key(SEEDS[name])} {'control' if name == 'conductor' else 'host'} {name}" for name in names]
    return "\n".join(lines)


@pytest.fixture
def folder() -> Iterator[Path]:
    with nats_folder() as found:
        yield found


@pytest.fixture
def guarded(folder: Path) -> Iterator[NatsServer]:
    """A server that knows the conductor and two hosts."""
    write_users(folder, "conductor", "h1", "h2")
    with nats_server(folder, f'include "users.conf"\npid_file: "{folder}/pid"') as server:
        yield server


def write_users(folder: Path, *names: str, reload: bool = False) -> None:
    listed = folder / "list"
    listed.write_text(users(*names))
    more = ["--pid-file", str(folder / "pid")] if reload else []
    assert cli.main(["bus-config", str(listed), "--output", str(folder / "users.conf"), *more]) == 0


@asynccontextmanager
async def a_bus(server: NatsServer, name: str, **more: Any) -> AsyncIterator[NatsBus]:
    bus = NatsBus(NatsAddress(servers=(server.url,), seed=SEEDS[name], **more), name)
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


class Thief:
    """Somebody with a stolen key, who speaks NATS without Floe's manners."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.refused: list[str] = []
        self.heard: list[Any] = []

    async def hear(self, subject: str, queue: str = "") -> None:
        async def keep(msg: Any) -> None:
            self.heard.append(msg)

        await self.client.subscribe(subject, queue=queue, cb=keep)
        await self.client.flush()


@asynccontextmanager
async def a_thief(server: NatsServer, key: str) -> AsyncIterator[Thief]:
    client = Client()
    thief = Thief(client)

    async def refused(error: Exception) -> None:
        thief.refused.append(str(error).lower())

    await client.connect(server.url, nkeys_seed_str=SEEDS[key], error_cb=refused)
    try:
        yield thief
    finally:
        await client.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def done(command: Command) -> Result:
    return Done()


def ear(kept: list[Any]) -> Callable[[Any], Any]:
    async def keep(event: Any) -> None:
        kept.append(event)

    return keep


async def test_all_that_floe_does_is_allowed(guarded: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    heard, taken = list[Any](), list[Any]()
    async with a_bus(guarded, "h1") as agent, a_bus(guarded, "conductor") as one, a_bus(guarded, "conductor") as two:
        await agent.serve("h1", done)
        await two.listen(ear(heard))
        for bus in (one, two):
            await bus.share(ear(taken))
        assert await one.request("h1", ReadConsole(server_id="s" * 2_000_000), timeout=30) == Done()
        await agent.publish(Heartbeat(host="h1"))
        await agent.publish(HostUp(host="h1", hypervisor_type="x" * 2_000_000, hypervisor_version=1, inventories=()))
        await one.publish(ActionWaits(action_id="a"))
        await until(lambda: len(heard) == 1 and len(taken) == 2)
        with pytest.raises(Unavailable, match="no agent serves it"):
            await one.request("h2", ListGuests(), timeout=30)
    assert "refuses" not in caplog.text
    assert "Violation" not in guarded.log


async def test_a_reload_lets_in_who_is_new_throws_out_who_left_and_disturbs_nobody(guarded: NatsServer) -> None:
    started, may = asyncio.Event(), asyncio.Event()

    async def slowly(command: Command) -> Result:
        started.set()
        await may.wait()
        return Done()

    async with a_bus(guarded, "h1") as first, a_bus(guarded, "h2") as second, a_bus(guarded, "conductor") as conductor:
        await first.serve("h1", slowly)
        await second.serve("h2", done)
        waits = asyncio.ensure_future(conductor.request("h1", ListGuests(), timeout=60))
        await started.wait()
        write_users(guarded.folder, "conductor", "h1", "h3", reload=True)
        await until(lambda: "refuses our key" in second.trouble)
        may.set()
        assert await waits == Done(), "a command that was under way is answered all the same"
        assert not first.trouble
        with pytest.raises(Unavailable, match="no agent serves it"):
            await conductor.request("h2", ListGuests(), timeout=30)
        async with a_bus(guarded, "h3") as third:
            await third.serve("h3", done)
            assert await conductor.request("h3", ListGuests(), timeout=30) == Done()


async def test_who_holds_a_hosts_key_cannot_speak_for_another(guarded: NatsServer) -> None:
    heard, taken = list[Any](), list[Any]()
    async with a_bus(guarded, "conductor") as conductor, a_bus(guarded, "h2") as other, a_thief(guarded, "h1") as thief:
        await conductor.listen(ear(heard))
        await conductor.share(ear(taken))
        await other.serve("h2", done)
        assert await conductor.request("h2", ListGuests(), timeout=30) == Done()
        subjects = [
            *(f"floe.{kind}.h2" for kind in ("all", "one", "part", "here", "do")),
            *("floe.all", "floe.one", "floe.part", "floe.do.h1", "_R.h2.x.1", "_R.h1", "_INBOX.x", "floe.all.h1.x"),
        ]
        for subject in subjects:
            await thief.client.publish(subject, b"x")
        await thief.client.flush()
        await until(lambda: len(thief.refused) == len(subjects))
        assert all("permissions violation for publish" in words for words in thief.refused)
        # In his own name, he names another: the messages of Floe's own making.
        async with a_bus(guarded, "h1") as liar:
            for event in (Heartbeat(host="h2"), HostDown(host="h2"), ActionWaits(action_id="a")):
                for subject in ("floe.all.h1", "floe.one.h1"):
                    (frame,) = envelope.frames(Envelope(by="h1", number=1, body=encode(event)), 10_000)
                    await thief.client.publish(subject, frame)
                await liar.publish(event)
            await thief.client.flush()
            await liar.publish(Heartbeat(host="h1"))
        await until(lambda: heard)
        assert (heard, taken) == ([Heartbeat(host="h1")], [])


async def test_who_holds_a_hosts_key_cannot_read_what_others_are_told_or_say(guarded: NatsServer) -> None:
    async with a_bus(guarded, "conductor") as conductor, a_bus(guarded, "h2") as other, a_thief(guarded, "h1") as thief:
        await other.serve("h2", done)
        wanted = [
            "floe.do.h2", "floe.do.*", "floe.>", ">", "*", "floe.all.*", "floe.all.h2", "floe.one", "floe.one.*",
            "floe.part.*", "floe.here.*", "_R.>", "_R.h2.*.*", "_R.h1.*.*", "$SYS.>", "_INBOX.>",
        ]  # fmt: skip
        for subject in wanted:
            await thief.hear(subject)
            await thief.hear(subject, queue="takers")
        await until(lambda: len(thief.refused) == 2 * len(wanted))
        assert all("permissions violation for subscription" in words for words in thief.refused)
        assert await conductor.request("h2", ListGuests(), timeout=30) == Done()
        await other.publish(Heartbeat(host="h2"))
        await conductor.publish(ActionWaits(action_id="a"))
        await thief.client.flush()
        assert thief.heard == []


async def test_who_holds_a_hosts_key_can_be_that_host_until_it_is_removed(guarded: NatsServer) -> None:
    """What is lost with a key: its host's commands are read, and answers and events made up in that host's name."""
    heard = list[Any]()
    async with a_bus(guarded, "conductor") as conductor, a_thief(guarded, "h1") as thief:
        await conductor.listen(ear(heard))
        await thief.hear("floe.do.h1")
        with pytest.raises(Unavailable):
            await conductor.request("h1", ListGuests(), timeout=0.5)
        assert b"ListGuests" in thief.heard[0].data
        assert not thief.refused
        async with a_bus(guarded, "h1") as posing:
            await posing.serve("h1", done)
            await posing.publish(Heartbeat(host="h1"))
            await until(lambda: heard == [Heartbeat(host="h1")])
            write_users(guarded.folder, "conductor", "h2", reload=True)
            await until(lambda: "refuses our key" in posing.trouble)
        with pytest.raises(Unavailable, match="no agent serves it"):
            await conductor.request("h1", ListGuests(), timeout=30)


async def test_who_has_no_key_gets_nowhere(guarded: NatsServer) -> None:
    for more in ({}, {"seed": keys.new_seed()}):
        bus = NatsBus(NatsAddress(servers=(guarded.url,), **more), "nobody")
        with pytest.raises(Unavailable, match="refuses our key"):
            await bus.open()
        await bus.close()


# -- TLS ----------------------------------------------------------------------------------------------


async def test_with_tls_all_goes_on_and_nothing_is_said_in_clear(folder: Path) -> None:
    authority(folder, "theirs")
    write_users(folder, "conductor", "h1")
    with nats_server(folder, f'{with_tls(folder, "ours")}\ninclude "users.conf"') as server:
        more = {"ca_file": folder / "ours.pem"}
        async with a_bus(server, "h1", **more) as agent, a_bus(server, "conductor", **more) as conductor:
            await agent.serve("h1", done)
            assert await conductor.request("h1", ReadConsole(server_id="s" * 2_000_000), timeout=30) == Done()
            server.stop()
            await until(lambda: agent.trouble and conductor.trouble)
            server.start()
            await until(lambda: not agent.trouble and not conductor.trouble)
            assert await conductor.request("h1", ListGuests(), timeout=30) == Done()
        stranger = NatsBus(NatsAddress(servers=(server.url,), seed=SEEDS["h1"], ca_file=folder / "theirs.pem"), "h1")
        with pytest.raises(Unavailable, match="certificate verify failed"):
            await stranger.open()
        await stranger.close()


async def test_a_server_without_tls_gets_no_signature_of_who_wants_it(guarded: NatsServer) -> None:
    for address in (
        NatsAddress(servers=(guarded.url.replace("nats:", "tls:"),), seed=SEEDS["h1"]),
        NatsAddress(servers=(guarded.url,), seed=SEEDS["h1"], ca_file=Path("/etc/ssl/certs/ca-certificates.crt")),
    ):
        bus = NatsBus(address, "h1")
        with pytest.raises(Unavailable, match="does not offer TLS"):
            await bus.open()
        await bus.close()
