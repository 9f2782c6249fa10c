"""The schema, made at once."""

from __future__ import annotations

import sqlalchemy as sa

from floe.store.schema import create_all, load


def there(*makers: object) -> set[tuple[str, str, str]]:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as conn:
        for make in makers:
            make(conn)  # type: ignore[operator]
        found = conn.exec_driver_sql("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").all()
    engine.dispose()
    return {tuple(row) for row in found}  # type: ignore[misc]


def test_an_empty_database_gets_all_that_the_tables_declare() -> None:
    declared = there(lambda conn: load().create_all(conn))
    assert there(create_all) == declared
    assert {kind for kind, _, _ in declared} == {"table", "index", "trigger"}


def test_one_that_has_all_of_it_stays_as_it_is() -> None:
    assert there(create_all, create_all) == there(create_all)
