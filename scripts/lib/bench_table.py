"""The scheduler's table at a size that no test machine has hosts for: CPU of one decision in this process, in ms; and
how long 2,000 of them took on the clock.

Run with the number of hosts; prints figures as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from bench_marks import percentile
from msgspec.structs import replace

from floe.core.errors import NoValidHost
from floe.core.hosts import Host
from floe.core.resources import Inventory, Resources
from floe.core.server_groups import ANTI_AFFINITY, ServerGroup
from floe.scheduler.hosts import HostTable
from floe.scheduler.select import select
from floe.scheduler.spec import RequestSpec

_NOW = datetime(2030, 1, 1, tzinfo=UTC)


def figures(count: int) -> dict[str, float]:
    """Return what decisions over so many hosts cost: one that fits, none that fits, nearly all or all taken."""
    table = HostTable(_host(number) for number in range(count))
    fits = RequestSpec(resources=Resources(1, 1024, 1))
    group = ServerGroup(
        id="g", project_id="p", user_id="u", name="g", policy=ANTI_AFFINITY, max_per_host=None, created_at=_NOW
    )
    taken = dict.fromkeys(table.names[:-1], 1)
    all_but_one = replace(fits, different_hosts=frozenset(taken))
    apart = replace(fits, group=group, group_hosts=taken)
    everywhere = replace(apart, group_hosts=dict.fromkeys(table.names, 1))
    nowhere = replace(fits, resources=Resources(60, 2**20, 1))
    waits = _waits(lambda seed: select(fits, table, seed))
    return {
        "fits_p50_ms": percentile(waits, 0.5),
        "fits_p99_ms": percentile(waits, 0.99),
        "fits_ms": _cost(lambda: select(fits, table, 7)),
        "nowhere_ms": _cost(lambda: _refused(nowhere, table)),
        "apart_nearly_all_taken_ms": _cost(lambda: select(apart, table, 7)),
        "apart_all_taken_ms": _cost(lambda: _refused(everywhere, table)),
        "different_host_nearly_all_ms": _cost(lambda: select(all_but_one, table, 7)),
    }


def _refused(spec: RequestSpec, table: HostTable) -> None:
    try:
        select(spec, table, 7)
    except NoValidHost:
        return
    raise AssertionError("it fits")


def _cost(work: Callable[[], object], times: int = 5) -> float:
    work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) * 1000 / times


def _waits(work: Callable[[int], object], times: int = 2000) -> list[float]:
    """Return what each of many decisions took on the clock, in ms."""
    found = []
    for seed in range(times):
        began = time.perf_counter()
        work(seed)
        found.append((time.perf_counter() - began) * 1000)
    return found


def _host(number: int) -> Host:
    return Host(
        name=f"host-{number:06}.rack-{number // 40}.example",
        hypervisor_type="QEMU",
        inventories=(
            Inventory(resource_class="VCPU", total=16 + number % 7, max_unit=64),
            Inventory(resource_class="MEMORY_MB", total=65536 + number % 1000),
            Inventory(resource_class="DISK_GB", total=1000),
        ),
        cpu_info={"arch": "x86_64"},
        created_at=_NOW,
        updated_at=_NOW,
        started_at=_NOW,
        last_seen=_NOW,
    )


if __name__ == "__main__":
    print(json.dumps(figures(int(sys.argv[1]))))
