"""The metadata service over real sockets: each guest hears of itself alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from msgspec.structs import replace

from floe.agent.callers import Callers
from floe.agent.metadata import REFUSED
from floe.core.disks import local_disks
from floe.core.errors import HostFailure
from floe.core.guest_passwords import PasswordPosted
from floe.core.host_network import HostAddress, HostRouter, HostSegment, HostSubnet, RouterLeg
from floe.core.messages import Destroy, Spawn, UpdateMetadata
from floe.dataplane.protocol import MetadataAddress

World = Any
SpawnFactory = Any


def on_loopback(command: Spawn, address: str) -> Spawn:
    """Move a spawn to a network of loopback addresses, so that its guest can be played by this process."""
    subnet = HostSubnet(subnet_id="s", cidr="127.0.0.0/8", gateway="127.0.0.1", dhcp_address="127.0.0.2")
    port = replace(command.network.ports[0], addresses=(HostAddress(subnet_id="s", address=address),))
    segment = replace(command.network.segments[0], subnets=(subnet,))
    return replace(command, network=replace(command.network, segments=(segment,), ports=(port,)))


async def ask(world: World, request: bytes, source: str) -> tuple[bytes, bytes]:
    """Send a request from an address of the loopback; return status line and body."""
    served = world.agent._metadata.listening()
    host, port = next(iter(served.values()))
    reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
    writer.write(request)
    try:
        async with asyncio.timeout(20):
            reply = await reader.read()
        writer.close()
        await writer.wait_closed()
    except ConnectionError:
        return b"hung up", b""
    if not reply:
        return b"hung up", b""
    head, _, body = reply.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0], body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: 169.254.169.254", *headers, "", "")).encode()


@pytest.fixture
async def two(world: World, spawn: SpawnFactory) -> World:
    await world.start()
    for number in (1, 2):
        await world.ask(on_loopback(spawn(number), f"127.0.0.1{number}"))
    return world


async def test_each_guest_is_told_about_itself_alone(two: World, spawn: SpawnFactory) -> None:
    for number in (1, 2):
        status, body = await ask(two, get("/openstack/latest/meta_data.json"), f"127.0.0.1{number}")
        assert status == b"HTTP/1.1 200 OK"
        assert json.loads(body)["uuid"] == spawn(number).guest.server_id


async def test_who_asks_is_not_who_he_says_he_is(two: World, spawn: SpawnFactory) -> None:
    lies = ("X-Forwarded-For: 127.0.0.12", f"X-Instance-ID: {spawn(2).guest.server_id}")
    _, body = await ask(two, get("/openstack/latest/meta_data.json", *lies), "127.0.0.11")
    assert json.loads(body)["uuid"] == spawn(1).guest.server_id


async def test_at_a_router_a_guest_is_known_by_its_address_on_the_subnet_of_an_interface(
    world: World, spawn: SpawnFactory
) -> None:
    """Also where a network of the router has, in a subnet that it is not on, another guest of that address."""
    await world.start()
    commands = [spawn(1), spawn(2)]
    near, far = (
        replace(command.network.segments[0], network_id=f"net-{number}", tag=number)
        for number, command in enumerate(commands, 1)
    )
    held = (HostAddress(subnet_id="s", address="10.1.0.5"),)
    legs = (
        RouterLeg(port_id="l1", network_id=near.network_id, mac="fa:16:3e:00:01:01", addresses=("10.1.0.1/24",)),
        RouterLeg(port_id="l2", network_id=far.network_id, mac="fa:16:3e:00:01:02", addresses=("10.2.0.1/24",)),
    )
    router = HostRouter(router_id="router", interfaces=legs)
    for command, segment in zip(commands, (near, far), strict=True):
        ports = (replace(command.network.ports[0], network_id=segment.network_id, addresses=held),)
        network = replace(command.network, segments=(near, far), ports=ports, routers=(router,))
        await world.ask(replace(command, network=network))
    service = world.agent._metadata
    assert "router" in service.listening()
    asked = MetadataAddress(router_id="router", namespace=None, address="169.254.169.254")
    found = await service.answer(asked, "10.1.0.5", "/openstack/latest/meta_data.json")
    assert json.loads(found[1])["uuid"] == commands[0].guest.server_id
    assert await service.answer(asked, "10.2.0.5", "/openstack/latest/meta_data.json") is None
    gone = replace(asked, router_id="gone")
    assert await service.answer(gone, "10.1.0.5", "/openstack/latest/meta_data.json") is None


async def test_a_guest_is_told_where_its_tagged_devices_are_or_to_ask_again(world: World, spawn: SpawnFactory) -> None:
    """Its drive says the same, as of its start."""
    await world.start()
    command = on_loopback(spawn(1), "127.0.0.11")
    image_id = command.guest.image.image_id
    root, drive = local_disks({}, image_id=image_id, root_mib=1024, config_drive=True)
    disks = (replace(root, device_tag="system"), drive)
    ports = tuple(replace(port, device_tag="front") for port in command.network.ports)
    guest = replace(command.guest, disks=disks)
    await world.ask(replace(command, guest=guest, network=replace(command.network, ports=ports)))
    asked = get("/openstack/latest/meta_data.json")
    status, body = await ask(world, asked, "127.0.0.11")
    nic, disk = json.loads(body)["devices"]
    assert (nic["tags"], nic["mac"], disk["tags"], disk["serial"]) == (["front"], ports[0].mac, ["system"], "root")
    assert len({nic["address"], disk["address"], "none"}) == 3
    drive = world.folder(guest.server_id) / "config.iso"
    assert json.dumps([nic, disk]).encode() in drive.read_bytes()
    machine = world.machine
    machine.fail("addresses", HostFailure("libvirt is away"))
    assert (await ask(world, asked, "127.0.0.11"))[0] == b"HTTP/1.1 503 Service Unavailable"
    machine.fail("addresses", HostFailure("libvirt is away"))
    status, _ = await ask(world, get("/openstack/latest/network_data.json"), "127.0.0.11")
    assert status == b"HTTP/1.1 200 OK"


async def test_a_stranger_and_a_deleted_guest_are_told_nothing(two: World, spawn: SpawnFactory) -> None:
    assert (await ask(two, get("/"), "127.0.0.99"))[0] == b"HTTP/1.1 404 Not Found"
    guest = spawn(1).guest
    await two.ask(Destroy(action_id="d", server_id=guest.server_id, guest_name=guest.name, generation=3))
    assert (await ask(two, get("/openstack/latest/meta_data.json"), "127.0.0.11"))[0] == b"HTTP/1.1 404 Not Found"


async def test_a_query_and_escapes_in_the_path_are_understood(two: World) -> None:
    assert (await ask(two, get("/latest/meta%2Ddata/hostname?x=1"), "127.0.0.11"))[1] == b"vm1"


async def test_a_head_request_gets_no_body(two: World) -> None:
    assert await ask(two, b"HEAD /latest/meta-data/hostname HTTP/1.1\r\n\r\n", "127.0.0.11") == (
        b"HTTP/1.1 200 OK",
        b"",
    )


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /latest HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed"),
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"hung up"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found"),
    ],
)
async def test_what_is_no_good_request_is_refused(two: World, request_bytes: bytes, status: bytes) -> None:
    assert (await ask(two, request_bytes, "127.0.0.11"))[0] == status


async def test_a_network_that_comes_back_has_its_socket_again_and_only_so_many_are_kept(two: World) -> None:
    service, plane = two.agent._metadata, two.plane
    (network_id,), (before,) = service.listening().keys(), service.listening().values()
    (segment,) = plane.applied.segments
    full = plane.applied

    async def follow(segments: tuple[HostSegment, ...]) -> dict[str, tuple[str, int]]:
        plane.applied = replace(full, segments=segments)
        await service.follow()
        return service.listening()

    assert await follow(()) == {}
    assert await follow((segment,)) == {network_id: before}
    others = tuple(replace(segment, network_id=f"n{number}") for number in range(40))
    assert len(await follow(others)) == 40
    assert await follow(()) == {}
    assert len(service._servers) == 16


async def test_a_guest_may_not_hold_many_connections(two: World) -> None:
    host, port = next(iter(two.agent._metadata.listening().values()))
    held = [await asyncio.open_connection(host, port, local_addr=("127.0.0.11", 0)) for _ in range(16)]
    await two.until(lambda: len(two.agent._metadata._callers) == 16)
    assert (await ask(two, get("/"), "127.0.0.11"))[0] == b"hung up"
    assert (await ask(two, get("/"), "127.0.0.12"))[0] == b"HTTP/1.1 200 OK"
    for _, writer in held:
        writer.close()
        await writer.wait_closed()


async def test_all_guests_together_hold_so_many_and_who_holds_most_loses_one(two: World) -> None:
    service = two.agent._metadata
    service._callers = Callers(per_guest=16, most=8)
    host, port = next(iter(service.listening().values()))
    greedy = [await asyncio.open_connection(host, port, local_addr=("127.0.0.11", 0)) for _ in range(8)]
    await two.until(lambda: len(service._callers) == 8)
    assert (await ask(two, get("/"), "127.0.0.12"))[0] == b"HTTP/1.1 200 OK"
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            assert await greedy[0][0].read() == b""
    assert len(service._callers) <= 8
    assert service._counters.total(REFUSED, "full") == 1
    for _, writer in greedy:
        writer.transport.abort()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n"], ids=["silent", "half a head"])
async def test_a_guest_that_sends_no_whole_request_is_hung_up_on(two: World, begun: bytes) -> None:
    two.agent._metadata._seconds = 0.2
    assert (await ask(two, begun, "127.0.0.11"))[0] == b"hung up"
    assert two.agent._metadata._counters.total(REFUSED, "slow") == 1
    assert len(two.agent._metadata._callers) == 0


async def test_a_guest_that_does_not_take_its_answer_is_hung_up_on(
    two: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service = two.agent._metadata
    service._seconds = 0.3

    async def answer(*_: object) -> tuple[str, bytes]:
        return "text/plain", b"x" * (32 << 20)

    monkeypatch.setattr(service, "answer", answer)
    host, port = next(iter(service.listening().values()))
    for times in (1, 2):
        _, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.11", 0))
        writer.transport.pause_reading()
        writer.write(get("/"))
        await two.until(lambda times=times: service._counters.total(REFUSED, "slow") == times)
        await two.until(lambda: len(service._callers) == 0)
        writer.transport.abort()
    assert len([record for record in caplog.records if "took too long" in record.getMessage()]) == 1


async def test_metadata_is_served_again_after_a_restart(two: World) -> None:
    await two.kill()
    await two.start()
    assert (await ask(two, get("/latest/meta-data/hostname"), "127.0.0.12"))[1] == b"vm2"


PASSWORD = "/openstack/latest/password"


def post(body: bytes, *headers: str, path: str = PASSWORD, length: str | None = "", version: str = "1.1") -> bytes:
    said = () if length is None else (f"Content-Length: {length or len(body)}",)
    return "\r\n".join((f"POST {path} HTTP/{version}", *said, *headers, "", "")).encode() + body


async def test_a_guest_posts_a_password_once_and_reads_it_back(two: World, spawn: SpawnFactory) -> None:
    ident = spawn(1).guest.server_id
    assert await ask(two, post("geheim ☃".encode()), "127.0.0.11") == (b"HTTP/1.1 200 OK", b"")
    assert (await ask(two, get(PASSWORD), "127.0.0.11"))[1].decode() == "geheim ☃"
    assert (await ask(two, get(PASSWORD), "127.0.0.12"))[1] == b""
    said = await two.until(lambda: [event for event in two.events if isinstance(event, PasswordPosted)])
    assert said == [PasswordPosted(host="h1", server_id=ident, password="geheim ☃", turn=1)]
    for body in (b"another", b"", b"x" * 5000):
        assert (await ask(two, post(body), "127.0.0.11"))[0] == b"HTTP/1.1 409 Conflict"
    assert (await ask(two, get(PASSWORD), "127.0.0.11"))[1].decode() == "geheim ☃"
    assert [event for event in two.events if isinstance(event, PasswordPosted)] == said


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/openstack/2013-04-04/password", b"200 OK"),
        ("/openstack/2025-04-04/password/", b"200 OK"),
        ("/openstack/2012-08-10/password", b"405 Method Not Allowed"),
        ("/openstack/1999-01-01/password", b"405 Method Not Allowed"),
        ("/openstack/latest/meta_data.json", b"405 Method Not Allowed"),
        ("/latest/password", b"405 Method Not Allowed"),
    ],
)
async def test_a_password_is_taken_by_each_version_that_has_one(two: World, path: str, status: bytes) -> None:
    assert (await ask(two, post(b"p", path=path), "127.0.0.11"))[0] == b"HTTP/1.1 " + status


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post(b"x" * 1020), b"200 OK"),
        (post(b"x" * 1021), b"400 Bad Request"),
        (post(b"x" * 300_000), b"400 Bad Request"),
        (post(b"", length="9" * 5000), b"400 Bad Request"),
        (post(b"x", length="-1"), b"400 Bad Request"),
        (post(b"x", length="+1"), b"400 Bad Request"),
        (post(b"x", length="1_0"), b"400 Bad Request"),
        (post(b"x", length="1, 1"), b"400 Bad Request"),
        (post(b"x", length="\xb2"), b"400 Bad Request"),
        (post(b"x", "Content-Length: 2"), b"400 Bad Request"),
        (post(b"x", "Transfer-Encoding: chunked"), b"400 Bad Request"),
        (post(b"1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=None), b"411 Length Required"),
        (post(b"", length=None), b"411 Length Required"),
        (post(b"\xff\xfe"), b"400 Bad Request"),
        (post(b"\xed\xa0\x80"), b"400 Bad Request"),
        (post(b"a\0b"), b"200 OK"),
        (post(b"xy", length="0001"), b"200 OK"),
        (post(b""), b"200 OK"),
        (post(b"x", "Expect: the-unexpected"), b"417 Expectation Failed"),
        (post(b"x", "Expect: 100-continue", version="1.0"), b"200 OK"),
        (post(b"x").replace(b"POST", b"PUT"), b"405 Method Not Allowed"),
    ],
)
async def test_what_is_no_password_is_refused_and_may_be_posted_right_after(
    two: World, request_bytes: bytes, status: bytes
) -> None:
    assert (await ask(two, request_bytes, "127.0.0.11"))[0] == b"HTTP/1.1 " + status
    stored = status == b"200 OK" and request_bytes != post(b"")
    after = b"409 Conflict" if stored else b"200 OK"
    assert (await ask(two, post(b"right"), "127.0.0.11"))[0] == b"HTTP/1.1 " + after


async def test_a_body_is_asked_for_by_those_alone_whose_password_is_wanted(two: World) -> None:
    host, port = next(iter(two.agent._metadata.listening().values()))
    head = post(b"", "Expect: 100-continue", length="3")
    reader, writer = await asyncio.open_connection(host, port, local_addr=("127.0.0.11", 0))
    async with asyncio.timeout(20):
        writer.write(head)
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"one")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    writer.close()
    assert (await ask(two, head, "127.0.0.11"))[0] == b"HTTP/1.1 409 Conflict"
    too_long = post(b"", "Expect: 100-continue", length="1021")
    assert (await ask(two, too_long, "127.0.0.12"))[0] == b"HTTP/1.1 400 Bad Request"


async def test_a_guest_that_sends_less_than_it_said_is_hung_up_on_and_has_posted_nothing(two: World) -> None:
    two.agent._metadata._seconds = 0.2
    assert (await ask(two, post(b"half", length="8"), "127.0.0.11"))[0] == b"hung up"
    two.agent._metadata._seconds = 10.0
    assert (await ask(two, post(b"whole"), "127.0.0.11"))[0] == b"HTTP/1.1 200 OK"


async def test_of_many_that_post_at_once_one_is_heard(two: World) -> None:
    answers = await asyncio.gather(*(ask(two, post(b"%d" % number), "127.0.0.11") for number in range(12)))
    (heard,) = (number for number, (status, _) in enumerate(answers) if status == b"HTTP/1.1 200 OK")
    assert [status for status, _ in answers].count(b"HTTP/1.1 409 Conflict") == 11
    assert (await ask(two, get(PASSWORD), "127.0.0.11"))[1] == b"%d" % heard


async def test_a_stranger_posts_nothing(two: World) -> None:
    assert (await ask(two, post(b"x"), "127.0.0.99"))[0] == b"HTTP/1.1 404 Not Found"


async def test_what_was_refused_once_costs_no_write(two: World) -> None:
    assert (await ask(two, post(b"first"), "127.0.0.11"))[0] == b"HTTP/1.1 200 OK"
    ledger = two.state_dir / "ledger.jsonl"
    await two.until(lambda: len([event for event in two.events if isinstance(event, PasswordPosted)]) == 1)
    before = ledger.stat().st_size
    for _ in range(100):
        assert (await ask(two, post(b"again"), "127.0.0.11"))[0] == b"HTTP/1.1 409 Conflict"
    assert ledger.stat().st_size == before and not two.agent._ledger.unsynced


async def test_where_the_disk_has_no_room_a_password_is_not_taken(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two.agent._ledger.passwords, "_append", lambda _entry: False)
    assert (await ask(two, post(b"x"), "127.0.0.11"))[0] == b"HTTP/1.1 503 Service Unavailable"
    assert (await ask(two, get(PASSWORD), "127.0.0.11"))[1] == b""


async def test_a_password_is_on_the_disk_before_it_is_answered_for(two: World, spawn: SpawnFactory) -> None:
    """And said again by the next agent, until it is told of it, or of a later turn."""
    await ask(two, post(b"kept"), "127.0.0.11")
    assert b'"kept"' in (two.state_dir / "ledger.jsonl").read_bytes()
    assert not two.agent._ledger.unsynced
    await two.kill()
    two.events.clear()
    await two.start(heartbeat=0.02)
    assert (await ask(two, get(PASSWORD), "127.0.0.11"))[1] == b"kept"
    guest = spawn(1).guest
    said = PasswordPosted(host="h1", server_id=guest.server_id, password="kept", turn=1)
    await two.until(lambda: two.events.count(said) > 2)
    told = replace(guest.metadata, password="kept", password_turn=1)
    await two.ask(UpdateMetadata(server_id=guest.server_id, metadata=told))
    assert two.agent._ledger.passwords.due() == []
    cleared = replace(told, password=None, password_turn=2)
    await two.ask(UpdateMetadata(server_id=guest.server_id, metadata=cleared))
    await two.ask(UpdateMetadata(server_id=guest.server_id, metadata=replace(told, name="late")))
    assert (await ask(two, get(PASSWORD), "127.0.0.11"))[1] == b"", "what is told late brings nothing back"
    await two.until(lambda: replace(said, password=None, turn=2) in two.events)
    assert (await ask(two, post(b"next"), "127.0.0.11"))[0] == b"HTTP/1.1 200 OK"
    assert two.agent._ledger.passwords.of(guest.server_id).turn == 3
