"""What the database says of its troubles reaches no client, and what clients sent reaches no log with it."""

from __future__ import annotations

import ast
import logging
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

import floe
from floe.store.engine import Connection
from floe.store.trouble import Trouble
from floe.testing import EmbeddedCloud

SECRET = "it-is-what-a-client-sent"
WORDS = re.compile(
    rb"sql|select |insert |update |sqlalche|operationalerror|integrityerror|constraint|malformed|traceback", re.I
)
WRITES = (
    ("compute", "POST", "/v2.1/servers/{server_id}/metadata", {"metadata": {"k2": SECRET}}),
    ("compute", "PUT", "/v2.1/servers/{server_id}", {"server": {"name": SECRET}}),
    ("compute", "POST", "/v2.1/os-server-groups", {"server_group": {"name": SECRET, "policy": "affinity"}}),
    ("identity", "POST", "/v3/projects", {"project": {"name": SECRET}}),
    ("identity", "POST", "/v3/users", {"user": {"name": SECRET, "password": SECRET}}),
    ("image", "POST", "/v2/images", {"name": SECRET, "disk_format": "raw", "container_format": "bare"}),
    ("network", "POST", "/v2.0/networks", {"network": {"name": SECRET}}),
    ("network", "PUT", "/v2.0/ports/{port_id}", {"port": {"name": SECRET}}),
)  # fmt: skip
LARGE = {f"p{number}": SECRET + "x" * 200 for number in range(60)}
"""More than the free room in pages that there are."""
READS = (
    ("compute", "GET", "/v2.1/servers/detail", None),
    ("identity", "GET", "/v3/projects", None),
    ("image", "GET", "/v2/images", None),
    ("network", "GET", "/v2.0/networks", None),
    ("placement", "GET", "/resource_providers", None),
    ("floe", "GET", "/v1/servers/{server_id}/trace", None),
)  # fmt: skip
Break = Callable[[EmbeddedCloud], Any]


async def _on(cloud: EmbeddedCloud, *statements: str) -> None:
    def run(conn: Connection) -> None:
        for statement in statements:
            conn.exec_driver_sql(statement)

    await cloud.node.cloud.db.write(run)


@asynccontextmanager
async def _locked(cloud: EmbeddedCloud) -> AsyncIterator[None]:
    await _on(cloud, "PRAGMA busy_timeout=20")
    other = sqlite3.connect(cloud.folder / "floe.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()
        await _on(cloud, "PRAGMA busy_timeout=10000")


@asynccontextmanager
async def _full(cloud: EmbeddedCloud) -> AsyncIterator[None]:
    def fill(conn: Connection) -> None:
        conn.exec_driver_sql("CREATE TABLE filler (x)")
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    await cloud.node.cloud.db.write(fill)
    try:
        yield
    finally:
        await _on(cloud, "PRAGMA max_page_count=1000000", "DROP TABLE filler")


@asynccontextmanager
async def _at_odds(cloud: EmbeddedCloud) -> AsyncIterator[None]:
    """Let every write of a row fail as one that breaks a constraint."""
    with sqlite3.connect(cloud.folder / "floe.db") as other:
        tables = [row[0] for row in other.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = [table for table in tables if not table.startswith("sqlite_")]
    await _on(
        cloud,
        *(
            f"CREATE TRIGGER no_{what}_{table} BEFORE {what} ON {table} BEGIN SELECT RAISE(ABORT, 'constraint'); END"
            for table in tables
            for what in ("INSERT", "UPDATE")
        ),
    )
    try:
        yield
    finally:
        await _on(cloud, *(f"DROP TRIGGER no_{what}_{table}" for table in tables for what in ("INSERT", "UPDATE")))


@asynccontextmanager
async def _without_tables(cloud: EmbeddedCloud) -> AsyncIterator[None]:
    names = ("servers", "projects", "images", "networks", "hosts", "users", "server_groups", "ports")
    await _on(cloud, "PRAGMA legacy_alter_table=ON", *(f"ALTER TABLE {name} RENAME TO no_{name}" for name in names))
    try:
        yield
    finally:
        await _on(cloud, *(f"ALTER TABLE no_{name} RENAME TO {name}" for name in names))


@pytest.mark.parametrize(
    ("breaks", "calls", "statuses"),
    [
        (_locked, WRITES, {503}),
        (_full, (*WRITES, ("image", "POST", "/v2/images", WRITES[5][3] | LARGE)), {503, 200, 201, 202}),
        (_at_odds, WRITES, {500}),
        (_without_tables, WRITES + READS, {503}),
    ],
    ids=["locked", "full", "at odds", "without tables"],
)
async def test_no_client_reads_the_databases_words_and_no_log_what_clients_sent(
    embedded: EmbeddedCloud,
    callers: Any,
    caplog: pytest.LogCaptureFixture,
    breaks: Break,
    calls: Any,
    statuses: set[int],
) -> None:
    admin, _ = callers
    replies = []
    caplog.set_level(logging.INFO)
    async with breaks(embedded):
        for surface, method, path, body in calls:
            raw = None if body is None else msgspec.json.encode(body)
            # What an operator's requests do to the conductor meanwhile is its own business: it tries again.
            status, reply = await admin.send(surface, method, path.format(**admin.ids), body=raw)
            replies.append((surface, path, status, reply))
    assert {status for _, _, status, _ in replies} <= statuses, replies
    assert any(status >= 500 for _, _, status, _ in replies)
    assert [reply for *_, reply in replies if WORDS.search(reply)] == []
    said = caplog.text
    assert SECRET not in said
    assert "the database could not" in said or "unexpected IntegrityError" in said, "the operator has to find it"


async def test_a_damaged_file_is_told_as_such_and_no_more(
    embedded: EmbeddedCloud, callers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    admin, _ = callers
    await embedded.settled()
    db = embedded.node.cloud.db

    def forget(conn: Connection) -> None:
        conn.exec_driver_sql("PRAGMA cache_size=0")
        conn.exec_driver_sql("PRAGMA shrink_memory")

    with sqlite3.connect(embedded.folder / "floe.db") as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file = embedded.folder / "floe.db"
    whole = file.read_bytes()
    await db.read(forget)
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * (len(whole) - 4096))
    try:
        status, reply = await admin.send("compute", "GET", "/v2.1/servers/detail", query=f"name={SECRET}")
    finally:
        with file.open("r+b") as mended:
            mended.write(whole)
    assert status == 503 and b"its file is damaged" in reply
    assert WORDS.search(reply) is None
    assert SECRET not in caplog.text and "malformed" in caplog.text


def test_what_is_no_trouble_of_the_database_is_told_as_it_is() -> None:
    assert Trouble().refusal(ValueError("x"), "write") is None
    assert Trouble().refusal(sqlite3.IntegrityError("UNIQUE constraint failed"), "write") is None


def test_no_engine_shows_the_values_of_a_statement_in_its_errors() -> None:
    source = Path(floe.__file__).parent
    open_ones = []
    made = 0
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("create_engine", "sa.Engine")):
                made += 1
                if not any(
                    word.arg == "hide_parameters" and ast.unparse(word.value) == "True" for word in node.keywords
                ):
                    open_ones.append(path.name)
    assert made >= 3
    assert open_ones == []
