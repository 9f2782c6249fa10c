"""What microversions above 2.96 show and change of a server: its image's properties, and the zone it is kept in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sites import SERVERS, Site, furnished

from floe.testing import EmbeddedCloud


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    async with furnished(embedded) as made:
        yield made


async def pin(site: Site, server: str, zone: str | None) -> tuple[int, Any]:
    """Ask for a server to be kept in a zone; return the status, and where it is kept then or why not."""
    asked = {"server": {"pinned_availability_zone": zone}}
    reply = await site.ask("PUT", f"{SERVERS}/{server}", asked, version="2.104")
    body = reply.json()
    return reply.status_code, body["server"]["pinned_availability_zone"] if "server" in body else reply.text


async def test_a_server_is_kept_in_its_own_zone_alone_and_let_go_of_first(site: Site) -> None:
    server = await site.server("a")
    assert await pin(site, server, None) == (200, None)
    status, why = await pin(site, server, "elsewhere")
    assert (status, "'nova'" in why) == (409, True)
    assert await pin(site, server, "nova") == (200, "nova")
    assert await pin(site, server, "nova") == (200, "nova")
    status, why = await pin(site, server, "elsewhere")
    assert (status, "unpin it first" in why) == (409, True)
    assert await pin(site, server, None) == (200, None)
    shown = (await site.ask("GET", f"{SERVERS}/{server}", version="2.104")).json()["server"]
    assert (shown["pinned_availability_zone"], shown["OS-EXT-AZ:availability_zone"]) == (None, "nova")


async def test_properties_of_the_image_that_mean_something_to_compute_are_shown(site: Site) -> None:
    patch = [{"op": "add", "path": f"/{name}", "value": "virtio"} for name in ("hw_disk_bus", "my_own")]
    media = {"x-auth-token": site.tokens["demo"], "content-type": "application/openstack-images-v2.1-json-patch"}
    path = f"/image/v2/images/{site.ids['image']}"
    assert (await site.http.patch(path, content=json.dumps(patch), headers=media)).status_code == 200
    server = await site.server("a")
    for version, properties in (("2.97", None), ("2.98", {"hw_disk_bus": "virtio"})):
        found = (await site.ask("GET", f"{SERVERS}/{server}", version=version)).json()["server"]
        assert found["image"].get("properties") == properties
