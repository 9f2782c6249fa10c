"""A token makes one machine the host of one name, once and within its hour; whoever else has it is refused."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from floe.bus import keys
from floe.cloud import attempts, host_keys, hosts
from floe.cloud.cloud import Cloud
from floe.cloud.host_keys import Redeemed
from floe.core.errors import Busy, Conflict, Invalid, NotFound, OverQuota, Unauthenticated
from floe.core.host_keys import MOST_OPEN, TOKEN_LIFE, HostKey, signed_words
from floe.store import host_keys as rows
from floe.testing import EmbeddedCloud


@dataclass
class Clock:
    """A clock that is moved by hand."""

    moment: datetime
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2030, 1, 1, tzinfo=UTC))


@pytest.fixture
def cloud(embedded: EmbeddedCloud, clock: Clock) -> Cloud:
    """One whose bus is between machines."""
    found = embedded.node.cloud
    return replace(found, clock=clock, settings=replace(found.settings, host_bus="nats://10.0.0.1:4222"))


def asked(host: str, token: str, seed: str = "", **changes: Any) -> Redeemed:
    """Return what a machine says that has a key of its own, or this one."""
    seed = seed or keys.new_seed()
    signature = keys.sign(seed, signed_words(host, token))
    said = Redeemed(host=host, token=token, public_key=keys.public_key(seed), signature=signature)
    return replace(said, **changes)


async def token_of(cloud: Cloud, host: str, *, new_key: bool = False) -> str:
    token, _ = await host_keys.create_token(cloud, host, new_key=new_key)
    return token


async def bound_key(cloud: Cloud, host: str) -> str | None:
    return next((key.public_key for key in await host_keys.bound(cloud) if key.host == host), None)


async def test_a_token_binds_a_name_and_a_lost_answer_is_asked_for_again(cloud: Cloud, clock: Clock) -> None:
    token = await token_of(cloud, "h1")
    assert await host_keys.bound(cloud) == []
    said = asked("h1", token)
    for _ in range(3):
        bound = await host_keys.redeem(cloud, said, "10.0.0.9")
        assert (bound.host, bound.public_key) == ("h1", said.public_key)
    clock.moment += 2 * TOKEN_LIFE
    assert (await host_keys.redeem(cloud, said, "10.0.0.9")).joined_at == bound.joined_at
    kept = await cloud.db.read(lambda conn: rows.get(conn, "h1"))
    assert token not in repr(kept), "what is kept of a token does not open anything"


async def test_a_token_is_one_word_that_no_command_takes_for_a_flag(cloud: Cloud) -> None:
    """One that began with `-` was refused by the command that it was printed for, once in 64 times."""
    for _ in range(5):
        token, _kept = await host_keys.create_token(cloud, "h1", new_key=False)
        assert re.fullmatch(r"[0-9a-f]{64}", token)


async def test_a_token_is_redeemed_by_one_machine_alone_however_many_try_at_once(cloud: Cloud) -> None:
    cloud = replace(cloud, settings=replace(cloud.settings, login_attempts=0))
    token = await token_of(cloud, "h1")
    tries = [asked("h1", token) for _ in range(8)]
    ended = await asyncio.gather(
        *(host_keys.redeem(cloud, said, f"10.0.0.{number}") for number, said in enumerate(tries)),
        return_exceptions=True,
    )
    won = [each for each in ended if not isinstance(each, BaseException)]
    assert len(won) == 1
    assert {type(each) for each in ended} - {type(won[0])} == {Conflict}
    assert await bound_key(cloud, "h1") == won[0].public_key


async def test_a_stolen_token_is_worthless_once_used_once_replaced_and_after_its_hour(
    cloud: Cloud, clock: Clock
) -> None:
    used, replaced, over = await token_of(cloud, "h1"), await token_of(cloud, "h2"), await token_of(cloud, "h3")
    await host_keys.redeem(cloud, asked("h1", used), "10.0.0.1")
    fresh = await token_of(cloud, "h2")
    with pytest.raises(Conflict, match=r"redeemed already, by the key SHA256:.*--new-key"):
        await host_keys.redeem(cloud, asked("h1", used), "10.0.0.2")
    with pytest.raises(Unauthenticated, match="replaced by a later one"):
        await host_keys.redeem(cloud, asked("h2", replaced), "10.0.0.2")
    await host_keys.redeem(cloud, asked("h2", fresh), "10.0.0.3")
    clock.moment += TOKEN_LIFE
    with pytest.raises(Unauthenticated, match=r"could be redeemed until 2030-01-01 01:00:00 UTC; .floe host add h3"):
        await host_keys.redeem(cloud, asked("h3", over), "10.0.0.2")
    await token_of(cloud, "h4")  # which has those forgotten whose hour is over
    with pytest.raises(Unauthenticated, match="no token for a host of this name"):
        await host_keys.redeem(cloud, asked("h3", over), "10.0.0.4")
    assert {key.host for key in await host_keys.bound(cloud)} == {"h1", "h2"}


async def test_a_token_is_for_its_name_and_a_key_for_its_holder_and_one_machine(cloud: Cloud) -> None:
    first, second = await token_of(cloud, "h1"), await token_of(cloud, "h2")
    with pytest.raises(Unauthenticated):
        await host_keys.redeem(cloud, asked("h2", first), "10.0.0.1")
    mine, other = keys.new_seed(), keys.new_seed()
    with pytest.raises(Invalid, match="has to hold the key"):
        await host_keys.redeem(cloud, asked("h1", first, mine, public_key=keys.public_key(other)), "10.0.0.2")
    with pytest.raises(Invalid, match="has to hold the key"):  # a signature that was overheard
        said = asked("h1", first, mine)
        await host_keys.redeem(cloud, replace(asked("h2", second, mine), signature=said.signature), "10.0.0.3")
    with pytest.raises(Invalid, match="no public nkey"):
        await host_keys.redeem(cloud, asked("h1", first, mine, public_key="U" * 56), "10.0.0.4")
    await host_keys.redeem(cloud, asked("h1", first, mine), "10.0.0.5")
    with pytest.raises(Conflict, match=r"is that of host h1: each machine has one of its own"):
        await host_keys.redeem(cloud, asked("h2", second, mine), "10.0.0.5")


async def test_a_name_that_is_bound_has_a_new_token_only_by_locking_out_its_key(cloud: Cloud) -> None:
    said = asked("h1", await token_of(cloud, "h1"))
    await host_keys.redeem(cloud, said, "10.0.0.1")
    with pytest.raises(Conflict, match=r"bound to the key SHA256:\S+ already.*floe host remove h1.*--new-key"):
        await token_of(cloud, "h1")
    before = await host_keys.generation(cloud)
    token = await token_of(cloud, "h1", new_key=True)
    assert await bound_key(cloud, "h1") is None, "it is let in no more, at once"
    assert await host_keys.generation(cloud) > before, "who keeps the bus's file sees it"
    with pytest.raises(Unauthenticated):
        await host_keys.redeem(cloud, said, "10.0.0.1")
    again = asked("h1", token)
    await host_keys.redeem(cloud, again, "10.0.0.2")
    assert await bound_key(cloud, "h1") == again.public_key


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(cloud: Cloud, clock: Clock) -> None:
    token = await token_of(cloud, "h1")
    most = cloud.settings.login_attempts
    for number in range(most):
        with pytest.raises(Unauthenticated):
            await host_keys.redeem(cloud, asked(f"x{number}", "no-token"), "10.0.0.1")
    with pytest.raises(Busy):
        await host_keys.redeem(cloud, asked("x", "no-token"), "10.0.0.1")
    assert cloud.counters.total(attempts.SLOWED) == 1
    await host_keys.redeem(cloud, asked("h1", token), "10.0.0.2")  # somebody else
    clock.seconds += 2.0
    with pytest.raises(Unauthenticated):
        await host_keys.redeem(cloud, asked("x", "no-token"), "10.0.0.1")
    for number in range(3 * most):
        name = f"many-{number}"
        await host_keys.redeem(cloud, asked(name, await token_of(cloud, name)), "10.0.0.3")


async def test_so_many_hosts_are_awaited_and_no_more(cloud: Cloud, clock: Clock) -> None:
    def fill(conn: Any) -> None:
        for number in range(MOST_OPEN - 1):
            until, name = clock.now() + TOKEN_LIFE, f"f{number}"
            rows.put(conn, HostKey(host=name, token_hash="", token_expires_at=until, created_at=until))

    await cloud.db.write(fill)
    await token_of(cloud, "last")
    with pytest.raises(OverQuota, match="1000 hosts are awaited already"):
        await token_of(cloud, "more")
    await token_of(cloud, "last")  # its own place
    clock.moment += TOKEN_LIFE + timedelta(seconds=1)
    await token_of(cloud, "more")
    assert [member.name for member in await host_keys.members(cloud, "", 5)] == ["fake-1", "fake-2", "more"]


@pytest.mark.parametrize("name", ["", "-h", ".h", "a b", "h\n", "h/1", "ä", "h" * 201, "*", ">"])
async def test_a_name_that_no_host_can_have_is_refused(name: str, cloud: Cloud) -> None:
    with pytest.raises(Invalid, match="A host is named by"):
        await token_of(cloud, name)


async def test_a_host_that_is_removed_is_bound_no_more(cloud: Cloud, clock: Clock) -> None:
    await host_keys.redeem(cloud, asked("h9", await token_of(cloud, "h9")), "10.0.0.1")
    await hosts.remove(cloud, "h9")
    assert await bound_key(cloud, "h9") is None
    with pytest.raises(NotFound):
        await hosts.remove(cloud, "h9")
    # One that runs, by the name of a host that was there before keys were.
    await host_keys.redeem(cloud, asked("fake-1", await token_of(cloud, "fake-1")), "10.0.0.2")
    clock.moment = datetime.now(UTC)
    with pytest.raises(Conflict, match="is up; stop its agent first"):
        await hosts.remove(cloud, "fake-1")
    assert await bound_key(cloud, "fake-1"), "what is refused changes nothing"
    clock.moment += timedelta(minutes=5)
    await hosts.remove(cloud, "fake-1")
    assert await bound_key(cloud, "fake-1") is None


async def test_members_come_in_pages_by_name(cloud: Cloud) -> None:
    for name in ("b", "g", "zz"):
        await token_of(cloud, name)
    await host_keys.redeem(cloud, asked("c", await token_of(cloud, "c")), "10.0.0.1")
    names: list[str] = []
    while page := await host_keys.members(cloud, names[-1] if names else "", 2):
        names += [member.name for member in page]
    assert names == ["b", "c", "fake-1", "fake-2", "g", "zz"]


class Operator:
    """Somebody at the API."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud

    async def ask(self, method: str, path: str, body: Any = None, *, user: str = "admin") -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.cloud.url, timeout=60) as http:
            if user:
                named = {"name": user, "password": self.cloud.passwords[user], "domain": {"name": "Default"}}
                scope = {"project": {"name": user, "domain": {"name": "Default"}}}
                identity = {"methods": ["password"], "password": {"user": named}}
                reply = await http.post(
                    "/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}}
                )
                http.headers["x-auth-token"] = reply.headers["x-subject-token"]
            return await http.request(method, f"/floe/v1/{path}", json=body)


