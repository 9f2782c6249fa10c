"""Rows of a table: what is kept compiled gives what is made anew, and no more is kept than is allowed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.store import names
from floe.store.engine import Connection
from floe.store.listing import ByIds, Pages
from floe.store.schema import Json, Moment
from floe.store.table import VIEWER, Rows, things

THINGS = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("project_id", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("host", sa.String),
    sa.Column("up", sa.Boolean, nullable=False),
    sa.Column("notes", Json, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.UniqueConstraint("project_id", "name"),
)
NOW = datetime(2030, 1, 2, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    id: str
    project_id: str = "p1"
    name: str
    host: str | None = None
    up: bool = True
    notes: tuple[str, ...] = ()
    updated_at: datetime = NOW
    revision: int = 0


def read(_conn: Connection, rows: Sequence[Any]) -> list[Thing]:
    made = []
    for row in rows:
        values = row._asdict()
        assert values.pop("size") == len(values["name"])
        made.append(Thing(**{**values, "notes": tuple(values["notes"])}))
    return made


ROWS: Rows[Thing] = Rows(
    THINGS,
    read,
    sa.select(THINGS),
    seen=THINGS.c.project_id == VIEWER,
    fields={"length": sa.func.length(THINGS.c.name)},
    also={"unlike": lambda name: THINGS.c.name != name},
    computed={"size": lambda thing: len(thing.name)},
)
KEPT = [
    Thing(id=f"{number:03}", project_id=f"p{number % 2}", name="n" * (number % 7) + str(number), up=number % 3 > 0,
          host=None if number % 5 else "h1")
    for number in range(150)
]  # fmt: skip


@pytest.fixture
def conn() -> Iterator[Connection]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as made:
        THINGS.metadata.create_all(made)
        for thing in KEPT:
            ROWS.insert(made, thing)
        yield made
    engine.dispose()


def test_what_is_inserted_is_what_is_got_by_whoever_sees_it(conn: Connection) -> None:
    assert [ROWS.get(conn, thing.id) for thing in KEPT] == KEPT
    assert ROWS.get(conn, "000", "p0") == KEPT[0]
    assert ROWS.get(conn, "000", "p1") is None
    assert ROWS.get(conn, "nowhere") is None


def test_a_second_of_a_kind_is_refused_or_passed_over(conn: Connection) -> None:
    again = replace(KEPT[0], id="again")
    assert not ROWS.insert_new(conn, again)
    with pytest.raises(sqlite3.IntegrityError):
        ROWS.insert(conn, again)
    assert ROWS.insert_new(conn, replace(again, name="another"))


def test_a_change_counts_the_revision_up_and_says_whether_there_was_any_such_thing(conn: Connection) -> None:
    later = NOW + timedelta(days=1)
    assert ROWS.update(conn, "001", {"host": "h2"}, later)
    assert ROWS.get(conn, "001") == replace(KEPT[1], host="h2", revision=1, updated_at=later)
    assert not ROWS.update(conn, "nowhere", {"host": "h2"}, later)


def test_what_is_deleted_is_gone_and_nothing_else(conn: Connection) -> None:
    ROWS.delete(conn)
    ROWS.delete(conn, "001", "nowhere", "003")
    left = [thing.id for thing in ROWS.find(conn, None, Listing())]
    assert left == [thing.id for thing in KEPT if thing.id not in {"001", "003"}]


LISTINGS = [
    Listing(),
    Listing(filters={"host": ["h1"]}),
    Listing(filters={"host": [""]}),
    Listing(filters={"host": ["h1", ""], "up": [True]}),
    Listing(filters={"length": [3]}, sort=(("name", False),), limit=4),
    Listing(filters={"up": [False]}, sort=(("host", True), ("name", True)), limit=7, marker="036"),
    Listing(sort=(("host", False), ("up", True)), limit=9, marker="090", reverse=True),
    Listing(filters={"id": [thing.id for thing in KEPT[:50]]}, limit=1000),
]


@pytest.mark.parametrize("listing", LISTINGS, ids=range(len(LISTINGS)))
@pytest.mark.parametrize("viewer", [None, "p0"])
def test_a_kept_statement_finds_what_plain_python_finds(conn: Connection, listing: Listing, viewer: str | None) -> None:
    def value(thing: Thing, name: str) -> Any:
        return len(thing.name) if name == "length" else getattr(thing, name) or ("" if name == "host" else False)

    want = [thing for thing in KEPT if viewer in {None, thing.project_id}]
    for name, ascending in reversed((*listing.sort, ("id", True))):
        want.sort(key=lambda thing: value(thing, name), reverse=not ascending)
    if listing.marker is not None:
        at = [thing.id for thing in want].index(listing.marker)
        want = want[:at] if listing.reverse else want[at + 1 :]
    for name, values in listing.filters.items():
        want = [thing for thing in want if value(thing, name) in values]
    if listing.limit is not None:
        want = want[-listing.limit :] if listing.reverse else want[: listing.limit]
    for _ in range(2):  # compiled, and kept
        assert ROWS.find(conn, viewer, listing) == want
    assert ROWS.find(conn, viewer, structs.replace(listing, also={"unlike": "no such name"})) == want


def test_a_marker_that_the_list_does_not_show_is_refused(conn: Connection) -> None:
    with pytest.raises(Invalid, match="nothing with id '001'"):
        ROWS.find(conn, "p0", Listing(marker="001"))


def test_no_more_forms_of_a_list_are_kept_than_allowed(conn: Connection) -> None:
    pages = Pages(sa.select(THINGS), {column.name: column for column in THINGS.c})
    names = ("id", "project_id", "name", "host", "up")
    for first in names:
        for second in names:
            for up in (True, False):
                for reverse in (True, False):
                    pages.rows(conn, Listing(sort=((first, up), (second, True)), reverse=reverse))
    assert pages._kept.cache_info().currsize == 64


@pytest.mark.parametrize("many", [0, 1, 2, 3, 64, 150])
def test_any_number_of_ids_is_found_in_order(conn: Connection, many: int) -> None:
    query = ByIds(sa.select(THINGS.c.id).where(THINGS.c.up == sa.bindparam("is_up")).order_by(THINGS.c.id), THINGS.c.id)
    wanted = [thing.id for thing in reversed(KEPT)][:many]
    found = [row.id for row in query.rows(conn, wanted, is_up=True)]
    assert found == sorted(thing.id for thing in KEPT if thing.up and thing.id in wanted)


@pytest.mark.parametrize("many", [0, 1, 2, 3, 64, 150])
def test_further_queries_are_for_the_same_ids(conn: Connection, many: int) -> None:
    names = sa.select(THINGS.c.id, THINGS.c.name, sa.null())
    query = ByIds(sa.select(THINGS.c.id, sa.null(), THINGS.c.up), THINGS.c.id, (names, THINGS.c.id))
    wanted = [thing.id for thing in reversed(KEPT)][:many]
    found = sorted(query.tuples(conn, wanted), key=repr)
    asked = [thing for thing in KEPT if thing.id in wanted]
    each = [*((thing.id, None, thing.up) for thing in asked), *((thing.id, thing.name, None) for thing in asked)]
    assert found == sorted(each, key=repr)


# -- what only some tables have ---------------------------------------------------------------------------

NUMBERED = sa.Table(
    "numbered",
    THINGS.metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    names.folded(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    id: int = 0
    owner: str = "o"
    name: str


OF_OWNER: Rows[Numbered] = Rows(
    NUMBERED, things(Numbered), seen=NUMBERED.c.owner == VIEWER, key=NUMBERED.c.name, order=(("owner", False),)
)


def test_what_the_database_numbers_has_its_number(conn: Connection) -> None:
    made = [OF_OWNER.insert(conn, Numbered(name=name)) for name in ("b", "a")]
    assert [thing.id for thing in made] == [1, 2]
    assert OF_OWNER.get(conn, "b", "o") == made[0]


def test_a_thing_is_known_by_its_key_to_who_sees_it(conn: Connection) -> None:
    mine = OF_OWNER.insert(conn, Numbered(name="same"))
    theirs = OF_OWNER.insert(conn, Numbered(name="same", owner="p"))
    assert OF_OWNER.get(conn, "same", "o") == mine
    assert OF_OWNER.get(conn, "same", "p") == theirs
    last = OF_OWNER.insert(conn, Numbered(name="tame"))
    assert OF_OWNER.find(conn, "o", Listing(marker="same")) == [last]
    OF_OWNER.insert(conn, Numbered(name="their own", owner="p"))
    with pytest.raises(Invalid, match="their own"):
        OF_OWNER.find(conn, "o", Listing(marker="their own"))
    assert OF_OWNER.delete(conn, mine.id)
    assert not OF_OWNER.delete(conn, mine.id)
    assert OF_OWNER.get(conn, "same", "p") == theirs


def test_names_are_found_whatever_their_case_and_follow_a_change(conn: Connection) -> None:
    old = OF_OWNER.insert(conn, Numbered(name="STRASSE"))
    assert OF_OWNER.called(conn, "straße") == old
    exact = OF_OWNER.insert(conn, Numbered(name="straße"))
    assert OF_OWNER.called(conn, "straße") == exact
    assert OF_OWNER.those(conn, name="Straße", owner=None) == [old, exact]
    assert OF_OWNER.those(conn, name="Straße", owner="p") == []
    assert OF_OWNER.update(conn, old.id, {"name": "Way"})
    assert OF_OWNER.called(conn, "wAY") == replace(old, name="Way")
    assert OF_OWNER.called(conn, "strasse") == exact
    assert OF_OWNER.update(conn, old.id, {})
    assert not OF_OWNER.update(conn, 77, {})


def test_a_list_starts_after_as_many_as_asked_in_the_order_of_its_table(conn: Connection) -> None:
    for name, owner in (("a", "o"), ("b", "p"), ("c", "o"), ("d", "p")):
        OF_OWNER.insert(conn, Numbered(name=name, owner=owner))
    assert [thing.name for thing in OF_OWNER.find(conn, None, Listing())] == ["b", "d", "a", "c"]
    assert [thing.name for thing in OF_OWNER.find(conn, None, Listing(offset=1, limit=2))] == ["d", "a"]
    assert [thing.name for thing in OF_OWNER.find(conn, "p", Listing(offset=1))] == ["d"]
    assert [thing.name for thing in OF_OWNER.find(conn, None, Listing(sort=(("name", False),), offset=3))] == ["a"]


def test_things_are_read_by_any_number_of_ids(conn: Connection) -> None:
    assert ROWS.each(conn, []) == []
    assert ROWS.each(conn, ["007", "nowhere", "003"]) == [KEPT[3], KEPT[7]]
    assert len(ROWS.each(conn, [f"{number:05}" for number in range(40_000)] + ["001"])) == 1
