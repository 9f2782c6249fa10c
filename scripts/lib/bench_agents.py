"""Many agents that have nothing to do: what API and conductors spend on them, and what they keep of each.

The agents are the real ones on fake hypervisors, each under its own subjects, with its heartbeat and its reports; some
thousands share a process and its connection to the bus, where each would have its own.
"""

from __future__ import annotations

import argparse
import asyncio

from bench_client import Client
from bench_cluster import Figures, bounded, hosts_up, told
from bench_marks import Mark
from bench_processes import Processes, RoleProcess, processes

PER_PROCESS = 2500
"""Agents of a process: each keeps two files open."""
MOST = 10_000
SETTLE, WINDOW = 75, 120
"""Seconds after the last host is up until all have reported again; and for which it is measured: two rounds of that."""
_KB = 17.0
_CPU = {1000: 2.0, 10_000: 10.0}


def marks(agents: int) -> dict[str, Mark]:
    """Return what is allowed for so many agents; CPU as for the next size that has a mark."""
    bound = next((_CPU[size] for size in sorted(_CPU) if agents <= size), _CPU[MOST])
    return {
        "idle_cpu_percent": Mark(f"API and conductors together, idle with {agents} agents, % of one core", bound),
        "host_kb": Mark("memory of API and conductors together per host beyond the base, KB", _KB),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--agents", type=int, metavar="N", help="so many idle agents over a bus, and nothing else")


def run(args: argparse.Namespace) -> int:
    if not 1 <= args.agents <= MOST:
        raise SystemExit(f"bench: --agents is {args.agents}; 1 to {MOST} are wanted.")
    figures: Figures = {}
    with bounded(1800), processes() as floe:
        try:
            asyncio.run(_measure(floe, args.agents, figures))
        finally:
            told(args, figures, marks(args.agents))
    return 0


async def _measure(floe: Processes, agents: int, figures: Figures) -> None:
    control = [floe.start("api", "1"), floe.start("conductor", "1"), floe.start("conductor", "2")]
    for process in control:
        process.ready()
    alone = floe.start("agent", "base", "--fake-hosts", "1")
    alone.ready()
    admin = Client(control[0], floe.state, "admin")
    await admin.login()
    await hosts_up(admin, 1)
    await admin.ask("GET", "/compute/v2.1/os-hypervisors/detail?limit=1000")
    await asyncio.sleep(20)
    base, before = {each.name: each.kib() for each in control}, sum(each.cpu() for each in control)
    crowd = [
        floe.start("agent", f"crowd{first}", "--fake-hosts", str(min(PER_PROCESS, agents - first)))
        for first in range(0, agents, PER_PROCESS)
    ]
    for process in crowd:
        process.ready()
    await hosts_up(admin, agents + 1)
    figures["start_cpu_s"] = sum(each.cpu() for each in control) - before
    await admin.ask("GET", "/compute/v2.1/os-hypervisors/detail?limit=1000")
    await asyncio.sleep(SETTLE)
    figures |= await _idle(floe, control, [alone, *crowd])
    figures |= {
        f"host_kb_{each.name.replace('-', '_')}": (each.kib() - base[each.name]) * 1.024 / agents for each in control
    }
    figures["host_kb"] = sum(value for name, value in figures.items() if name.startswith("host_kb_"))
    figures |= {f"base_mib_{each.name.replace('-', '_')}": base[each.name] / 1024 for each in control}


async def _idle(floe: Processes, control: list[RoleProcess], crowd: list[RoleProcess]) -> Figures:
    """Return what each spends while nothing is asked, in % of one core."""

    def spent() -> Figures:
        named = {each.name.replace("-", "_"): each.cpu() for each in control}
        agents = sum(each.cpu() for each in crowd)
        return {**named, **floe.engines_cpu(), "agents": agents}

    before = spent()
    await asyncio.sleep(WINDOW)
    used = {name: (value - before[name]) / WINDOW * 100 for name, value in spent().items()}
    together = sum(used[each.name.replace("-", "_")] for each in control)
    return {"idle_cpu_percent": together} | {f"idle_{name}_cpu_percent": value for name, value in used.items()}