def message(reply: httpx.Response) -> str:
    text: str = reply.json()["error"]["message"]
    return text


async def test_operators_alone_see_hosts_and_change_them(embedded: EmbeddedCloud) -> None:
    ask = Operator(embedded).ask
    for method, path in (("GET", "hosts"), ("POST", "hosts"), ("PUT", "hosts/fake-1"), ("DELETE", "hosts/fake-1")):
        assert (await ask(method, path, {}, user="demo")).status_code == 403
        assert (await ask(method, path, {}, user="")).status_code == 401
    off = {"host": {"enabled": False, "disabled_reason": "a fan"}}
    assert (await ask("PUT", "hosts/fake-1", off)).status_code == 200
    shown = (await ask("GET", "hosts")).json()["hosts"]
    assert [(host["name"], host["state"], host["enabled"], host["disabled_reason"]) for host in shown] == [
        ("fake-1", "up", False, "a fan"),
        ("fake-2", "up", True, None),
    ]
    assert (await ask("PUT", "hosts/fake-1", {"host": {"enabled": True}})).status_code == 200
    assert (await ask("GET", "hosts?limit=1")).json()["hosts"][0]["disabled_reason"] is None
    assert [host["name"] for host in (await ask("GET", "hosts?marker=fake-1")).json()["hosts"]] == ["fake-2"]
    refused = await ask("PUT", "hosts/fake-1", {"host": {"enabled": True, "disabled_reason": "x"}})
    assert refused.status_code == 400
    for method in ("PUT", "DELETE"):
        assert (await ask(method, "hosts/none", {"host": {"enabled": True}})).status_code == 404
    assert (await ask("DELETE", "hosts/fake-1")).status_code == 409


