"""The roles as processes of their own over PostgreSQL and NATS: what the flow costs there, and how long deaths last.

Two APIs, two conductors, and one process with the agents of all hosts, which are fake ones: each agent is the real
one, under subjects of its own; they share that process's connection to the bus.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, perf_counter
from typing import Any

from bench_client import ROOT, Client, active, create, gone, prepare
from bench_marks import Mark, judged, lines
from bench_processes import Processes, RoleProcess, processes

Figures = dict[str, float]

HOSTS, BUS_HOSTS, BUS_TIMES, TABLE = 100, 1000, 5000, 10_000
BUILDS, DELAY = 100, 1.0
"""Builds in flight when a process dies, and the seconds that each guest takes to start."""
_SETTLED_SECONDS = 120.0

MARKS = {
    "create_delete_cpu_ms": Mark("create + delete, CPU of all Floe processes, ms", 9),
    "active_per_second": Mark("servers ACTIVE per second, two conductors", 120, at_most=False),
    "post_to_active_p50_ms": Mark("POST to ACTIVE, p50, ms", 40),
    "bus_p50_ms": Mark(f"bus round trip, {BUS_HOSTS} hosts, p50, ms", 0.5),
    "bus_p99_ms": Mark(f"bus round trip, {BUS_HOSTS} hosts, p99, ms", 2),
    "placement_p99_ms": Mark(f"placement with {TABLE} hosts, p99, ms", 2),
    "conductor_death_settled_s": Mark(f"a conductor dies with {BUILDS} builds in flight, to all settled, s", 5),
    "api_death_settled_s": Mark(f"an API dies with {BUILDS} builds in flight, to all settled, s", 5),
    "get_cpu_ms": Mark("GET server through one API on PostgreSQL, CPU, ms", 0.4),
}


class Cluster:
    """Processes with two APIs and two conductors, and a user at each API."""

    def __init__(self, floe: Processes, hosts: int) -> None:
        self.floe, self.hosts = floe, hosts
        self.apis = [floe.start("api", name) for name in ("1", "2")]
        self.conductors = [floe.start("conductor", name) for name in ("1", "2")]
        self.agents = self._agents("0")
        for process in floe.all:
            process.ready()
        self.users: list[Client] = []
        self.image = self.flavor = ""

    async def open(self) -> None:
        """Log in, and wait until hosts are there."""
        admin = Client(self.apis[0], self.floe.state, "admin")
        await admin.login()
        self.users = [Client(api, self.floe.state, "demo") for api in self.apis]
        for user in self.users:
            await user.login()
        self.image, self.flavor = await prepare(self.users[0], admin)
        await hosts_up(admin, self.hosts)

    def _agents(self, delay: str) -> RoleProcess:
        return self.floe.start("agent", "bench", "--fake-hosts", str(self.hosts), "--fake-delay", delay)

    async def restart_agents(self, delay: float) -> None:
        """Have guests take so long to start from now on."""
        self.floe.end(self.agents)
        self.agents = self._agents(f"{delay:g}")
        self.agents.ready()
        admin = Client(self.apis[1], self.floe.state, "admin")
        await admin.login()
        await hosts_up(admin, self.hosts)

    def connect_anew(self) -> None:
        """Have users use new connections: an API ends those that were idle for a while."""
        self.users = [user.another() for user in self.users]

    async def remove(self, made: list[str], user: Client) -> None:
        """Delete servers, and wait until they are gone."""
        for ident in made:
            await user.ask("DELETE", f"/compute/v2.1/servers/{ident}", expect=204)
        for ident in made:
            await gone(user, ident, pause=0.05)


async def hosts_up(admin: Client, many: int, seconds: float = 300.0) -> None:
    """Wait until so many hosts are up."""
    end = monotonic() + seconds
    while monotonic() < end:
        found = (await admin.ask("GET", "/compute/v2.1/os-services?binary=nova-compute"))["services"]
        up = sum(service["state"] == "up" for service in found)
        if up >= many:
            return
        await asyncio.sleep(0.2 + many / 5000)  # to ask costs what is waited for
    raise SystemExit(f"bench: only {up} of {many} hosts are up after {seconds:g} s")


# -- rows -------------------------------------------------------------------------------------------------


async def one_by_one(cluster: Cluster, servers: int = 60) -> Figures:
    """POST to ACTIVE, one after the other, asked for every 5 ms."""
    user, took = cluster.users[0], []
    for index in range(servers + 5):  # the first ones are to get warm
        began = perf_counter()
        ident, _ = await create(user, cluster.image, cluster.flavor, f"one-{index}")
        await active(user, ident)
        took.append((perf_counter() - began) * 1000)
        await cluster.remove([ident], user)
    return {"post_to_active_p50_ms": statistics.median(took[5:])}


async def cycles(cluster: Cluster, servers: int = 160, at_once: int = 4) -> Figures:
    """Create and delete, four at a time, with what it costs to ask every 50 ms how far it is: so often as is told."""
    numbers, turns, calls = iter(range(servers)), itertools.cycle(cluster.users), list[int]()

    async def worker() -> None:
        mine = next(turns).another()
        for index in numbers:
            ident, _ = await create(mine, cluster.image, cluster.flavor, f"cycle-{index}")
            await active(mine, ident, pause=0.05)
            await cluster.remove([ident], mine)
        calls.append(mine.http.calls)

    parts = {process.name: process.cpu() for process in cluster.floe.all}
    engines = cluster.floe.engines_cpu()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    told = {f"create_delete_{p.name.replace('-', '_')}_cpu_ms": p.cpu() - parts[p.name] for p in cluster.floe.all}
    total = sum(told.values())
    told |= {f"create_delete_{k}_cpu_ms": v - engines[k] for k, v in cluster.floe.engines_cpu().items()}
    told["create_delete_cpu_ms"] = total
    figures = {name: seconds / servers * 1000 for name, seconds in told.items()}
    return figures | {"create_delete_requests": sum(calls) / servers}


async def burst(cluster: Cluster, servers: int = 240, at_once: int = 32) -> Figures:
    """Creates at once, each worker waiting for its server before the next; then on one core alone."""
    cores = os.sched_getaffinity(0)
    figures = {"active_per_second": await _burst(cluster, servers, at_once), "cores": float(len(cores))}
    cluster.floe.pin([min(cores)])
    try:
        figures["active_per_second_on_one_core"] = await _burst(cluster, servers // 2, at_once)
    finally:
        cluster.floe.pin(cores)
    figures["active_per_second_growth"] = figures["active_per_second"] / figures["active_per_second_on_one_core"]
    return figures


async def _burst(cluster: Cluster, servers: int, at_once: int) -> float:
    numbers, turns, made = iter(range(servers)), itertools.cycle(cluster.users), list[str]()

    async def worker() -> None:
        mine = next(turns).another()
        for index in numbers:
            ident, _ = await create(mine, cluster.image, cluster.flavor, f"burst-{index}")
            made.append(ident)
            await active(mine, ident, pause=0.05)

    began = perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    seconds = perf_counter() - began
    await cluster.remove(made, cluster.users[0])
    return servers / seconds


async def reads(cluster: Cluster, times: int = 1000) -> Figures:
    """GET a server through one API."""
    user = cluster.users[0]
    made = [(await create(user, cluster.image, cluster.flavor, f"read-{index}"))[0] for index in range(20)]
    for ident in made:
        await active(user, ident, pause=0.05)
    before = user.floe.cpu()
    for index in range(times):
        await user.ask("GET", f"/compute/v2.1/servers/{made[index % len(made)]}")
    cost = (user.floe.cpu() - before) / times * 1000
    await cluster.remove(made, user)
    return {"get_cpu_ms": cost}


async def bus(cluster: Cluster) -> Figures:
    """Round trips to 1,000 hosts, which are another process's beside what there is."""
    agents = cluster.floe.start("agent", "far", "--fake-hosts", str(BUS_HOSTS))
    try:
        agents.ready()
        await asyncio.sleep(3)  # what they say as they start is taken in
        names = [f"far-{number}" for number in range(1, BUS_HOSTS + 1)]
        return await asyncio.to_thread(_program, "bench_bus.py", cluster.floe.nats.url, str(BUS_TIMES), given=names)
    finally:
        cluster.floe.end(agents)


