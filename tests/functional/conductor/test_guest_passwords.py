"""What hosts say of passwords comes into the rows once, in whatever order it is said, and hosts hear of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from floe.cloud import server_passwords
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.guest_passwords import PasswordPosted
from floe.core.messages import UpdateMetadata
from floe.store import servers

from .conftest import until
from .test_hosts import built

ANN = Context(request_id="", user_id="ann", project_id="p" * 32, roles=frozenset({"member", "reader"}))


def said(server: Any, password: str | None, turn: int, host: str = "h1") -> PasswordPosted:
    return PasswordPosted(host=host, server_id=server.id, password=password, turn=turn)


async def take(site: Any, *events: PasswordPosted) -> None:
    for event in events:
        await site.cloud.bus.publish(event)
        await site.settle()


def of(site: Any, server: Any) -> tuple[str | None, int]:
    found = site.server(server.id)
    return found.password, found.password_turn


def told(host: Any) -> list[tuple[str | None, int]]:
    return [(sent.metadata.password, sent.metadata.password_turn) for sent in host.sent(UpdateMetadata)]


async def test_a_password_is_taken_and_its_host_told_so(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    await take(site, said(server, "a\0☃", 1))
    assert await server_passwords.show(site.cloud, ANN, server.id) == "a\0☃"
    assert of(site, server) == ("a\0☃", 1) and told(host) == [("a\0☃", 1)]
    await take(site, said(server, "a\0☃", 1))
    assert told(host) == [("a\0☃", 1)] * 2, "a host that says it again has not heard"


async def test_what_was_cleared_does_not_come_back_however_late_it_is_said(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    await take(site, said(server, "one", 1))
    await server_passwords.clear(site.cloud, ANN, server.id)
    assert of(site, server) == (None, 2) and told(host)[-1] == (None, 2)
    await take(site, said(server, "one", 1))
    assert of(site, server) == (None, 2) and told(host)[-1] == (None, 2)
    await take(site, said(server, "two", 3), said(server, "one", 1), said(server, None, 2))
    assert of(site, server) == ("two", 3)


async def test_to_clear_what_is_not_there_changes_nothing(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    before = site.server(server.id)
    await server_passwords.clear(site.cloud, ANN, server.id)
    assert site.server(server.id) == before and told(host) == []


async def test_a_restored_database_takes_what_its_hosts_know(site: Any) -> None:
    await site.add_host("h1")
    server = await built(site)
    await take(site, said(server, "old", 1), said(server, None, 4))
    assert of(site, server) == (None, 4)


async def test_nothing_is_taken_while_a_server_is_built(site: Any) -> None:
    """The build may fail, and another host make the guest, with another password."""
    host = await site.add_host("h1")
    waits = asyncio.Event()
    host.script.append(waits)
    server = await site.post()
    await until(lambda: site.server(server.id).host == "h1")
    await site.cloud.bus.publish(said(server, "early", 1))
    await site.cloud.bus.idle()
    await site.conductor.events.idle()
    waits.set()
    await site.settle()
    assert of(site, server) == (None, 0) and told(host) == []
    await take(site, said(server, "early", 1))
    assert of(site, server) == ("early", 1)


async def test_another_host_and_a_server_that_is_gone_change_nothing(site: Any) -> None:
    for name in ("h1", "h2"):
        await site.add_host(name)
    server = await built(site)
    other = "h2" if server.host == "h1" else "h1"
    await take(site, said(server, "x", 1, host=other))
    assert of(site, server) == (None, 0) and told(site.hosts[other]) == []
    await take(site, said(server, "mine", 1, host=server.host))
    await site.delete(server)
    await site.settle()
    assert of(site, server) == (None, 1), "a server that is gone keeps no password"
    await take(site, said(server, "x", 3, host=server.host))
    assert of(site, server) == (None, 1)
    for call in (server_passwords.show, server_passwords.clear):
        with pytest.raises(NotFound):
            await call(site.cloud, ANN, server.id)


@pytest.mark.parametrize(
    ("password", "turn"), [("x" * 1021, 1), ("x", 2), (None, 1), ("x", 2**31 + 1), ("x", -1), ("x", 2**62 + 1)]
)
async def test_a_host_is_not_believed_what_no_guest_can_have_done(
    site: Any, password: str | None, turn: int, caplog: pytest.LogCaptureFixture
) -> None:
    await site.add_host("h1")
    server = await built(site)
    with caplog.at_level(logging.INFO):
        await take(site, said(server, password, turn))
    assert of(site, server) == (None, 0)
    await take(site, said(server, "right", 1))
    assert of(site, server) == ("right", 1)


async def test_a_password_is_in_no_log(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    caplog.set_level(logging.DEBUG)
    await take(site, said(server, "geheim-1", 1), said(server, "geheim-2" * 200, 3))
    await site.take_down(host)
    await server_passwords.clear(site.cloud, ANN, server.id)
    assert of(site, server) == (None, 2), "its host hears of it when it is back"
    assert any("metadata of server" in record.getMessage() for record in caplog.records)
    assert "geheim" not in caplog.text


async def test_of_many_events_of_one_guest_the_last_is_taken(site: Any) -> None:
    await site.add_host("h1")
    server = await built(site)
    passwords = site.conductor.events._passwords
    first, last = said(server, "a", 1), said(server, "b", 3)
    assert [passwords.expects(first), passwords.expects(last)] == [True, False]
    await passwords.take("h1", server.id)
    assert of(site, server) == ("b", 3)
    assert passwords.expects(last)
    await passwords.take("h1", server.id)


async def test_an_earlier_event_is_no_reason_to_write(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.add_host("h1")
    server = await built(site)
    await take(site, said(server, "a", 1))
    asked = list[int]()
    real = servers.take_password
    monkeypatch.setattr(servers, "take_password", lambda *args: asked.append(1) or real(*args))
    await take(site, said(server, "a", 1), said(server, "a", 1))
    assert asked == []
