"""The rules in force in a network namespace: loaded in one transaction, and noticed when anybody else changes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable

from floe.core.errors import HostFailure
from floe.dataplane.linux import kernel, ruleset
from floe.dataplane.linux.ruleset import Tables
from floe.dataplane.linux.run import run

log = logging.getLogger(__name__)

_SECONDS = 60.0
_UNKNOWN = -1


async def are_loadable(tables: Tables) -> bool:
    """Say whether the kernel would take these tables, without loading them."""
    return (await run(["nft", "-c", "-f", "-"], text=ruleset.whole(tables), check=False)).code == 0


class LoadedRules:
    """Loads Floe's tables of a namespace (None: the one that the process is in)."""

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace
        self._enter = ["nsenter", f"--net={kernel.NAMESPACES / namespace}"] if namespace else []
        self.tables: Tables = {}
        """What was loaded last."""
        self._generation = _UNKNOWN

    def forget(self) -> None:
        """Know nothing of what is in force."""
        self._generation = _UNKNOWN

    async def load(self, tables: Tables) -> None:
        """Load what differs from the rules in force, or all of them when somebody changed rules behind our back."""
        before = await self._generation_now()
        ours = before == self._generation
        script = ruleset.difference(self.tables, tables) if ours else ruleset.whole(tables)
        if not script:
            return
        self._generation = _UNKNOWN
        try:
            await self._run(script)
        except HostFailure as error:
            if not ours:
                raise
            log.warning("rules could not be changed, so all are loaded anew: %s", error.detail)
            before = await self._generation_now()
            await self._run(ruleset.whole(tables))
        after = await self._generation_now()
        self.tables = tables
        # One transaction counts one; anything else means that somebody changed rules at the same time.
        self._generation = after if after == before + 1 else _UNKNOWN

    async def are_ours(self) -> bool:
        """Say whether nobody has changed a rule since the latest load."""
        return self._generation == await self._generation_now()

    async def drift(self, tables: Tables) -> list[str]:
        """Compare what was loaded and, where anybody changed rules since then, what each table holds by name."""
        if {k: v for k, v in self.tables.items() if v} != {k: v for k, v in tables.items() if v}:
            return ["the rules in force are those of another state"]
        if await self.are_ours():
            return []
        found = []
        for (family, name), items in tables.items():
            listed = await run([*self._enter, "nft", "-j", "list", "table", family, name], check=False)
            if listed.code and items:
                found.append(f"table {family} {name} is missing")
            elif not listed.code:
                found += ruleset.listed_difference(f"{family} {name}", items, json.loads(listed.out)["nftables"])
        return found

    async def remove(self, tables: Iterable[tuple[str, str]]) -> None:
        """Remove tables, whether they are there or not."""
        self.forget()
        await self._run(ruleset.removal(tables))

    async def _run(self, script: str) -> None:
        await run([*self._enter, "nft", "-f", "-"], text=script, deadline=_SECONDS)

    async def _generation_now(self) -> int:
        if self._namespace is None:
            return kernel.rules_generation()
        return await kernel.in_namespace(self._namespace, kernel.rules_generation)
