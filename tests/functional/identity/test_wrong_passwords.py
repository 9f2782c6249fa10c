"""Wrong secrets are slowed down, for who sends them alone, and nobody learns by it who there is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from msgspec import structs

from floe.api.app import App
from floe.api.identity.surface import SURFACE
from floe.api.kit.peer import peer_of
from floe.cloud import attempts
from floe.cloud.attempts import SLOWED

from .conftest import Place

Proof = Callable[[Place, str, bool], Any]


def _from(place: Place, address: str) -> Place:
    """Return the same cloud as it is called from another address."""
    transport = httpx.ASGITransport(app=App(place.cloud, surfaces=(SURFACE,)), client=(address, 1024))
    return replace(place, http=httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774"))


async def _wrong(place: Place, user: str = "demo", times: int = 1) -> httpx.Response:
    for _ in range(times):
        reply = await place.login(user, "wrong")
    return reply


async def test_after_five_the_next_waits_and_twice_as_long_each_time(place: Place) -> None:
    for _ in range(5):
        assert (await _wrong(place)).status_code == 401
    waits = []
    for _ in range(7):
        refused = await _wrong(place)
        assert refused.status_code == 429, refused.text
        assert "wrong password" in refused.json()["error"]["message"]
        waits.append(int(refused.headers["retry-after"]))
        place.clock.advance(waits[-1])
        assert (await _wrong(place)).status_code == 401
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert place.cloud.counters.total(SLOWED) == 7


async def test_the_right_one_is_let_in_when_its_time_has_come_and_ends_it(place: Place) -> None:
    await _wrong(place, times=5)
    assert (await place.login("demo")).status_code == 429
    place.clock.advance(1)
    assert (await place.login("demo")).status_code == 201
    assert [(await _wrong(place)).status_code for _ in range(6)] == [401] * 5 + [429]


async def test_failures_are_forgotten_after_a_while(place: Place) -> None:
    await _wrong(place, times=6)
    place.clock.advance(301)
    assert [(await _wrong(place)).status_code for _ in range(6)] == [401] * 5 + [429]


async def test_users_that_are_not_there_are_slowed_alike(place: Place) -> None:
    there = [await _wrong(place, "demo") for _ in range(8)]
    absent = [await _wrong(place, "nobody") for _ in range(8)]
    assert [reply.status_code for reply in there] == [reply.status_code for reply in absent]
    assert [reply.json() for reply in there] == [reply.json() for reply in absent]
    assert there[-1].headers["retry-after"] == absent[-1].headers["retry-after"]


async def test_a_disabled_user_with_the_right_password_is_slowed_alike(place: Place) -> None:
    admin = await place.token()
    path = f"/users/{place.made.demo_user_id}"
    assert (await place.call(admin, "PATCH", path, {"user": {"enabled": False}})).status_code == 200
    assert [(await place.login("demo")).status_code for _ in range(6)] == [401] * 5 + [429]


async def test_other_addresses_and_other_users_are_not_concerned(place: Place) -> None:
    await _wrong(place, times=6)
    assert (await _from(place, "203.0.113.9").login("demo")).status_code == 201
    assert (await place.login("admin")).status_code == 201


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("a-socket", "a-socket", True),
    ],
)
def test_a_peer_is_an_address_or_what_one_peer_may_have_of_them(one: str, other: str, same: bool) -> None:
    assert (peer_of({"client": (one, 1)}) == peer_of({"client": (other, 2)})) is same


def test_a_request_without_an_address_has_an_empty_one() -> None:
    assert peer_of({}) == peer_of({"client": None}) == ""


@pytest.mark.parametrize(
    ("client", "told", "peer"),
    [
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.9, 203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.9", "203.0.113.5, 10.0.0.2"], "203.0.113.5"),
        ("::ffff:10.0.0.1", ["2001:db8::7"], "2001:db8::"),
        ("10.0.0.1", ["10.0.0.2"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("203.0.113.66", ["198.51.100.9"], "203.0.113.66"),
    ],
)
def test_a_trusted_proxy_alone_is_believed_about_whom_it_speaks_for(client: str, told: list[str], peer: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in told]
    scope = {"type": "http", "client": (client, 1), "headers": headers}
    assert peer_of(scope, [ip_network("10.0.0.0/8")]) == peer


async def test_who_was_right_before_is_not_locked_out_by_an_attack_from_everywhere(place: Place) -> None:
    home = _from(place, "198.51.100.1")
    assert (await home.login("demo")).status_code == 201
    sources = [_from(place, f"10.0.{n // 250}.{n % 250}") for n in range(25)]
    for source in sources:
        await _wrong(source, times=4)
    assert (await home.login("demo", "mistyped")).status_code == 401
    assert (await home.login("demo")).status_code == 201
    strange = _from(place, "203.0.113.7")
    assert (await _wrong(strange)).status_code == 401
    late = await _wrong(strange)
    assert (late.status_code, late.headers["retry-after"]) == (429, "30")
    assert (await _from(place, "203.0.113.8").login("demo")).status_code == 201


async def _by_password_change(place: Place, user_id: str, right: bool) -> httpx.Response:
    old = "demo-secret" if right else "wrong"
    body = {"user": {"original_password": old, "password": "demo-secret"}}
    return await place.http.post(f"/identity/v3/users/{user_id}/password", json=body)


@pytest.mark.parametrize("there", [True, False])
async def test_a_password_change_proves_a_password_too(place: Place, there: bool) -> None:
    user = place.made.demo_user_id if there else "0" * 32
    assert user
    assert [(await _by_password_change(place, user, False)).status_code for _ in range(6)] == [401] * 5 + [429]
    place.clock.advance(1)
    assert (await _by_password_change(place, user, True)).status_code == (204 if there else 401)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("named", [True, False])
async def test_secrets_of_application_credentials_are_slowed_too(place: Place, there: bool, named: bool) -> None:
    demo = await place.token("demo")
    made = await place.call(
        demo,
        "POST",
        f"/users/{place.made.demo_user_id}/application_credentials",
        {"application_credential": {"name": "robot", "secret": "right"}},
    )
    ident = made.json()["application_credential"]["id"] if there else "0" * 32
    name = "robot" if there else "nothing"
    who = {"name": name, "user": {"name": "demo", "domain": {"id": "default"}}} if named else {"id": ident}

    async def login(secret: str) -> int:
        identity = {"methods": ["application_credential"], "application_credential": {**who, "secret": secret}}
        reply = await place.http.post("/identity/v3/auth/tokens", json={"auth": {"identity": identity}})
        return reply.status_code

    assert [await login("wrong") for _ in range(6)] == [401] * 5 + [429]
    place.clock.advance(1)
    assert await login("right") == (201 if there else 401)


async def test_wrong_ones_at_once_are_not_more_than_one_after_the_other(place: Place) -> None:
    replies = await asyncio.gather(*(place.login("demo", "wrong") for _ in range(60)))
    statuses = [reply.status_code for reply in replies]
    assert statuses.count(401) == 5
    assert statuses.count(429) == 55


@pytest.mark.parametrize("many_names", [True, False])
async def test_a_right_login_waits_for_few_of_many_wrong_ones(place: Place, many_names: bool) -> None:
    cloud = structs.replace(place.cloud, settings=structs.replace(place.cloud.settings, login_attempts=0))
    place = replace(place, cloud=cloud)
    attacker, victim = _from(place, "203.0.113.66"), _from(place, "198.51.100.1")
    ended: list[int] = []

    async def note(source: Place, user: str, password: str | None = None) -> None:
        reply = await source.login(user, password)
        if reply.status_code != 429:
            ended.append(reply.status_code)

    flood = [asyncio.create_task(note(attacker, f"u{n}" if many_names else "u", "wrong")) for n in range(240)]
    while not place.cloud.pools.passwords.waiting:
        await asyncio.sleep(0)
    await note(victim, "demo")
    assert ended[-1] == 201
    assert len(ended) <= 2 + 2 * place.cloud.pools.passwords.threads
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_flood_is_refused_and_told_when_to_come_again(place: Place) -> None:
    place.cloud.pools.passwords.most_each = 2
    replies = await asyncio.gather(*(place.login("demo") for _ in range(8)))
    refused = [reply for reply in replies if reply.status_code == 429]
    assert refused
    assert all(reply.headers["retry-after"] == "2" for reply in refused)
    assert (await place.login("demo")).status_code == 201


async def test_what_is_remembered_has_a_bound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST", 10)
    for number in range(30):
        claim = attempts.Claim(words=("user", str(number) * 1000), address="a" * 1000)
        attempts.begin(place.cloud, claim)
        attempts.succeed(place.cloud, claim)
        attempts.begin(place.cloud, claim)
    kept = attempts.of(place.cloud)
    assert len(kept.failures) == len(kept.known) == 10
    assert {len(key) for key in [*kept.failures, *kept.known]} == {16}


async def test_it_can_be_turned_off(place: Place) -> None:
    cloud = structs.replace(place.cloud, settings=structs.replace(place.cloud.settings, login_attempts=0))
    place = replace(place, cloud=cloud)
    there = _from(place, "192.0.2.1")
    assert [(await _wrong(there)).status_code for _ in range(8)] == [401] * 8
