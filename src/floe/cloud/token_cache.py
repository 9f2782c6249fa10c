"""Tokens that this process has checked already: emptied at once when anything about identity changes.

Each entry was read at a generation of identity, a number in the database that every change counts up. An
entry of an older generation is never kept, so an answer that was on its way while something changed is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.tokens import Bearer
from floe.store import tokens as rows
from floe.store.engine import Connection

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES = 10_000
MAX_BEARERS = 2_000
"""Some 3 KB each."""
MAX_CATALOGUES = 200
"""Some 5 KB each."""


@dataclass(slots=True)
class TokenCache:
    """What was learnt of tokens by their text, with the time they end, and what catalogues they show."""

    generation: int = 0
    keys: tuple[bytes, ...] = ()
    entries: dict[str, tuple[datetime, Context]] = field(default_factory=dict)
    bearers: dict[str, tuple[datetime, Bearer]] = field(default_factory=dict)
    catalogues: dict[tuple[str | None, str], bytes] = field(default_factory=dict)
    """By project and user, as they go out."""

    def put(self, text: str, expires_at: datetime, context: Context, generation: int) -> None:
        """Keep what was read at `generation`, unless something has changed since."""
        self.keep(self.entries, text, (expires_at, context), generation, MAX_ENTRIES)

    def keep(self, kept: dict[K, V], key: K, value: V, generation: int, most: int) -> None:
        """Keep what was read at `generation` in one of the tables, unless something has changed since."""
        self.notice(generation)
        if generation == self.generation:
            if len(kept) >= most:
                del kept[next(iter(kept))]
            kept[key] = value

    def notice(self, generation: int) -> None:
        """Forget everything if identity has changed since it was read."""
        if generation > self.generation:
            self.forget()
            self.generation = generation

    def forget(self) -> None:
        """Forget everything."""
        for kept in (self.entries, self.bearers, self.catalogues):
            kept.clear()


def of(cloud: Cloud) -> TokenCache:
    """Return the cloud's cache."""
    cache = cloud.caches.get("tokens")
    if cache is None:
        cache = cloud.caches["tokens"] = TokenCache()
    assert isinstance(cache, TokenCache)
    return cache


async def current(cloud: Cloud) -> TokenCache:
    """Return the cloud's cache as it is good by what the database says now, whoever changed it."""
    cache = of(cloud)
    keys = tuple(cloud.token_keys())
    if keys != cache.keys:
        cache.forget()
        cache.keys = keys
    cache.notice(await cloud.db.read(rows.generation))
    return cache


async def read(cloud: Cloud, fn: Callable[[Connection], V]) -> tuple[int, V]:
    """Run `fn` on a view of the database, and return with its result the generation that it was read at."""
    return await cloud.db.read(lambda conn: (rows.generation(conn), fn(conn)))