async def placement(_cluster: Cluster) -> Figures:
    """Decisions over 10,000 hosts, by the scheduler alone: in a process apart from the cloud."""
    told = await asyncio.to_thread(_program, "bench_table.py", str(TABLE))
    return {"placement_p99_ms": told["fits_p99_ms"], "placement_p50_ms": told["fits_p50_ms"]}


async def deaths(cluster: Cluster) -> Figures:
    """A conductor, then an API, is killed with 100 builds in flight; from then until none is BUILD."""
    await cluster.restart_agents(DELAY)
    figures: Figures = {}
    for role, victims in (("conductor", cluster.conductors), ("api", cluster.apis)):  # an API last: users are at both
        cluster.connect_anew()
        user = cluster.users[1]
        body = {"server": {"name": f"cut-{role}", "imageRef": cluster.image, "flavorRef": cluster.flavor,
                           "networks": "auto", "min_count": BUILDS}}  # fmt: skip
        await cluster.users[0].ask("POST", "/compute/v2.1/servers", body, 202)
        while not await _found(user, "BUILD", task="spawning"):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.02)
        flying = await _found(user, "BUILD")
        began = perf_counter()
        cluster.floe.end(victims[0], signal.SIGKILL)
        while await _found(user, "BUILD"):
            if perf_counter() - began > _SETTLED_SECONDS:
                raise SystemExit(f"bench: builds are not settled {_SETTLED_SECONDS:g} s after the {role} died")
            await asyncio.sleep(0.1)
        figures[f"{role}_death_settled_s"] = perf_counter() - began
        figures[f"{role}_death_in_flight"] = flying
        listed = (await user.ask("GET", "/compute/v2.1/servers/detail?limit=1000"))["servers"]
        if wrong := [server.get("fault") or server["status"] for server in listed if server["status"] != "ACTIVE"]:
            raise SystemExit(f"bench: {len(wrong)} servers are not ACTIVE after the {role} died: {wrong[0]}")
        assert len(listed) == BUILDS, len(listed)
        await cluster.remove([server["id"] for server in listed], user)
        victims[0] = cluster.floe.start(role, "1")
        victims[0].ready()
    return figures


