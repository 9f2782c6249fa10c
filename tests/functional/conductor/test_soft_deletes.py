"""Deletes that are put off: what a server keeps meanwhile, what its project gets back, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import compute_quotas, hosts, server_power, server_states, servers, soft_deletes
from floe.cloud.audit import check_rows
from floe.core import guest_actions
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound, OverQuota
from floe.core.guests import PowerState
from floe.core.messages import Failed
from floe.core.server_filters import ServerFilter
from floe.store import allocations, audit, quota_usages

PROJECT = "p" * 32
ANN = Context(request_id="r", user_id="u" * 32, project_id=PROJECT, roles=frozenset({"member"}))
ROOT = Context(request_id="r", user_id="root", project_id="f" * 32, roles=frozenset({"admin"}))
HOUR = 3600.0
BROKEN = Failed(kind="host_failure", message="It broke.", stage="power")


@pytest.fixture
async def built(site: Any) -> Any:
    site.cloud = replace(site.cloud, settings=replace(site.cloud.settings, reclaim_instance_interval=HOUR))
    await site.add_host("h1")
    server = await site.post()
    await site.settle()
    return site.server(server.id)


async def delete(site: Any, server: Any) -> Any:
    await soft_deletes.delete(site.cloud, ANN, server.id)
    await site.settle()
    return site.server(server.id)


def used(site: Any) -> int:
    return site.cloud.db.read_now(lambda conn: quota_usages.of(conn, PROJECT))["instances"]


def in_order(site: Any) -> None:
    assert check_rows(site.cloud.db.read_now(audit.rows), quiet=True) == []


async def test_what_is_deleted_is_off_and_keeps_its_claim_but_no_quota(site: Any, built: Any) -> None:
    gone = await delete(site, built)
    assert (gone.vm_state, gone.task_state, gone.power_state) == ("soft-delete", None, PowerState.SHUTDOWN)
    assert (gone.host, used(site)) == ("h1", 0)
    assert site.cloud.db.read_now(lambda conn: allocations.of_server(conn, built.id))
    due = gone.reclaim_at
    site.cloud.clock.advance(60)
    assert (await delete(site, built)).reclaim_at == due, "once more changes nothing"
    in_order(site)


@pytest.mark.parametrize("before", [None, guest_actions.STOP, guest_actions.PAUSE, guest_actions.SUSPEND])
async def test_a_server_is_restored_to_the_power_it_had(site: Any, built: Any, before: Any) -> None:
    if before is not None:
        await server_power.change(site.cloud, ANN, built.id, before)
        await site.settle()
    await delete(site, built)
    await soft_deletes.restore(site.cloud, ANN, built.id)
    await site.settle()
    again = site.server(built.id)
    assert again.vm_state == ("stopped" if before is guest_actions.STOP else "active")
    assert (again.reclaim_at, used(site)) == (None, 1)
    in_order(site)


async def test_who_has_used_the_room_since_has_nothing_restored(site: Any, built: Any) -> None:
    await delete(site, built)
    await compute_quotas.change(site.cloud, PROJECT, {"instances": 0}, force=True)
    with pytest.raises(OverQuota, match="instances: requested 1"):
        await soft_deletes.restore(site.cloud, ANN, built.id)
    assert site.server(built.id).vm_state == "soft-delete"


async def test_what_is_over_is_reclaimed_and_nothing_before_or_restored(site: Any, built: Any) -> None:
    other = await site.post()
    await site.settle()
    await delete(site, built)
    await delete(site, other)
    site.cloud.clock.advance(HOUR - 1)
    await site.conductor.sweeps.reclaim()
    await soft_deletes.restore(site.cloud, ANN, other.id)
    site.cloud.clock.advance(2)
    await site.conductor.sweeps.reclaim()
    await site.settle()
    assert [site.server(each.id).vm_state for each in (built, other)] == ["deleted", "active"]
    assert set(site.hosts["h1"].guests) == {other.id}
    (last,) = [action for action in site.actions(built.id) if action.kind == "delete"]
    assert (last.project_id, last.state) == (PROJECT, "succeeded")
    in_order(site)


async def test_a_look_that_is_old_reclaims_nothing_that_was_restored(site: Any, built: Any) -> None:
    gone = await delete(site, built)
    site.cloud.clock.advance(HOUR + 1)
    await soft_deletes.restore(site.cloud, ANN, built.id)
    await servers.delete(site.cloud, ROOT, built.id, overdue=gone.reclaim_at)
    await site.settle()
    assert site.server(built.id).vm_state == "active"


async def test_a_locked_server_is_reclaimed_but_by_force_of_nobody_else(site: Any, built: Any) -> None:
    await delete(site, built)
    await server_states.lock(site.cloud, ROOT, built.id, None)
    for touch in (servers.delete, soft_deletes.restore, soft_deletes.delete):
        with pytest.raises(Conflict, match="locked"):
            await touch(site.cloud, ANN, built.id)
    site.cloud.clock.advance(HOUR + 1)
    await soft_deletes.reclaim(site.cloud)
    await site.settle()
    assert site.server(built.id).vm_state == "deleted"


async def test_by_force_it_is_gone_at_once_and_so_is_what_was_never_built(site: Any, built: Any) -> None:
    await delete(site, built)
    await servers.delete(site.cloud, ANN, built.id)
    await site.settle()
    assert site.server(built.id).vm_state == "deleted"
    await site.take_down(site.hosts["h1"])
    unbuilt = await site.post()
    await delete(site, unbuilt)
    assert site.server(unbuilt.id).vm_state == "deleted"
    with pytest.raises(NotFound):
        await soft_deletes.restore(site.cloud, ANN, unbuilt.id)


async def test_where_the_setting_is_off_a_soft_deleted_server_is_deleted_and_reclaimed_all_the_same(
    site: Any, built: Any
) -> None:
    other = await site.post()
    await site.settle()
    await delete(site, built)
    await delete(site, other)
    site.cloud = replace(site.cloud, settings=replace(site.cloud.settings, reclaim_instance_interval=0.0))
    await delete(site, built)
    assert [site.server(each.id).vm_state for each in (built, other)] == ["deleted", "soft-delete"]
    site.cloud.clock.advance(HOUR + 1)
    await soft_deletes.reclaim(site.cloud)
    await site.settle()
    assert site.server(other.id).vm_state == "deleted"


async def test_a_guest_that_cannot_be_turned_off_leaves_its_server_as_it_was(site: Any, built: Any) -> None:
    site.hosts["h1"].power_script.append(BROKEN)
    after = await delete(site, built)
    assert (after.vm_state, after.task_state, after.reclaim_at, used(site)) == ("active", None, None, 1)


async def test_a_guest_that_cannot_be_started_leaves_its_server_to_be_reclaimed_when_it_was(
    site: Any, built: Any
) -> None:
    due = (await delete(site, built)).reclaim_at
    site.hosts["h1"].power_script.append(BROKEN)
    await soft_deletes.restore(site.cloud, ANN, built.id)
    assert used(site) == 1
    await site.settle()
    after = site.server(built.id)
    assert (after.vm_state, after.task_state, after.reclaim_at, used(site)) == ("soft-delete", None, due, 0)


async def test_a_delete_goes_before_a_change_of_power_and_a_restore(site: Any, built: Any) -> None:
    await server_power.change(site.cloud, ANN, built.id, guest_actions.PAUSE)
    assert (await delete(site, built)).vm_state == "soft-delete"
    assert site.server(built.id).power_before == PowerState.RUNNING
    await soft_deletes.restore(site.cloud, ANN, built.id)
    after = await delete(site, built)
    assert (after.vm_state, after.power_before, used(site)) == ("soft-delete", PowerState.RUNNING, 0)
    in_order(site)


async def test_an_operator_sets_no_state_of_it_and_does_not_lose_its_host(site: Any, built: Any) -> None:
    await delete(site, built)
    for active in (True, False):
        with pytest.raises(Conflict, match="restore it"):
            await server_states.reset(site.cloud, ROOT, built.id, active=active)
    with pytest.raises(Conflict):
        await server_power.change(site.cloud, ANN, built.id, guest_actions.HARD_REBOOT)
    await site.take_down(site.hosts["h1"])
    with pytest.raises(Conflict, match="1 server"):
        await hosts.remove(site.cloud, "h1")


async def test_who_lists_servers_sees_it_only_if_asking_for_it(site: Any, built: Any) -> None:
    await delete(site, built)

    async def found(**asked: Any) -> list[str]:
        return [each.name for each in await servers.listed(site.cloud, ROOT, ServerFilter(project_id=PROJECT, **asked))]

    assert await found() == await found(search=(("name", "w"),)) == await found(deleted=True) == []
    assert await found(deleted=None) == await found(soft_deleted=True) == await found(deleted=True, soft_deleted=True)
    assert len(await found(deleted=None)) == 1
