"""An older copy of the database is put back: hosts remember what it does not, and whatever is asked next is done."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from floe.cloud import audits
from floe.core.guests import PowerState
from floe.hypervisors.fake import FakeHypervisor
from floe.store import servers as rows
from floe.testing import EmbeddedCloud

from .test_idempotency import User
from .test_lost_ledgers import show

START, STOP = {"os-start": None}, {"os-stop": None}
HARD: dict[str, Any] = {"reboot": {"type": "HARD"}}
SOFT: dict[str, Any] = {"reboot": {"type": "SOFT"}}
SINCE = [STOP, START, HARD, {"pause": None}, {"unpause": None}, {"suspend": None}, {"resume": None}, HARD, SOFT]
"""What users asked for after the dump: more than the rows of it count up to soon."""

pytestmark = pytest.mark.sqlite("a dump is a copy of its file; PostgreSQL's are in tests/cluster/test_operation.py")


async def logged_in(cloud: EmbeddedCloud) -> User:
    user = User(cloud)
    await user.login()
    for image in (await user.http.get("/image/v2/images")).json()["images"]:
        user.image = image["id"]
    return user


@asynccontextmanager
async def running(cloud: EmbeddedCloud) -> AsyncIterator[User]:
    async with cloud:
        user = await logged_in(cloud)
        await cloud.settled()
        try:
            yield user
        finally:
            await user.http.aclose()


async def ask(user: User, ident: str, asked: Any) -> Any:
    """Have something done with a server's guest, and return what it is then."""
    reply = await user.http.post(f"/compute/v2.1/servers/{ident}/action", json=asked)
    assert reply.status_code == 202, reply.text
    await user.cloud.settled()
    return await show(user, ident)


def boots(state: Path, ident: str) -> list[int]:
    """Return by which boot a guest runs, on each host that has it."""
    return [int(file.suffix[1:]) for file in state.glob(f"hosts/*/fake-guests-boots/{ident}.*")]


class Dumps:
    """A cloud whose database can be put back to what it was."""

    def __init__(self, state: Path, first_start: Path) -> None:
        self.cloud = EmbeddedCloud(state, hosts=2, template=first_start)
        self._state, self._dump = state, state.with_name("dump")

    def take(self, name: str = "dump") -> None:
        """Copy the database of the cloud, which is stopped."""
        folder = self._dump.with_name(name)
        folder.mkdir()
        for file in self._state.glob("floe.db*"):
            shutil.copy2(file, folder)

    def reopen_stop(self, ident: str) -> None:
        """Have the dump be of the moment when a host was about to answer that a guest is stopped."""
        with closing(sqlite3.connect(self._dump / "floe.db")) as db, db:
            (action,) = db.execute("SELECT id FROM actions WHERE kind = 'stop' AND server_id = ?", [ident]).fetchone()
            db.execute("UPDATE actions SET state = 'running', finished_at = NULL WHERE id = ?", [action])
            db.execute("DELETE FROM action_steps WHERE action_id = ? AND name <> 'stop'", [action])
            of_step = "state = 'begun', output = NULL, finished_at = NULL WHERE action_id = ?"
            db.execute(f"UPDATE action_steps SET {of_step}", [action])
            of_server = "vm_state = 'active', task_state = 'powering-off', power_state = 1 WHERE id = ?"
            db.execute(f"UPDATE servers SET {of_server}", [ident])

    def forget_answers(self) -> None:
        """Have hosts forget what they answered to changes of power, as they do after a day."""
        for ledger in self._state.glob("hosts/*/ledger.jsonl"):
            lines = ledger.read_text().splitlines(keepends=True)
            ledger.write_text("".join(line for line in lines if '"answered"' not in line))

    def restore(self, name: str = "dump") -> None:
        """Put a copy back; the hosts keep what they have."""
        for file in self._state.glob("floe.db*"):
            file.unlink()
        for file in self._dump.with_name(name).iterdir():
            shutil.copy2(file, self._state)


@pytest.fixture
def dumps(tmp_path: Path, first_start: Path) -> Dumps:
    return Dumps(tmp_path / "state", first_start)


async def built(user: User, **more: Any) -> str:
    reply = await user.create(None, **more)
    ident: str = reply.json()["server"]["id"]
    await user.cloud.settled()
    assert (await show(user, ident))["status"] == "ACTIVE"
    return ident


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        (None, STOP, "SHUTOFF"),
        (STOP, START, "ACTIVE"),
        (None, HARD, "ACTIVE"),
        (None, SOFT, "ACTIVE"),
        (STOP, HARD, "ACTIVE"),
        (None, {"pause": None}, "PAUSED"),
        ({"pause": None}, {"unpause": None}, "ACTIVE"),
        (None, {"suspend": None}, "SUSPENDED"),
        ({"suspend": None}, {"resume": None}, "ACTIVE"),
        (None, {"trigger_crash_dump": None}, "ACTIVE"),
    ],
)
async def test_each_action_is_done_though_the_database_is_an_older_copy(
    dumps: Dumps, before: Any, asked: Any, after: str
) -> None:
    async with running(dumps.cloud) as user:
        await user.upload()
        ident = await built(user, networks="none")
    dumps.take()
    async with running(dumps.cloud) as user:
        for each in [*SINCE, *([before] if before else [])]:
            shown = await ask(user, ident, each)
            assert shown.get("fault") is None
    dumps.restore()
    async with running(dumps.cloud) as user:
        await user.cloud.node.conductor.events.check((await row(user, ident)).host)
        booted = boots(dumps.cloud.folder, ident)
        shown = await ask(user, ident, asked)
        assert (shown["status"], shown.get("fault")) == (after, None)
        actions = await user.http.get(f"/compute/v2.1/servers/{ident}/os-instance-actions")
        latest = actions.json()["instanceActions"][0]
        assert latest["message"] is None
        assert latest["action"] in {word.removeprefix("os-") for word in asked}
        if "reboot" in asked or "os-start" in asked:
            assert boots(dumps.cloud.folder, ident) > booted, "it is booted, however often it was since the dump"
        assert await audits.run(user.cloud.node.cloud) == []