async def _found(user: Client, status: str, task: str | None = None) -> int:
    listed = (await user.ask("GET", f"/compute/v2.1/servers/detail?limit=1000&status={status}"))["servers"]
    return sum(task in (None, server["OS-EXT-STS:task_state"]) for server in listed)


def _program(name: str, *words: str, given: Any = None) -> Figures:
    """Run a program of this folder that prints figures; Python of the cloud's own environment."""
    command = [ROOT / ".venv/bin/python", ROOT / "scripts/lib" / name, *words]
    done = subprocess.run(command, input=json.dumps(given), check=True, capture_output=True, text=True, timeout=300)
    found: Figures = json.loads(done.stdout)
    return found


ROWS = (one_by_one, cycles, burst, reads, placement, deaths, bus)
"""In this order: the bus comes last, whose many hosts count as up for a while after they ended."""


# -- all of it --------------------------------------------------------------------------------------------


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """End with what was begun when told to, or when it takes too long: as at Ctrl-C."""

    def end(number: int, _frame: object) -> None:
        why = f"it took longer than {seconds:g} s" if number == signal.SIGALRM else "it was told to end"
        raise SystemExit(f"bench: {why}")

    before = {number: signal.signal(number, end) for number in (signal.SIGALRM, signal.SIGTERM)}
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster", action="store_true", help="roles in processes of their own, and nothing else")


def run(args: argparse.Namespace) -> int:
    wanted = [name for name in args.rows.split(",") if name]
    if unknown := set(wanted) - {row.__name__ for row in ROWS}:
        for row in ROWS:
            print(f"{row.__name__:16} {row.__doc__}")
        return 0 if unknown == {"help"} else 2
    figures: Figures = {}
    with bounded(1800), processes() as floe:
        try:
            asyncio.run(_measure(floe, args.hosts if args.hosts > 1 else HOSTS, wanted, figures.update))
        finally:  # what was measured before something went wrong is told too
            told(args, figures, MARKS)
    return 0


async def _measure(floe: Processes, hosts: int, wanted: list[str], keep: Callable[[Figures], None]) -> None:
    cluster = Cluster(floe, hosts)
    await cluster.open()
    for row in ROWS:
        if row.__name__ in wanted or not wanted:
            cluster.connect_anew()
            keep(await row(cluster))


def told(args: argparse.Namespace, figures: Figures, marks: dict[str, Mark]) -> None:
    """Print figures with their marks, and write them where that is wanted."""
    found = judged(figures, marks)
    print("\n".join(lines(found)), flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
