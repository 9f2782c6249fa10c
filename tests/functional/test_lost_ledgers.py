"""A host whose ledger is lost, from the user's request to the audit: power brings its guests back as they were."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from floe.cloud import audits
from floe.testing import EmbeddedCloud

from .test_idempotency import User


async def made(cloud: EmbeddedCloud) -> tuple[User, str, str]:
    """Return a user, a server with a port, and its host."""
    user = User(cloud)
    await user.login()
    await user.upload()
    network = await user.http.post("/network/v2.0/networks", json={"network": {"name": "n"}})
    subnet = {"network_id": network.json()["network"]["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
    assert (await user.http.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    reply = await user.create(None, networks=[{"uuid": subnet["network_id"]}], config_drive=True)
    ident = reply.json()["server"]["id"]
    await cloud.settled()
    server = await show(user, ident)
    assert server["status"] == "ACTIVE"
    view = await cloud.node.cloud.db.read(lambda conn: _host(conn, ident))
    return user, ident, view


def _host(conn: Any, ident: str) -> str:
    from floe.store import servers

    server = servers.get(conn, ident)
    assert server is not None and server.host is not None
    return server.host


async def show(user: User, ident: str) -> Any:
    return (await user.http.get(f"/compute/v2.1/servers/{ident}")).json()["server"]


@pytest.mark.parametrize("hypervisor", ["remembers", "forgot"])
async def test_a_start_brings_a_guest_up_of_which_nothing_but_its_disks_is_left(
    first_start: Path, tmp_path: Path, hypervisor: str
) -> None:
    cloud = EmbeddedCloud(tmp_path / "state", hosts=2, template=first_start)
    async with cloud:
        user, ident, host = await made(cloud)
        await user.http.aclose()
    folder = tmp_path / "state" / "hosts" / host
    (folder / "ledger.jsonl").unlink()
    if hypervisor == "forgot":
        for kept in ("fake-guests", "fake-guests-boots"):
            shutil.rmtree(folder / kept, ignore_errors=True)
    async with cloud:
        user = User(cloud)
        await user.login()
        await cloud.settled()
        await cloud.node.conductor.events.check(host)
        if hypervisor == "forgot":
            assert (await show(user, ident))["status"] == "SHUTOFF"
        asked: Any = {"reboot": {"type": "HARD"}} if hypervisor == "remembers" else {"os-start": None}
        reply = await user.http.post(f"/compute/v2.1/servers/{ident}/action", json=asked)
        assert reply.status_code == 202, reply.text
        await cloud.settled()
        server = await show(user, ident)
        assert (server["status"], server["OS-EXT-STS:power_state"], server.get("fault")) == ("ACTIVE", 1, None)
        assert await audits.run(cloud.node.cloud) == []
        agent = next(each for each in cloud.node.agents if each.host == host)
        assert list(agent.told()) == [ident]
        await user.http.aclose()


async def test_a_guest_whose_disk_is_gone_too_is_not_given_an_empty_one(first_start: Path, tmp_path: Path) -> None:
    cloud = EmbeddedCloud(tmp_path / "state", hosts=2, template=first_start)
    async with cloud:
        user, ident, host = await made(cloud)
        await user.http.aclose()
    folder = tmp_path / "state" / "hosts" / host
    shutil.rmtree(folder / "guests" / ident)
    (folder / "ledger.jsonl").unlink()
    async with cloud:
        user = User(cloud)
        await user.login()
        await cloud.settled()
        asked = {"reboot": {"type": "HARD"}}
        assert (await user.http.post(f"/compute/v2.1/servers/{ident}/action", json=asked)).status_code == 202
        await cloud.settled()
        shown = await user.http.get(f"/compute/v2.1/servers/{ident}/os-instance-actions")
        reboot = next(each for each in shown.json()["instanceActions"] if each["action"] == "reboot")
        assert reboot["message"] == "The root disk of the guest is not on this host any more."
        await user.http.aclose()
