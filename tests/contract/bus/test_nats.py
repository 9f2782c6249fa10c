"""What holds of the bus over NATS alone: its server goes away, stands still, refuses; what comes late or large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import nkeys
import pytest
from nats.aio.client import Client
from nats.errors import ConnectionClosedError
from nats.errors import TimeoutError as NatsTimeoutError
from nats_server import NatsServer, nats_server

from floe.bus import connection, envelope
from floe.bus.address import NatsAddress
from floe.bus.codec import encode
from floe.bus.nats import NatsBus
from floe.bus.wire import BROKEN, FORGED, LATE, LOST, UNKNOWN, UNREAD, UNSENT
from floe.core.counters import Counters
from floe.core.errors import HostFailure, Invalid, Unavailable
from floe.core.messages import (
    ActionWaits,
    Command,
    ConsoleOutput,
    Done,
    GuestChanged,
    Heartbeat,
    HostDown,
    HostUp,
    ListGuests,
    Progress,
    ReadConsole,
    Result,
)


@pytest.fixture
def own() -> Iterator[NatsServer]:
    """A server that may be ill-treated."""
    with nats_server() as server:
        yield server


@asynccontextmanager
async def a_bus(server: NatsServer, name: str = "test", **more: Any) -> AsyncIterator[NatsBus]:
    bus = NatsBus(NatsAddress(servers=(server.url,)), name, **more)
    await bus.open()
    try:
        yield bus
    finally:
        await bus.close()


@asynccontextmanager
async def a_stranger(server: NatsServer) -> AsyncIterator[Client]:
    """Somebody who speaks NATS, and may do what he likes."""
    client = Client()
    await client.connect(server.url)
    try:
        yield client
    finally:
        await client.close()


class Host:
    """Carries out commands, and counts them; each waits while it is held."""

    def __init__(self) -> None:
        self.told: list[Command] = []
        self.may = asyncio.Event()
        self.may.set()

    async def handle(self, command: Command) -> Result:
        self.told.append(command)
        await self.may.wait()
        return Done()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_killed_server_fails_what_waits_and_what_is_asked_and_its_return_heals_all(own: NatsServer) -> None:
    host, heard, taken = Host(), list[Any](), list[Any]()

    async def hear(event: Any) -> None:
        heard.append(event)

    async def take(event: Any) -> None:
        taken.append(event)

    async def say_anew() -> None:
        anew.append("h1")

    anew: list[str] = []
    counters = Counters()
    async with a_bus(own, "agent") as agent, a_bus(own, "conductor", counters=counters) as conductor:
        await agent.serve("h1", host.handle, back=say_anew)
        await conductor.listen(hear)
        await conductor.share(take)
        host.may.clear()
        waits = asyncio.ensure_future(conductor.request("h1", ListGuests(), timeout=60))
        await until(lambda: host.told)
        own.stop()
        with pytest.raises(Unavailable, match="'h1' gave no answer: the bus went away"):
            await waits
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"bus cannot be reached \(nats://127\.0\.0\.1"):
                await conductor.request("h1", ReadConsole(server_id="s"), timeout=60)
        await conductor.publish(ActionWaits(action_id="lost"))  # no error
        own.start()
        assert not anew
        await until(lambda: not agent.trouble and not conductor.trouble and anew == ["h1"])
        host.may.set()
        assert await conductor.request("h1", ListGuests(), timeout=30) == Done()
        await agent.publish(Heartbeat(host="h1"))
        await agent.publish(HostDown(host="h1"))
        await until(lambda: (heard, taken) == ([Heartbeat(host="h1")], [HostDown(host="h1")]))
        assert (counters.total(LOST), counters.total(UNSENT)) == (1, 1)
        assert set(host.told) == {ListGuests()}, "what was asked while it was away has not come late"


async def test_a_server_that_stands_still_is_noticed(own: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    host = Host()
    assert connection.PING_SECONDS + connection.PONG_SECONDS < 5
    async with a_bus(own, "agent") as agent, a_bus(own, "conductor") as conductor:
        await agent.serve("h1", host.handle)
        await conductor.request("h1", ListGuests(), timeout=30)
        own.freeze()
        with pytest.raises(Unavailable, match="answers nothing for 2 s"):
            await conductor.request("h1", ListGuests(), timeout=60)
        with pytest.raises(Unavailable, match="bus cannot be reached"):
            await conductor.request("h1", ListGuests(), timeout=60)
        own.thaw()
        await until(lambda: not agent.trouble and not conductor.trouble)
        assert await conductor.request("h1", ListGuests(), timeout=30) == Done()
        said = [record.message for record in caplog.records if "conductor has no connection" in record.message]
        assert len(said) == len(set(said)), "each reason is said once"


async def test_who_comes_and_goes_while_the_server_does_is_there_or_not_as_it_said_last(own: NatsServer) -> None:
    dice, host, ends = Random(5), Host(), asyncio.Event()
    wanted: dict[str, bool] = {}
    async with a_bus(own, "agent") as agent, a_bus(own, "conductor") as conductor:

        async def come_and_go() -> None:
            while not ends.is_set():
                name = f"h{dice.randrange(8)}"
                if dice.random() < 0.5:
                    await agent.serve(name, host.handle)
                    wanted[name] = True
                else:
                    await agent.withdraw(name)
                    wanted[name] = False
                await asyncio.sleep(dice.choice((0, 0, 0.001)))

        busy = asyncio.create_task(come_and_go())
        for _ in range(4):
            await asyncio.sleep(0.1)
            own.stop()
            own.start()
        await until(lambda: not agent.trouble)
        ends.set()
        await busy
        await until(lambda: not agent.trouble and not conductor.trouble)
        await settle_down(agent)
        for name, serves in sorted(wanted.items()):
            if serves:
                assert await conductor.request(name, ListGuests(), timeout=30) == Done()
            else:
                with pytest.raises(Unavailable, match="no agent serves it"):
                    await conductor.request(name, ListGuests(), timeout=30)


async def settle_down(bus: NatsBus) -> None:
    """Have the server take all that was said before."""
    async with asyncio.timeout(60):
        while True:
            while bus._wire.connection._ending or bus.trouble:
                await asyncio.sleep(0.005)
            client = bus._wire.connection._client
            try:
                assert client is not None
                await client.rtt(timeout=5)
            except (ConnectionClosedError, NatsTimeoutError):  # of a server that died before, which shows only now
                await asyncio.sleep(0.005)
            else:
                return


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ({"servers": ()}, "has no server"),
        ({"servers": ("localhost:4222",)}, "'localhost:4222'; nats://host:port or tls://host:port is wanted"),
        ({"servers": ("nats://user:secret@host",)}, "is wanted"),
        ({"servers": ("http://host:1",)}, "is wanted"),
        ({"servers": ("nats://host:1",), "seed": "SUNONE"}, "none of a user's: it is not SU and 56"),
    ],
)
def test_an_address_that_is_none_is_refused(address: dict[str, Any], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        NatsAddress(**address)
    assert NatsAddress(servers=("nats://10.0.0.1", "tls://[fd00::1]:4222", "nats://bus.example:1")).secure


async def test_certificates_that_are_none_are_refused_with_their_file(own: NatsServer, tmp_path: Path) -> None:
    for file in (tmp_path / "none.pem", tmp_path):
        with pytest.raises(Invalid, match=str(file)):
            await NatsBus(NatsAddress(servers=(own.url,), ca_file=file), "h1").open()


async def test_a_server_that_takes_small_messages_alone_is_refused(own: NatsServer) -> None:
    own.configure("max_payload: 10000")
    own.reload()
    bus = NatsBus(NatsAddress(servers=(own.url,)), "h1")
    with pytest.raises(Unavailable, match="its max_payload is 10000, and 65536 is the least"):
        await bus.open()
    await bus.close()


async def test_a_server_that_is_not_there_is_no_reason_to_wait_and_is_found_when_it_comes(own: NatsServer) -> None:
    own.stop()
    bus = NatsBus(NatsAddress(servers=(own.url,)), "early")
    with pytest.raises(Unavailable, match="cannot be reached"):
        await bus.open(patience=60)
    await bus.serve("h1", Host().handle)
    own.start()
    await until(lambda: not bus.trouble)
    async with a_bus(own) as other:
        assert await other.request("h1", ListGuests(), timeout=30) == Done()
    await bus.close()


async def test_a_key_that_is_refused_is_said_once_and_taken_when_the_server_knows_it(
    own: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    known, new = (nkeys.from_seed(nkeys.encode_seed(bytes([fill]) * 32, nkeys.PREFIX_BYTE_USER)) for fill in (1, 2))

    def users(*keys: nkeys.KeyPair) -> str:
        return f"authorization {{ users: [{', '.join(f'{{nkey: {key.public_key.decode()}}}' for key in keys)}] }}"

    own.configure(users(known))
    own.reload()
    bus = NatsBus(NatsAddress(servers=(own.url,), seed=new.seed.decode()), "stranger")
    with pytest.raises(Unavailable, match="refuses our key"):
        await bus.open(patience=60)
    await until(lambda: own.log.count("authentication error") >= 3)
    assert [record.levelname for record in caplog.records if "refuses our key" in record.message] == ["WARNING"]
    own.configure(users(known, new))
    own.reload()
    await until(lambda: not bus.trouble)
    own.configure(users(known))
    own.reload()
    await until(lambda: "refuses our key" in bus.trouble)  # thrown out, and told why when it tried again
    await bus.close()


async def test_a_command_that_comes_when_its_asker_gave_up_is_not_carried_out(own: NatsServer) -> None:
    host, counters, frames = Host(), Counters(), list[Any]()

    async def keep(msg: Any) -> None:
        frames.append(msg)

    async with a_bus(own, "agent", counters=counters) as agent, a_bus(own) as asker, a_stranger(own) as stranger:
        await agent.serve("h1", host.handle)
        assert await asker.request("h1", ListGuests(), timeout=30) == Done()
        await agent.withdraw("h1")  # what comes now is held up on its way
        await stranger.subscribe("floe.do.h1", cb=keep)
        await stranger.flush()
        with pytest.raises(Unavailable, match="'h1' gave no answer"):
            await asker.request("h1", ListGuests(), timeout=0.2)
        await until(lambda: frames)
        await agent.serve("h1", host.handle)
        assert await asker.request("h1", ReadConsole(server_id="s"), timeout=30) == Done()
        told = len(host.told)
        for msg in list(frames):
            await stranger.publish("floe.do.h1", msg.data, reply=msg.reply)
        assert await asker.request("h1", ReadConsole(server_id="s"), timeout=30) == Done()
        assert len(host.told) == told + 1, "neither what was given up, nor what was answered, is done again"


async def test_a_command_for_this_run_that_comes_late_is_not_carried_out(own: NatsServer) -> None:
    host, counters, frames = Host(), Counters(), list[Any]()

    async def keep(msg: Any) -> None:
        frames.append(msg)

    async with a_bus(own, "agent", counters=counters) as agent, a_bus(own) as asker, a_stranger(own) as stranger:
        await stranger.subscribe("floe.do.h1", cb=keep)
        await stranger.flush()
        await agent.serve("h1", host.handle)
        await until(lambda: not asker.trouble)
        await asker.request("h1", ListGuests(), timeout=30)  # from here on it knows the host's clock
        host.may.clear()
        frames.clear()
        with pytest.raises(Unavailable, match=r"no answer to ListGuests in 0\.3 s"):
            await asker.request("h1", ListGuests(), timeout=0.3)
        await until(lambda: frames)
        sent = envelope.read(frames[-1].data)
        changed = envelope.Envelope(
            version=1, by="another", number=1, run=sent.run, until=sent.until, body=encode(ListGuests())
        )
        before = len(host.told)
        (frame,) = envelope.frames(changed, 10_000)
        await stranger.publish("floe.do.h1", frame, reply="_R.h1.another.1")
        await until(lambda: counters.total(UNREAD, LATE))
        assert len(host.told) == before


async def test_a_host_whose_agent_starts_anew_keeps_nobody_waiting(own: NatsServer) -> None:
    held, fresh = Host(), Host()
    held.may.clear()
    async with a_bus(own, "conductor") as conductor:
        async with a_bus(own, "agent") as agent:
            await agent.serve("h1", held.handle)
            waits = asyncio.ensure_future(conductor.request("h1", ListGuests(), timeout=60))
            await until(lambda: held.told)
            async with a_bus(own, "agent again") as again:  # the first is dead, and said nothing
                await again.serve("h1", fresh.handle)
                with pytest.raises(Unavailable, match="'h1' gave no answer: its agent was started anew"):
                    await waits
                fresh.may.clear()
                stops = asyncio.ensure_future(conductor.request("h1", ListGuests(), timeout=60))
                await until(lambda: len(held.told) + len(fresh.told) > 1)
        with pytest.raises(Unavailable, match="'h1' gave no answer: it stopped"):
            await stops


async def test_large_messages_come_whole_in_each_direction(own: NatsServer) -> None:
    text = "x" * 5_000_000
    heard, taken, also = list[Any](), list[Any](), list[Any]()

    async def console(command: Command) -> Result:
        assert isinstance(command, ReadConsole)
        return ConsoleOutput(text=command.server_id + "!")

    def ear(kept: list[Any]) -> Callable[[Any], Any]:
        async def keep(event: Any) -> None:
            kept.append(event)

        return keep

    async with a_bus(own, "agent") as agent, a_bus(own) as one, a_bus(own) as other:
        await agent.serve("h1", console)
        await one.listen(ear(heard))
        await one.share(ear(taken))
        await other.share(ear(also))
        assert await one.request("h1", ReadConsole(server_id=text), timeout=60) == ConsoleOutput(text=text + "!")
        progress = Progress(host="h1", action_id="a", step=text, started=0.0)
        up = HostUp(host="h1", hypervisor_type=text, hypervisor_version=1, inventories=())
        await agent.publish(progress)
        for _ in range(3):
            await agent.publish(up)
        await until(lambda: heard == [progress] and len(taken) + len(also) == 3)
        assert all(event == up for event in (*taken, *also))


async def test_what_the_server_is_slow_to_take_waits_and_is_not_overtaken(own: NatsServer) -> None:
    heard: list[int] = []

    async def hear(event: Any) -> None:
        heard.append(int(event.step.partition(" ")[0]))

    async def say_all(bus: NatsBus) -> None:
        for number in range(300):
            step = f"{number} {'x' * (number % 7) * 20_000}"
            await bus.publish(Progress(host="h1", action_id="a", step=step, started=0.0))

    async with a_bus(own, "agent") as agent, a_bus(own, "conductor") as conductor:
        await conductor.listen(hear)
        own.freeze()  # what is said from here on waits in buffers, and then whoever says it
        saying = asyncio.ensure_future(say_all(agent))
        await asyncio.sleep(0)
        own.thaw()
        await saying
        await until(lambda: len(heard) == 300)
    assert heard == list(range(300))


async def test_what_is_too_large_is_refused_with_its_size(own: NatsServer) -> None:
    async def console(command: Command) -> Result:
        return ConsoleOutput(text="x" * 20_000_000)

    async with a_bus(own) as bus:
        await bus.serve("h1", console)
        with pytest.raises(HostFailure, match=r"It is 200000\d\d bytes long, and the bus carries at most 16777216"):
            await bus.request("h1", ReadConsole(server_id="y" * 20_000_000), timeout=60)
        with pytest.raises(HostFailure, match=r"The answer cannot be sent\. It is 200000\d\d bytes"):
            await bus.request("h1", ReadConsole(server_id="y"), timeout=60)


async def test_what_is_not_understood_is_counted_and_harms_nobody(own: NatsServer) -> None:
    heard, taken, counters, host = list[Any](), list[Any](), Counters(), Host()

    async def hear(event: Any) -> None:
        heard.append(event)

    async def take(event: Any) -> None:
        taken.append(event)

    def said(body: bytes) -> bytes:
        (frame,) = envelope.frames(envelope.Envelope(by="x", number=1, body=body), 10_000)
        return frame

    async with a_bus(own, counters=counters) as bus, a_stranger(own) as stranger:
        await bus.serve("h1", host.handle)
        await bus.listen(hear)
        await bus.share(take)
        await bus.publish(Heartbeat(host="h1"))
        await bus.publish(ActionWaits(action_id="a"))
        await until(lambda: heard and taken)  # the server knows by now who hears what
        heard.clear()
        taken.clear()
        for subject in ("floe.all.h1", "floe.one.h1", "floe.part.h1", "floe.do.h1", "floe.here.h1"):
            for data in (b"", b"\xc1", b"rubbish" * 1000):
                await stranger.publish(subject, data, reply="_R.h1.x.1")
        for body in (b"", b"\x92\xa6Sprout\x80", encode(Done()), encode(ListGuests())):
            await stranger.publish("floe.all.h1", said(body))
            await stranger.publish("floe.one.h1", said(body))
        forged = (
            ("floe.all.h2", Heartbeat(host="h1")),
            ("floe.one.h2", GuestChanged(host="h1", server_id="s", power_state=1)),  # type: ignore[arg-type]
            ("floe.one.h2", ActionWaits(action_id="a")),
            ("floe.all", Heartbeat(host="h1")),
        )
        for subject, event in forged:
            await stranger.publish(subject, said(encode(event)))
        await stranger.flush()
        await bus.publish(Heartbeat(host="h1"))
        await bus.publish(ActionWaits(action_id="b"))
        await until(lambda: heard and taken)
        assert (heard, taken) == ([Heartbeat(host="h1")], [ActionWaits(action_id="b")])
        await until(lambda: counters.total(UNREAD, FORGED) >= 4 and counters.total(UNREAD, UNKNOWN) >= 8)
        assert (counters.total(UNREAD, FORGED), counters.total(UNREAD, UNKNOWN)) == (4, 8)
        assert counters.total(UNREAD, BROKEN) >= 9
        assert await bus.request("h1", ListGuests(), timeout=30) == Done()
        assert host.told == [ListGuests()]
