"""The file of who may connect to the bus is as list and database have it, and what is amiss is said and tried again."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.assembly import bus_file
from floe.assembly.bus_file import BusFile
from floe.bus import keys
from floe.cloud import host_keys
from floe.cloud.cloud import Cloud
from floe.cloud.host_keys import Redeemed
from floe.core.errors import Unavailable
from floe.core.host_keys import signed_words
from floe.settings import Settings
from floe.testing import EmbeddedCloud

CONTROL, OTHER = keys.new_seed(), keys.new_seed()


@dataclass
class Place:
    """A cloud, a list, a file, and a command that writes down that it was run."""

    cloud: Cloud
    folder: Path
    keeper: BusFile

    @property
    def listed(self) -> Path:
        return self.folder / "members"

    @property
    def file(self) -> Path:
        return self.folder / "bus" / "users.conf"

    @property
    def runs(self) -> int:
        log = self.folder / "runs"
        return len(log.read_text().splitlines()) if log.exists() else 0

    async def join(self, host: str) -> str:
        token, _ = await host_keys.create_token(self.cloud, host, new_key=False)
        seed = keys.new_seed()
        public, signature = keys.public_key(seed), keys.sign(seed, signed_words(host, token))
        said = Redeemed(host=host, token=token, public_key=public, signature=signature)
        return (await host_keys.redeem(self.cloud, said, host)).public_key

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.01)

    async def said(self) -> str:
        return (await self.keeper.parts())["bus_config"]

    async def until_said(self, words: str) -> None:
        async with asyncio.timeout(60):
            while words not in await self.said():
                await asyncio.sleep(0.01)

    async def until_said_nothing(self) -> None:
        async with asyncio.timeout(60):
            while await self.said() != "ok":
                await asyncio.sleep(0.01)


@pytest.fixture
async def place(embedded: EmbeddedCloud, tmp_path: Path) -> AsyncIterator[Place]:
    found = embedded.node.cloud
    cloud = replace(found, settings=replace(found.settings, host_bus="nats://10.0.0.1:4222", login_attempts=0))
    (tmp_path / "members").write_text(f"{keys.public_key(CONTROL)} control api\n")
    script = tmp_path / "reload"
    script.write_text(
        f"#!/bin/sh\ntest -e {tmp_path}/broken && echo it is broken >&2 && exit 3\necho >> {tmp_path}/runs\n"
    )
    script.chmod(0o755)
    keeper = BusFile(
        cloud,
        listed=tmp_path / "members",
        file=tmp_path / "bus" / "users.conf",
        reload=(str(script), "a word"),
        look=0.01,
        again=0.02,
    )
    yield Place(cloud, tmp_path, keeper)
    await keeper.stop()


async def test_it_is_kept_where_the_settings_name_it(place: Place) -> None:
    assert bus_file.parts_of(place.cloud, Settings()) == []
    (part,) = bus_file.parts_of(place.cloud, Settings(bus_config=str(place.file), bus_members=str(place.listed)))
    await part.start()
    assert keys.public_key(CONTROL) in place.file.read_text()
    await part.stop()


async def test_the_file_follows_list_and_database(place: Place) -> None:
    await place.keeper.start()
    assert keys.public_key(CONTROL) in place.file.read_text()
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o644, "whoever runs the server reads it"
    assert stat.S_IMODE(place.file.parent.stat().st_mode) & 0o001
    assert (place.runs, await place.said()) == (1, "ok")
    key = await place.join("h1")
    await place.until(lambda: key in place.file.read_text() and place.runs == 2)
    place.file.chmod(0o640)
    with place.listed.open("a") as listed:
        listed.write(f"{keys.public_key(OTHER)} host by-hand\n")
    await place.until(lambda: place.runs == 3)
    assert "floe.do.by-hand" in place.file.read_text()
    assert "floe.do.h1" in place.file.read_text()
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o640
    await host_keys.create_token(place.cloud, "h1", new_key=True)
    await place.until(lambda: key not in place.file.read_text() and place.runs == 4)


async def test_what_somebody_else_wrote_there_does_not_stay(place: Place) -> None:
    await place.keeper.start()
    good = place.file.read_text()
    for spoil in (lambda: place.file.write_text("authorization {}\n"), place.file.unlink):
        runs = place.runs
        spoil()
        await place.until(lambda: place.runs > runs and place.file.read_text() == good)  # noqa: B023
    await place.until_said_nothing()


async def test_a_start_tells_the_server_once_though_the_file_is_right(place: Place) -> None:
    """The process before may have died between the two."""
    await place.keeper.start()
    await place.keeper.stop()
    before = place.file.stat()
    await place.keeper.start()
    assert (place.runs, place.file.stat().st_mtime_ns) == (2, before.st_mtime_ns)
    for _ in range(5):
        await place.keeper._look()
    assert place.runs == 2, "and no more while nothing changes"


async def test_what_is_amiss_is_said_the_file_stays_and_it_is_tried_again(place: Place) -> None:
    await place.keeper.start()
    good, listed = place.file.read_text(), place.listed.read_text()
    for text, words in (
        (listed + "nonsense\n", "Line 2 is 'nonsense'"),
        (f"{keys.public_key(OTHER)} host h1\n", "no line `KEY control NAME`"),
        ("", "no line `KEY control NAME`"),
    ):
        place.listed.write_text(text)
        await place.until_said(words)
        assert place.file.read_text() == good
    assert place.cloud.counters.total(bus_file.FAILED) >= 2
    place.listed.write_text(listed)
    await place.until_said_nothing()
    hidden = place.listed.rename(place.folder / "hidden")
    await place.until_said("cannot be read")
    hidden.rename(place.listed)  # it is what it was
    await place.until_said_nothing()
    (place.folder / "broken").touch()
    runs, key = place.runs, await place.join("h1")
    await place.until_said("status 3: it is broken")
    assert key in place.file.read_text()
    (place.folder / "broken").unlink()
    await place.until(lambda: place.runs > runs)
    await place.until_said_nothing()


async def test_a_name_that_the_list_has_with_another_key_is_the_lists(place: Place) -> None:
    with place.listed.open("a") as listed:
        listed.write(f"{keys.public_key(OTHER)} host h1\n")
    await place.keeper.start()
    key, other = await place.join("h1"), await place.join("h2")
    await place.until(lambda: other in place.file.read_text())
    await place.until_said("ok: h1 joined, but")
    assert key not in place.file.read_text()
    assert place.file.read_text().count("floe.do.h1") == 1


async def test_a_database_that_is_away_leaves_all_as_it_is(place: Place) -> None:
    await place.keeper.start()
    before = place.file.read_text()
    key = await place.join("h1")
    await place.until(lambda: key in place.file.read_text())
    with_key = place.file.read_text()

    class Away:
        async def read(self, _fn: object, *_foreseen: object) -> object:
            raise Unavailable("The database is away.")

    keeper = BusFile(replace(place.cloud, db=Away()), listed=place.listed, file=place.file, reload=())  # type: ignore[arg-type]
    await keeper.start()
    assert place.file.read_text() == with_key != before
    await keeper.stop()


@pytest.mark.parametrize("number", [0, 399, 400, 401, 2000])
async def test_all_that_joined_are_let_in_however_many(number: int, place: Place) -> None:
    now = place.cloud.clock.now()

    def fill(conn: object) -> None:
        for each in range(number):
            key = keys.public_key(OTHER)
            made = host_keys.HostKey(
                host=f"n{each:05}", public_key=key, token_hash="", token_expires_at=now, created_at=now, joined_at=now
            )
            host_keys.rows.put(conn, made)  # type: ignore[arg-type]

    await place.cloud.db.write(fill)
    await place.keeper.start()
    assert place.file.read_text().count("floe.do.n") == number
