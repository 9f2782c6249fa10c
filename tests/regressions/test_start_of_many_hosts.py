"""A start looked through the folder of all hosts for each host: with a thousand, a million files and eight seconds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from floe.testing import EmbeddedCloud


class Listings:
    """Counts how often each folder is listed; a hook of the interpreter, which stays and is told nothing later."""

    def __init__(self) -> None:
        self.watched: Path | None = None
        self.count = 0
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watched is not None and event in {"os.listdir", "os.scandir"}:
            self.count += str(arguments[0]) == str(self.watched)

    async def of_a_start(self, folder: Path, hosts: int) -> int:
        self.watched, self.count = folder / "hosts", 0
        async with EmbeddedCloud(folder, hosts=hosts):
            self.watched = None
            return self.count


async def test_what_a_start_looks_through_is_looked_through_once_however_many_hosts_there_are(tmp_path: Path) -> None:
    listings = Listings()
    few, many = await listings.of_a_start(tmp_path / "few", 2), await listings.of_a_start(tmp_path / "many", 30)
    assert 1 <= few == many
