"""Hosts that are told again what their guests may read, while that changes."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from sites import furnished

from floe.conductor.metadata_resync import MetadataResync
from floe.core.messages import Command, HostUp, Result, UpdateMetadata
from floe.simulation.planting import otherwise
from floe.store import servers
from floe.testing import EmbeddedCloud


async def test_a_row_that_changes_while_its_host_is_told_is_told_again(embedded: EmbeddedCloud) -> None:
    async with furnished(embedded) as site:
        server = await site.server("one", None)
        cloud = site.cloud.node.cloud
        told: list[str] = []

        async def request(host: str, command: Command, *, timeout: float) -> Result:
            """Change the row while what it said before is on its way, as the end of a resize does."""
            assert isinstance(command, UpdateMetadata)
            if not told:
                await cloud.db.write(lambda conn: servers.change(conn, server, name="after"))
            told.append(command.metadata.name)
            return await cloud.bus.request(host, command, timeout=timeout)

        found = await cloud.db.read(lambda conn: servers.get(conn, server))
        assert found is not None
        assert found.host is not None
        facts: dict[str, Any] = {"hypervisor_type": "fake", "hypervisor_version": 1, "inventories": ()}
        event = HostUp(host=found.host, told={server: "something else"}, **facts)
        resync = MetadataResync(replace(cloud, bus=otherwise(cloud.bus, request=request)))
        assert not await resync.compare(event)
        assert told == ["one", "after"]
