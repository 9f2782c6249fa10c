"""What is stored of a create that fits nowhere: little, however many hosts there are and whatever they are called."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from floe.core.hosts import CLASSES, Host
from floe.core.messages import Failed
from floe.core.resources import Inventory, Resources
from floe.scheduler.hosts import amounts as amounts_of
from floe.scheduler.select import NAMED
from floe.store import actions, servers
from floe.store import hosts as rows

STORED = 4096
"""Bytes at most, in all rows together."""


def _stored(site: Any, server_id: str) -> int:
    """Return the bytes of all that is written because of a failure, in all the rows that it is written to."""

    def read(conn: Any) -> int:
        fault = conn.scalar(
            sa.select(sa.cast(servers.servers.c.fault, sa.Text)).where(servers.servers.c.id == server_id)
        )
        steps = actions.steps.c
        told = [fault or ""]
        for action in actions.of_server(conn, server_id):
            told.append(action.message or "")
            entries = sa.select(steps.name, steps.remark, sa.cast(steps.output, sa.Text), steps.traceback)
            for row in conn.execute(entries.where(steps.action_id == action.id)):
                told += [text or "" for text in row]
        return sum(len(text.encode()) for text in told)

    return site.cloud.db.read_now(read)


async def _fill(site: Any, count: int, name: str) -> None:
    """Give the cloud many hosts, each too small in a way of its own."""
    there, now = list[Host](), site.cloud.clock.now()
    model = Host(
        name="", hypervisor_type="fake", cpu_info={}, created_at=now, updated_at=now, started_at=now, last_seen=now
    )  # fmt: skip
    for number in range(count):
        inventories = (
            Inventory(resource_class="VCPU", total=8),
            Inventory(resource_class="MEMORY_MB", total=512 + number % 400),
            Inventory(resource_class="DISK_GB", total=100),
        )
        host = replace(
            model, name=f"{name}-{number}", inventories=inventories, used=Resources(number % 5, number % 300, 0),
            enabled=number % 3 > 0, disabled_reason="moved to another hall: " + "why " * 50,
        )  # fmt: skip
        there.append(host)
    await site.cloud.db.write(lambda conn: conn.execute(rows.hosts.insert(), [_row(host) for host in there]) and None)
    await site.conductor.fleet.refresh()


def _row(host: Host) -> dict[str, Any]:
    names = {column.name for column in rows.hosts.c} - {"number"}
    amounts = zip(("vcpus", "memory", "disk"), CLASSES, amounts_of(host.used), strict=True)
    counted = [(name, host.inventory(kind).capacity, used) for name, kind, used in amounts]
    capacity = {f"{name}_capacity": most for name, most, _ in counted}
    used = {f"{name}_used": taken for name, _, taken in counted}
    return {**{name: getattr(host, name) for name in names if hasattr(host, name)}, **capacity, **used}


@pytest.mark.parametrize("name", ["h", "n" * 240, "ß" * 100])
@pytest.mark.parametrize("count", [NAMED + 1, 3000])
async def test_little_is_stored_of_a_create_that_fits_nowhere(site: Any, name: str, count: int) -> None:
    await _fill(site, count, name)
    server = await site.post(memory_mib=2048)
    await site.settle()
    failed = site.server(server.id)
    assert failed.vm_state == "error"
    assert failed.fault.message.startswith(f"No valid host: {count} hosts considered; {count // 3} are disabled; ")
    assert "2048 MiB asked" in failed.fault.details
    assert f"{count - NAMED} other host" in failed.fault.details
    assert _stored(site, server.id) <= STORED


async def test_little_is_stored_where_hosts_were_tried_before_none_was_left(site: Any) -> None:
    await _fill(site, 3000, "h" * 100)
    host = await site.add_host("tried", memory_mib=4096)
    host.script.append(Failed(kind="host_failure", message="The disk is full.", stage="disk", detail="/dev/x"))
    server = await site.post(memory_mib=2048)
    await site.settle()
    fault = site.server(server.id).fault
    assert fault.message.startswith(
        "The disk is full. No other host would do: No valid host: 3001 hosts considered; 1 was"
    )
    assert fault.details.startswith("host tried, stage disk\n/dev/x\ntried: it was tried: The disk is full.")
    assert _stored(site, server.id) <= STORED


async def test_few_hosts_are_named_each_with_what_it_lacks(site: Any) -> None:
    await _fill(site, NAMED, "a-host-with-quite-a-name")
    server = await site.post(memory_mib=2048)
    await site.settle()
    lines = site.server(server.id).fault.details.splitlines()
    assert {line.partition(": ")[0] for line in lines} == {f"a-host-with-quite-a-name-{n}" for n in range(NAMED)}
    assert all(line.partition(": ")[2] for line in lines)


async def test_a_failure_of_any_kind_is_kept_within_bounds(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(Failed(kind="invalid", message="M" * 100_000, stage="disk", detail="D" * 1_000_000))
    server = await site.post()
    await site.settle()
    fault = site.server(server.id).fault
    assert fault.message.startswith("MMM")
    assert "characters more" in fault.message
    assert _stored(site, server.id) < 20_000
