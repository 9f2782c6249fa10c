"""A schema that is changed while others work with the database: it waits for what is in its way, and nobody dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from floe.core.errors import Unavailable
from floe.store import migrate, quota_usages, triggers
from floe.store.migrate import connected


def spoil(url: str, table: str) -> None:
    """Have one of a table's triggers be another, as it is when a release changes what is counted."""
    with connected(url) as conn:
        conn.exec_driver_sql(f"COMMENT ON TRIGGER count_{table}_delete ON {table} IS ''")


@contextmanager
def reader(url: str, table: str) -> Iterator[sa.Connection]:
    """Have somebody look at a table in a transaction that stays open."""
    with connected(url) as conn:
        conn.exec_driver_sql("BEGIN")
        conn.execute(sa.text(f"SELECT 1 FROM {table}"))
        yield conn


class Until(logging.Handler):
    """Does something once when it is said that the schema is in use."""

    def __init__(self, does: threading.Event) -> None:
        super().__init__()
        self._does = does

    def emit(self, record: logging.LogRecord) -> None:
        if "the schema is in use" in record.getMessage():
            self._does.set()


@pytest.fixture
def said() -> Iterator[threading.Event]:
    """Set when it was said that the schema is in use."""
    event = threading.Event()
    handler = Until(event)
    logger = logging.getLogger("floe.store.migrate")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield event
    logger.removeHandler(handler)


def kept(url: str) -> bool:
    with connected(url) as conn:
        return quota_usages.kept(conn)


def test_a_trigger_is_made_beside_readers_of_other_tables(postgres_url: str, said: threading.Event) -> None:
    spoil(postgres_url, "servers")
    with reader(postgres_url, "images"):
        migrate.ensure(postgres_url)
    assert kept(postgres_url)
    assert not said.is_set()


def test_a_trigger_is_made_when_those_who_read_its_table_are_done(postgres_url: str, said: threading.Event) -> None:
    spoil(postgres_url, "servers")
    change = threading.Thread(target=migrate.ensure, args=(postgres_url,))
    with reader(postgres_url, "servers"):
        change.start()
        assert said.wait(60)
        assert not kept(postgres_url)
    change.join(60)
    assert kept(postgres_url)


def test_of_two_who_want_each_other_s_tables_the_change_gives_way(postgres_url: str, said: threading.Event) -> None:
    spoil(postgres_url, "servers")
    spoil(postgres_url, "ports")
    change = threading.Thread(target=migrate.ensure, args=(postgres_url,))
    with reader(postgres_url, "servers") as one, reader(postgres_url, "ports") as other:
        change.start()
        for each in (one, other, one, other):
            said.clear()
            assert said.wait(60)
            for table in ("servers", "ports", "images"):
                each.execute(sa.text(f"SELECT 1 FROM {table}"))
    change.join(60)
    assert kept(postgres_url)


def test_who_holds_a_table_for_ever_is_told_of(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "_TRIES", 2)
    spoil(postgres_url, "servers")
    with reader(postgres_url, "servers"), pytest.raises(Unavailable, match="pg_stat_activity"):
        migrate.ensure(postgres_url)
    assert not kept(postgres_url)


def test_a_trigger_that_is_as_it_should_be_stays(postgres_url: str) -> None:
    def made() -> dict[str, int]:
        with connected(postgres_url) as conn:
            query = "SELECT tgname, oid FROM pg_trigger WHERE starts_with(tgname, 'count_')"
            return {row[0]: row[1] for row in conn.exec_driver_sql(query)}

    before = made()
    spoil(postgres_url, "servers")
    migrate.ensure(postgres_url)
    assert {name for name, oid in made().items() if before.get(name) != oid} == {"count_servers_delete"}


def test_counts_are_mended_by_what_they_lack(postgres_url: str) -> None:
    with connected(postgres_url) as conn:
        conn.exec_driver_sql("BEGIN")
        for owner, used in (("a", 3), ("b", 5)):
            conn.execute(sa.insert(quota_usages.quota_usages).values(owner=owner, resource="instances", used=used))
        found = quota_usages.count_anew(conn)
        assert sorted(found) == [("a", "instances", 3, 0), ("b", "instances", 5, 0)]
        assert quota_usages.drifted(conn) == []
        triggers.drop(conn, "count_")
        assert not quota_usages.kept(conn)
        quota_usages.keep(conn)
        assert quota_usages.kept(conn)
        conn.exec_driver_sql("ROLLBACK")
