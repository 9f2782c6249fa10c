"""Tokens that this process has checked already: emptied at once when anything about identity changes.

Each entry was read at a generation of identity, a number in the database that every change counts up. An
entry of an older generation is never kept, so an answer that was on its way while something changed is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from floe.cloud.cloud import Cloud
from floe.core.context import Context

MAX_ENTRIES = 10_000


@dataclass(slots=True)
class TokenCache:
    """The contexts of tokens by their text, with the time they end."""

    generation: int = 0
    entries: dict[str, tuple[datetime, Context]] = field(default_factory=dict)

    def put(self, text: str, expires_at: datetime, context: Context, generation: int) -> None:
        """Keep what was read at `generation`, unless something has changed since."""
        self.notice(generation)
        if generation == self.generation:
            if len(self.entries) >= MAX_ENTRIES:
                del self.entries[next(iter(self.entries))]
            self.entries[text] = (expires_at, context)

    def notice(self, generation: int) -> None:
        """Forget everything if identity has changed since it was read."""
        if generation > self.generation:
            self.entries.clear()
            self.generation = generation


def of(cloud: Cloud) -> TokenCache:
    """Return the cloud's cache."""
    cache = cloud.caches.get("tokens")
    if cache is None:
        cache = cloud.caches["tokens"] = TokenCache()
    assert isinstance(cache, TokenCache)
    return cache