async def test_a_cloud_of_one_process_says_why_nobody_can_join_it(embedded: EmbeddedCloud) -> None:
    refused = await Operator(embedded).ask("POST", "hosts", {"host": {"name": "h1"}})
    assert refused.status_code == 409
    assert "This cloud is one process, whose bus is within it" in message(refused)


BAD: list[tuple[Any, int]] = [
    ({}, 400),
    ({"join": {}}, 400),
    ({"join": {"host": "h", "token": "t", "key": "k", "signature": "s", "more": "m"}}, 400),
    ({"join": {"host": "h", "token": "t", "key": "k", "signature": "no base64"}}, 400),
    ({"join": {"host": "h", "token": "t" * 129, "key": "k", "signature": "s"}}, 400),
    ({"join": {"host": "h\x00", "token": "ü", "key": "k", "signature": "cw=="}}, 400),
    ({"join": {"host": ["h"] * 1000, "token": {}, "key": None, "signature": 1}}, 400),
    ({"join": {"host": "x" * 100_000}}, 413),
]


@pytest.mark.parametrize(("body", "status"), BAD, ids=[str(number) for number in range(len(BAD))])
async def test_what_makes_no_sense_is_refused_to_whoever_asks(body: Any, status: int, embedded: EmbeddedCloud) -> None:
    reply = await Operator(embedded).ask("POST", "join", body, user="")
    assert reply.status_code == status, reply.text
    assert len(reply.text) < 2000


async def test_a_flood_of_wrong_tokens_is_answered_with_when_to_come_again(embedded: EmbeddedCloud) -> None:
    said = asked("h1", "x" * 43)
    signed = base64.b64encode(said.signature).decode()
    body = {"join": {"host": "h1", "token": said.token, "key": said.public_key, "signature": signed}}
    replies = [await Operator(embedded).ask("POST", "join", body, user="") for _ in range(8)]
    assert [reply.status_code for reply in replies][:5] == [401] * 5
    assert replies[-1].status_code == 429
    assert int(replies[-1].headers["retry-after"]) >= 1
