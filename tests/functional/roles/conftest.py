"""What roles in processes of their own stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def database(request: pytest.FixtureRequest, kind_of_database: str) -> Iterator[str]:
    """Give a PostgreSQL in which there is nothing yet; "" for SQLite in the state directory."""
    if kind_of_database == "sqlite":
        yield ""
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.copy_of("template0")
    yield url
    postgres.drop(url)
