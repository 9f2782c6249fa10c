"""What a question to a host and its answer take over the bus, in ms on the clock, one after the other.

Run with the server's URL, the number of questions, and the names of the hosts as JSON on the input; prints figures.
"""

from __future__ import annotations

import json
import random
import sys
import time

from bench_marks import percentile

from floe.bus.address import NatsAddress
from floe.bus.nats import NatsBus
from floe.core.messages import Report


async def figures(url: str, times: int, hosts: list[str]) -> dict[str, float]:
    """Ask hosts, by chance which, whether they live; none of them is at anything else."""
    bus, dice, waits = NatsBus(NatsAddress(servers=(url,)), "bench"), random.Random(7), []
    await bus.open()
    for host in hosts:  # none was asked before, and each has to say which run of it this is
        await bus.request(host, Report(whole=False), timeout=20)
    cpu = time.process_time()
    for _ in range(times):
        host, began = dice.choice(hosts), time.perf_counter()
        await bus.request(host, Report(whole=False), timeout=20)
        waits.append((time.perf_counter() - began) * 1000)
    cpu = time.process_time() - cpu
    await bus.close()
    return {
        "bus_p50_ms": percentile(waits, 0.5),
        "bus_p99_ms": percentile(waits, 0.99),
        "bus_asker_cpu_ms": cpu / times * 1000,
    }


if __name__ == "__main__":
    import uvloop

    print(json.dumps(uvloop.run(figures(sys.argv[1], int(sys.argv[2]), json.load(sys.stdin)))))
