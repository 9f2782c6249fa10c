"""Of which ports connections are counted on a host: with a port that is gone its connections end.

Else whoever makes guests, and removes them, would have more connections than a guest's share with each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from floe.core.host_network import HostPort
from floe.dataplane.linux import flows, shares
from floe.dataplane.linux.nftables import port_marks
from floe.dataplane.linux.run import run
from floe.pools import alone


class CountedPorts:
    """Knows the ports by their marks."""

    def __init__(self) -> None:
        self._marks: frozenset[int] | None = None

    async def find(self) -> None:
        """Learn, where it is not known, from the rules in force whose connections were counted."""
        if self._marks is None:
            listed = await run(["nft", "-j", "list", "set", *shares.TABLE, shares.COUNTED], check=False)
            entries = [] if listed.code else json.loads(listed.out)["nftables"]
            counted = [element for entry in entries for element in entry.get("set", {}).get("elem", ())]
            self._marks = frozenset(element["elem"]["val"]["concat"][0] for element in counted)

    async def keep(self, ports: Iterable[HostPort]) -> None:
        """End the connections of all ports but these."""
        before, self._marks = self._marks or frozenset(), None
        marks = frozenset(port_marks(ports).values())
        if gone := before - marks:
            await alone(flows.forget, gone)
        self._marks = marks

    def forget(self) -> None:
        """Know nothing of what is counted."""
        self._marks = None
