"""`floe db`: what the database is, and a cloud that outgrew SQLite and goes on where PostgreSQL is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.functional.test_idempotency import User

from floe import cli
from floe.cli.state_directory import hold
from floe.core.errors import Conflict
from floe.store import copying, migrate
from floe.testing import EmbeddedCloud


def test_the_schema_is_made_shown_and_checked(
    postgres: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres.copy_of("template0")
    for where in (["--database", url], ["--state", str(tmp_path)]):
        assert cli.main(["db", "current", *where]) == 0
        assert capsys.readouterr().out == f"none (this release: {migrate.HEAD})\n"
        assert cli.main(["db", "check", *where]) == 1
        assert "run `floe db upgrade`" in capsys.readouterr().out
        for _ in range(2):
            assert cli.main(["db", "upgrade", *where]) == 0
            assert capsys.readouterr().out == f"{migrate.HEAD} (this release: {migrate.HEAD})\n"
        assert cli.main(["db", "check", *where]) == 0
    with migrate.connected(url) as conn:
        conn.exec_driver_sql("INSERT INTO quota_usages VALUES ('p', 'network', 3)")
        conn.exec_driver_sql("DROP FUNCTION bind_ports_move() CASCADE")
    assert cli.main(["db", "check", "--database", url]) == 1
    told = capsys.readouterr().out
    assert "p has 0 network, counted are 3" in told
    assert "port_bindings has not the triggers" in told
    postgres.drop(url)


def test_a_password_in_the_address_is_not_shown() -> None:
    assert migrate.shown("postgresql://floe:secret@db/floe") == "postgresql://floe:***@db/floe"


async def cloud_with_servers(folder: Path, **how: Any) -> list[str]:
    """Make a cloud with two servers and stop it."""
    async with EmbeddedCloud(folder, hosts=2, **how) as cloud:
        user = User(cloud)
        await user.login()
        await user.upload()
        for name in ("a", "ü"):
            assert (await user.create(None, name)).status_code == 202
        await cloud.settled()
        found = await user.servers()
        await user.http.aclose()
    return found


async def test_a_cloud_moves_from_sqlite_to_postgresql_and_goes_on(postgres: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = await cloud_with_servers(state)
    url = postgres.copy_of("template0")
    words = ["db", "copy", "--state", str(state), "--from", "sqlite", "--to", url]
    with hold(state):  # a cloud is at work in it
        assert await asyncio.to_thread(cli.main, words) == 1
    assert await asyncio.to_thread(cli.main, words) == 0
    with pytest.raises(Conflict, match="has rows in"):
        copying.copy(state / "floe.db", url)
    with migrate.connected(state / "floe.db") as before, migrate.connected(url) as after:
        for table in sa.inspect(before).get_table_names():
            both = [conn.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar() for conn in (before, after)]
            assert both[0] == both[1], table
    (state / "floe.db").rename(tmp_path / "before.db")
    async with EmbeddedCloud(state, hosts=2, database=url) as cloud:
        user = User(cloud)
        await user.login()
        assert await user.servers() == made
        await user.upload()
        assert (await user.create(None, "another")).status_code == 202
        await cloud.settled()
        states = (await user.http.get("/compute/v2.1/servers/detail")).json()["servers"]
        assert [(each["name"], each["status"]) for each in states] == [
            ("another", "ACTIVE"), ("ü", "ACTIVE"), ("a", "ACTIVE"),
        ]  # fmt: skip
        with pytest.raises(Conflict, match="connections of a cloud are at work"):
            await asyncio.to_thread(copying.copy, url, tmp_path / "back.db")
        await user.http.aclose()
    await asyncio.to_thread(copying.copy, url, tmp_path / "back.db")
    assert copying.check(tmp_path / "back.db") == []
    postgres.drop(url)


def test_what_did_not_all_come_is_taken_back(postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate.ensure(tmp_path / "floe.db")
    with migrate.connected(tmp_path / "floe.db") as conn:
        conn.exec_driver_sql("INSERT INTO quota_usages VALUES ('p', 'network', 3)")  # what `keep` mends on the way
    url = postgres.copy_of("template0")
    with pytest.raises(Conflict, match="quota_usages had 1 rows, and has 0; an audit of them finds other things"):
        copying.copy(tmp_path / "floe.db", url)
    with migrate.connected(url) as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM quota_usages").scalar() == 0
    postgres.drop(url)


@pytest.mark.parametrize("words", [["--from", "sqlite", "--to", "sqlite"], ["--to", "mysql://x/y"]])
def test_a_copy_that_makes_no_sense_is_refused(words: list[str], tmp_path: Path) -> None:
    assert cli.main(["db", "copy", "--state", str(tmp_path), *words]) == 1
    assert cli.main(["db", "copy", "--state", str(tmp_path / "none"), "--to", "postgresql://x@127.0.0.1:1/y"]) == 1
