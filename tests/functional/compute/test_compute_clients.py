"""The compute API as openstacksdk, unchanged, sees it: a whole cloud with fake hosts."""

from __future__ import annotations

import asyncio
from typing import Any

import openstack
import pytest

from floe.testing import EmbeddedCloud


def connect(cloud: EmbeddedCloud, user: str) -> Any:
    """Return a connection as that user, in the project of the same name."""
    return openstack.connection.Connection(
        auth={
            "auth_url": f"{cloud.url}/identity/v3",
            "username": user,
            "password": cloud.passwords[user],
            "project_name": user,
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        region_name="RegionOne",
        compute_default_microversion="2.96",
        app_name="floe-tests",
    )


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
async def test_a_server_lives_its_life_through_openstacksdk(embedded: EmbeddedCloud) -> None:
    await asyncio.to_thread(_life, embedded)


def _life(embedded: EmbeddedCloud) -> None:
    with connect(embedded, "demo") as demo:
        image = demo.image.create_image(name="tiny", disk_format="raw", container_format="bare", data=b"\0" * 4096)
        key = demo.compute.create_keypair(
            name="k", public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 me"
        )
        flavor = demo.compute.find_flavor("m1.nano")
        network = demo.network.find_network("private")
        server = demo.compute.create_server(
            name="web",
            image_id=image.id,
            flavor_id=flavor.id,
            key_name=key.name,
            networks=[{"uuid": network.id}],
            metadata={"a": "b"},
            tags=["t"],
        )
        server = demo.compute.wait_for_server(server, interval=0.02, wait=30)
        assert server.status == "ACTIVE" and server.addresses["private"][0]["addr"]
        assert [each.name for each in demo.compute.servers(tags="t")] == ["web"]
        assert demo.compute.get_server_console_output(server)["output"]
        assert [action.action for action in demo.compute.server_actions(server)] == ["create"]
        demo.compute.set_server_metadata(server, c="d")
        assert demo.compute.get_server(server.id).metadata == {"a": "b", "c": "d"}
        (nic,) = demo.compute.server_interfaces(server)
        assert nic.net_id == network.id
        assert demo.compute.get_limits().absolute.instances_used == 1
        demo.compute.delete_server(server)
        demo.compute.wait_for_delete(server, interval=0.02, wait=30)
        assert list(demo.compute.servers()) == []
        with pytest.raises(openstack.exceptions.BadRequestException, match="flavorRef"):
            demo.compute.create_server(name="x", image_id=image.id, flavor_id="nope", networks="none")
        demo.compute.delete_keypair(key)