@pytest.mark.parametrize("answers", ["kept", "forgotten"])
async def test_what_the_dump_has_under_way_undoes_nothing_that_was_done_since(dumps: Dumps, answers: str) -> None:
    async with running(dumps.cloud) as user:
        await user.upload()
        ident = await built(user, networks="none")
        await ask(user, ident, STOP)
    dumps.take()
    dumps.reopen_stop(ident)
    async with running(dumps.cloud) as user:
        assert (await ask(user, ident, START))["status"] == "ACTIVE"
        booted = boots(dumps.cloud.folder, ident)
    if answers == "forgotten":
        dumps.forget_answers()
    dumps.restore()
    async with running(dumps.cloud) as user:
        await user.cloud.node.conductor.events.check((await row(user, ident)).host)
        shown = await show(user, ident)
        assert (shown["status"], shown["OS-EXT-STS:task_state"], shown["OS-EXT-STS:power_state"]) == ("ACTIVE", None, 1)
        assert boots(dumps.cloud.folder, ident) == booted
        actions = (await user.http.get(f"/compute/v2.1/servers/{ident}/os-instance-actions")).json()["instanceActions"]
        (message,) = [each["message"] for each in actions if each["action"] == "stop"]
        assert (message is None) is (answers == "kept")
        assert (await ask(user, ident, STOP))["status"] == "SHUTOFF"
        assert await audits.run(user.cloud.node.cloud) == []


async def row(user: User, ident: str) -> Any:
    return await user.cloud.node.cloud.db.read(lambda conn: rows.get(conn, ident))


async def a_network(user: User) -> str:
    """Make a network for servers to be on, and return its id."""
    network = (await user.http.post("/network/v2.0/networks", json={"network": {"name": "n"}})).json()["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
    assert (await user.http.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    return str(network)


@pytest.mark.parametrize(("since", "then"), [(1, 1), (2, 2), (3, 1), (1, 3)])
async def test_hosts_have_the_networks_of_the_rows_though_numbers_are_given_out_again(
    dumps: Dumps, since: int, then: int
) -> None:
    """Some are made at once after the restore, before the hosts were sent anything."""
    async with running(dumps.cloud) as user:
        await user.upload()
        network = await a_network(user)
        for _ in range(2):
            await built(user, networks=[{"uuid": network}])
    dumps.take()
    async with running(dumps.cloud) as user:
        lost = {await built(user, networks=[{"uuid": network}], name="lost") for _ in range(since)}
    dumps.restore()
    async with dumps.cloud:
        user = await logged_in(dumps.cloud)
        for _ in range(then):
            reply = await user.create(None, networks=[{"uuid": network}], name="new")
            assert reply.status_code == 202
        await dumps.cloud.settled()
        assert len(await user.servers()) == 2 + then
        found = {(each.rule, each.subject) for each in await audits.run(dumps.cloud.node.cloud)}
        assert found == {("a guest is left on a host that should not have it", ident) for ident in lost}
        await user.http.aclose()


def wired(cloud: EmbeddedCloud, ident: str) -> tuple[set[str], set[str]]:
    """Return by which ports a guest, which runs, is to have NICs when it starts again, and which NICs it has."""
    ((agent, guest),) = [
        (agent, agent._ledger.guests[ident])
        for agent in cloud.node.agents
        if agent._ledger is not None and ident in agent._ledger.guests
    ]
    assert isinstance(agent._hypervisor, FakeHypervisor)
    machine = agent._hypervisor.host
    assert machine.guests[ident] is PowerState.RUNNING
    return {nic.port_id for nic in guest.nics}, machine.nics.get(ident, set())


async def test_a_guest_that_the_copy_does_not_know_runs_on_without_nics_and_has_them_again_with_a_later_copy(
    dumps: Dumps,
) -> None:
    """Its addresses are free again, so it keeps no NIC, of which the tap is gone: it could not start with it."""
    async with running(dumps.cloud) as user:
        await user.upload()
        network = await a_network(user)
    dumps.take()
    async with running(dumps.cloud) as user:
        ident = await built(user, networks=[{"uuid": network}])
        ports, there = wired(dumps.cloud, ident)
        assert ports == there and len(ports) == 1
    dumps.take("later")
    dumps.restore()
    async with running(dumps.cloud) as user:
        assert await user.servers() == []
        assert wired(dumps.cloud, ident) == (set(), set())
        other = await built(user, networks=[{"uuid": network}])
        assert len(wired(dumps.cloud, other)[1]) == 1
    dumps.restore("later")
    async with running(dumps.cloud) as user:
        assert await user.servers() == [ident]
        assert wired(dumps.cloud, ident) == (ports, ports)
        assert (await ask(user, ident, HARD))["status"] == "ACTIVE"
        assert wired(dumps.cloud, ident) == (ports, ports)
