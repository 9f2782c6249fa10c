"""What grows with the cloud: the same work on a cloud with many servers, on many hosts, and its marks.

Each row is a function of a `Site`; it returns figures by name. Add one by writing it and naming it in `ROWS`.
CPU is that of the `floe up` process. How long the event loop was held is seen from outside: another process asks
`GET /` every two milliseconds, and the longest that it waited is the figure (on a busy machine: an upper bound).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bench_crowds
from bench_client import ROOT, Client, Floe, active, gone, prepare

Figures = dict[str, float]

TOGETHER = 100
"""Servers of one request while the cloud grows."""
CYCLES, PURGES = 20_000, 10
"""Servers that come and go for the row `history`, and how often that is purged."""


@dataclass
class Site:
    """A running cloud with `many` servers of the project `demo`, on `hosts` hosts."""

    floe: Floe
    state: Path
    demo: Client
    admin: Client
    image: str
    flavor: str
    network: str

    def cpu_ms(self) -> float:
        return self.floe.cpu() * 1000

    def stored(self) -> int:
        """Return the bytes of the database; its log is apart."""
        with closing(sqlite3.connect(self.state / "floe.db")) as db:
            return int(
                db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]
            )

    async def costs(self, work: Callable[[], Awaitable[Any]], times: int) -> float:
        """Return the CPU of one turn of some work, in ms, after one to get warm."""
        await work()
        before = self.cpu_ms()
        for _ in range(times):
            await work()
        return (self.cpu_ms() - before) / times

    async def held(self, work: Callable[[], Awaitable[Any]], times: int) -> tuple[float, float]:
        """Return the p99 and the longest wait of somebody else while some work is done, in ms."""
        with prober(self.floe.port) as stop:
            for _ in range(times):
                await work()
            waits = sorted(stop())
        return waits[int(len(waits) * 0.99)], waits[-1]

    async def create_delete(self, name: str, **fields: Any) -> None:
        wanted = {"name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": "none", **fields}
        made = await self.demo.ask("POST", "/compute/v2.1/servers", {"server": wanted}, 202)
        await active(self.demo, made["server"]["id"])
        await self.demo.ask("DELETE", f"/compute/v2.1/servers/{made['server']['id']}", expect=204)
        await gone(self.demo, made["server"]["id"])


PROBE = """
import asyncio, json, sys, time

async def main(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    waits, ended = [], asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    print("ready", flush=True)
    while not ended.done():
        began = time.perf_counter()
        writer.write(b"GET / HTTP/1.1\\r\\nhost: probe\\r\\n\\r\\n")
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
        waits.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)
    print(json.dumps(waits))

asyncio.run(main(int(sys.argv[1])))
"""


@contextmanager
def prober(port: int) -> Any:
    """Ask `GET /` again and again in another process; what is given ends it and returns each wait in ms."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROBE, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()

    def stop() -> list[float]:
        told, _ = process.communicate("", timeout=30)
        return [float(wait) for wait in json.loads(told)]

    try:
        yield stop
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


# -- growing ----------------------------------------------------------------------------------------------


def flags(hosts: int) -> tuple[str, ...]:
    return ("--hypervisor", "fake", "--fake-hosts", str(hosts), "--log-level", "warning")


async def site_of(floe: Floe, state: Path) -> Site:
    demo, admin = Client(floe, state, "demo"), Client(floe, state, "admin")
    await demo.login()
    await admin.login()
    image, flavor = await prepare(demo, admin)
    found = (await demo.ask("GET", "/network/v2.0/networks?name=wide"))["networks"]
    network = found[0]["id"] if found else await wide_network(demo, admin)
    return Site(floe, state, demo, admin, image, flavor, network)


async def wide_network(demo: Client, admin: Client) -> str:
    """Make a network for many servers, and a group whose rules name no other servers."""
    no_end = {"port": -1, "security_group": -1, "security_group_rule": -1}
    await admin.ask("PUT", f"/network/v2.0/quotas/{demo.project}", {"quota": no_end})
    made = await demo.ask("POST", "/network/v2.0/networks", {"network": {"name": "wide"}}, 201)
    network: str = made["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.64.0.0/16"}
    await demo.ask("POST", "/network/v2.0/subnets", {"subnet": subnet}, 201)
    await demo.ask("POST", "/network/v2.0/security-groups", {"security_group": {"name": "plain"}}, 201)
    return network


async def grow(state: Path, many: int, hosts: int) -> None:
    """Make `many` servers with a port each, ACTIVE all."""
    floe = Floe(state, *flags(hosts))
    try:
        site = await site_of(floe, state)
        began = time.perf_counter()
        await more(site, "grown", many, {"networks": [{"uuid": site.network}], "security_groups": [{"name": "plain"}]})
        print(f", {time.perf_counter() - began:.0f} s", file=sys.stderr)
    finally:
        floe.stop()


async def more(site: Site, name: str, many: int, fields: dict[str, Any]) -> None:
    """Make `many` servers, ACTIVE all."""
    for first in range(0, many, TOGETHER):
        body = {
            "name": f"{name}-{first}",
            "imageRef": site.image,
            "flavorRef": site.flavor,
            "min_count": min(TOGETHER, many - first),
            **fields,
        }
        await site.demo.ask("POST", "/compute/v2.1/servers", {"server": body}, 202)
        building = "/compute/v2.1/servers?status=BUILD&limit=1"
        while (await site.demo.ask("GET", building))["servers"]:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)
        print(f"\rgrowing: {first + body['min_count']} of {many} servers", end="", file=sys.stderr, flush=True)
    failed = (await site.demo.ask("GET", "/compute/v2.1/servers?status=ERROR&limit=1"))["servers"]
    if failed:
        raise SystemExit(f"bench: a server is in ERROR while the cloud grows: {failed}")


# -- rows -------------------------------------------------------------------------------------------------


async def pages(site: Site) -> Figures:
    """First page of 100 and pages of 1,000, in detail."""
    first = "/compute/v2.1/servers/detail?limit=100"
    thousand = "/compute/v2.1/servers/detail?limit=1000"
    p99, longest = await site.held(lambda: site.demo.ask("GET", thousand), 5)
    return {
        "detail_100_cpu_ms": await site.costs(lambda: site.demo.ask("GET", first), 10),
        "detail_1000_cpu_ms": await site.costs(lambda: site.demo.ask("GET", thousand), 3),
        "detail_1000_others_p99_ms": p99,
        "detail_1000_others_max_ms": longest,
    }


async def searches(site: Site) -> Figures:
    """A search by a regular expression, and by an address."""
    result: Figures = {}
    for name, query in (("name", "name=grown.*9$"), ("address", "ip=10.64.3")):
        path = f"/compute/v2.1/servers?{query}&limit=10"
        _, result[f"search_{name}_others_max_ms"] = await site.held(lambda: site.demo.ask("GET", path), 3)  # noqa: B023
        result[f"search_{name}_cpu_ms"] = await site.costs(lambda: site.demo.ask("GET", path), 3)  # noqa: B023
    return result


async def hypervisors(site: Site) -> Figures:
    """Hypervisors in detail."""
    path = "/compute/v2.1/os-hypervisors/detail"
    return {"hypervisors_cpu_ms": await site.costs(lambda: site.admin.ask("GET", path), 10)}


async def usage(site: Site) -> Figures:
    """Usage of all projects, in detail."""
    path = "/compute/v2.1/os-simple-tenant-usage?detailed=1"
    _, longest = await site.held(lambda: site.admin.ask("GET", path), 3)
    return {"usage_cpu_ms": await site.costs(lambda: site.admin.ask("GET", path), 3), "usage_others_max_ms": longest}


async def networks(site: Site) -> Figures:
    """Ports, by the page and all."""
    page, every = "/network/v2.0/ports?limit=100", "/network/v2.0/ports"
    _, longest = await site.held(lambda: site.demo.ask("GET", every), 2)
    return {"ports_100_cpu_ms": await site.costs(lambda: site.demo.ask("GET", page), 5), "ports_others_max_ms": longest}


async def audit(site: Site) -> Figures:
    """`floe audit`."""
    before = site.cpu_ms()
    _, longest = await site.held(lambda: site.admin.ask("GET", "/floe/v1/audit"), 1)
    return {"audit_cpu_ms": site.cpu_ms() - before, "audit_others_max_ms": longest}


async def create_delete(site: Site) -> Figures:
    """Create and delete, without a network and on the large one."""
    turns = iter(range(10_000))
    on_network: dict[str, Any] = {"networks": [{"uuid": site.network}], "security_groups": [{"name": "plain"}]}
    cost = await site.costs(lambda: site.create_delete(f"one-{next(turns)}"), 30)
    plugged = await site.costs(lambda: site.create_delete(f"one-{next(turns)}", **on_network), 30)
    return {"create_delete_cpu_ms": cost, "create_delete_on_network_cpu_ms": plugged}


async def idle(site: Site) -> Figures:
    """Doing nothing for a minute: the rounds of agents and conductor come once in it."""
    await asyncio.sleep(3)
    before = site.cpu_ms()
    await asyncio.sleep(60)
    return {"idle_cpu_ms_per_s": (site.cpu_ms() - before) / 60}


async def tokens(site: Site) -> Figures:
    """Validation of a token; memory after two hundred logins."""

    async def validate() -> None:
        await site.demo.ask("GET", "/identity/v3/auth/tokens", x_subject_token=site.demo.token)

    cost = await site.costs(validate, 300)
    before = site.floe.rss_mib()
    for _ in range(25):
        await asyncio.gather(*(site.demo.another().login() for _ in range(8)))
    await asyncio.sleep(2)
    return {"validate_cpu_ms": cost, "rss_mib": before, "rss_after_logins_mib": site.floe.rss_mib()}


async def nowhere(site: Site) -> Figures:
    """A create that fits on no host; how much of it is stored."""
    big = {"name": "huge", "vcpus": 60, "ram": 2**20, "disk": 1}
    found = [f for f in (await site.admin.ask("GET", "/compute/v2.1/flavors"))["flavors"] if f["name"] == "huge"]
    flavor = found[0] if found else (await site.admin.ask("POST", "/compute/v2.1/flavors", {"flavor": big}))["flavor"]
    made: list[str] = []

    async def refused() -> None:
        body = {"name": "nowhere", "imageRef": site.image, "flavorRef": flavor["id"], "networks": "none"}
        reply = await site.demo.ask("POST", "/compute/v2.1/servers", {"server": body}, 202)
        ident = reply["server"]["id"]
        status = "BUILD"
        while status == "BUILD":
            await asyncio.sleep(0.005)
            status = (await site.demo.ask("GET", f"/compute/v2.1/servers/{ident}"))["server"]["status"]
        made.append(ident)

    cost = await site.costs(refused, 10)
    for ident in made:
        await site.demo.ask("DELETE", f"/compute/v2.1/servers/{ident}", expect=204)
        await gone(site.demo, ident)
    return {"nowhere_cpu_ms": cost}


async def history(site: Site) -> Figures:
    """Servers that come and go, purged now and then: what each stores, and whether the file grows with them (long)."""
    users = [replace(site, demo=site.demo.another()) for _ in range(8)]
    await asyncio.gather(*(user.demo.login() for user in users))
    sizes, cpu = [site.stored()], 0.0

    async def live(user: Site) -> None:
        for number in range(CYCLES // PURGES // len(users)):
            await user.create_delete(f"come-and-gone-{number}")

    for _ in range(PURGES):
        await asyncio.gather(*(live(user) for user in users))
        sizes.append(site.stored())
        operator = site.admin.another()  # the connection of the one before was idle, and closed
        before, finished = site.cpu_ms(), False
        while not finished:
            asked = {"purge": {"before": datetime.now(UTC).isoformat()}}
            finished = (await operator.ask("POST", "/floe/v1/purge", asked))["purge"]["finished"]
        cpu += site.cpu_ms() - before
    return {
        "history_bytes_per_cycle": (sizes[1] - sizes[0]) / (CYCLES / PURGES),
        "history_mib_after_first_purge": sizes[1] / 2**20,
        "history_mib_at_the_end": site.stored() / 2**20,
        "history_log_mib": (site.state / "floe.db-wal").stat().st_size / 2**20,
        "history_purge_cpu_ms_per_server": cpu / CYCLES,
    }


async def table(_site: Site) -> Figures:
    """Decisions over 100,000 hosts, by the scheduler alone: in this process, apart from the cloud."""
    alone = [ROOT / ".venv" / "bin" / "python", ROOT / "scripts" / "lib" / "bench_table.py", "100000"]
    done = await asyncio.to_thread(subprocess.run, alone, check=True, capture_output=True)
    return {f"table_{name}": value for name, value in json.loads(done.stdout).items()}


async def groups(site: Site) -> Figures:
    """Create and delete of a server whose group has no rule about members; has one, and 10, 100, 500 members."""
    result: Figures = {}
    there = 0
    for members in (0, 10, 100, 500):
        group = "default" if members else "plain"
        fields = {"networks": [{"uuid": site.network}], "security_groups": [{"name": group}]}
        await more(site, f"member-{members}", members - there, fields)
        there = members
        await asyncio.sleep(3)  # what is told later of all this is not of what is measured
        turns = 40
        before = site.cpu_ms()
        for turn in range(turns):
            await site.create_delete(f"of-{members}-{turn}", **fields)
        await asyncio.sleep(2)  # and what is told later of this is
        result[f"group_of_{members}_cpu_ms"] = (site.cpu_ms() - before) / turns
    return result


async def crowds(site: Site) -> Figures:
    """A login among wrong ones, and an upload beside another project's new keys; on the clock."""
    return await bench_crowds.wrong_logins(site.demo) | await bench_crowds.new_keys(site.demo, site.admin)


def restart(site: Site) -> Figures:
    """The start on this state, which has been there already."""
    return {"start_cpu_s": site.floe.ready_cpu, "start_wall_s": site.floe.ready_wall, "rss_mib": site.floe.rss_mib()}


Row = Callable[[Site], Awaitable[Figures]]

ROWS: dict[str, Row] = {
    "idle": idle,
    "pages": pages,
    "searches": searches,
    "hypervisors": hypervisors,
    "usage": usage,
    "networks": networks,
    "audit": audit,
    "create_delete": create_delete,
    "tokens": tokens,
    "history": history,
}
"""On the cloud with many servers, in this order."""
LONG = {"history"}
"""Only done when they are named."""

WIDE: dict[str, Row] = {
    "idle": idle,
    "hypervisors": hypervisors,
    "create_delete": create_delete,
    "nowhere": nowhere,
    "table": table,
}
"""On the cloud with many hosts and no servers."""

FEW: dict[str, Row] = {"groups": groups, "crowds": crowds}
"""On a cloud of a few hosts, whose servers are all in one group."""


# -- all of it --------------------------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--many", type=int, default=10_000, help="with --scale: servers of the grown cloud")
    parser.add_argument("--grown-hosts", type=int, default=45, help="with --scale: its hosts, of 256 vCPUs each")
    parser.add_argument("--wide-hosts", type=int, default=1000, help="with --scale: hosts of the wide cloud")
    parser.add_argument("--few-hosts", type=int, default=40, help="with --scale: hosts of the cloud of one group")
    parser.add_argument("--grown", type=Path, metavar="DIR", help="with --scale: where the grown cloud is kept")
    parser.add_argument("--rows", default="", help="with --scale: only these, by name; `help` lists them")


def run(args: argparse.Namespace) -> int:
    wanted = [name for name in args.rows.split(",") if name]
    if unknown := set(wanted) - ROWS.keys() - WIDE.keys() - FEW.keys():
        for name, row in {**ROWS, **WIDE, **FEW}.items():
            print(f"{name:16} {row.__doc__}")
        return 0 if unknown == {"help"} else 2
    result: Figures = {}
    with tempfile.TemporaryDirectory(prefix="floe-bench-") as folder:
        if args.many:
            state = Path(folder) / "grown"
            grown = args.grown or Path(folder) / "kept"
            if not (grown / "state").exists():
                grown.mkdir(parents=True, exist_ok=True)
                asyncio.run(grow(grown / "state", args.many, args.grown_hosts))
            shutil.copytree(grown / "state", state)
            result |= named("grown", measure(state, args.grown_hosts, ROWS, wanted))
        if args.wide_hosts:
            state = Path(folder) / "wide"
            Floe(state, *flags(args.wide_hosts)).stop()
            result |= named("wide", measure(state, args.wide_hosts, WIDE, wanted))
        if args.few_hosts:
            state = Path(folder) / "few"
            Floe(state, *flags(args.few_hosts)).stop()
            result |= named("few", measure(state, args.few_hosts, FEW, wanted))
    result = {key: round(value, 2) for key, value in result.items()}
    for key, value in result.items():
        print(f"{key:36} {value:>10}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


def named(prefix: str, figures: Figures) -> Figures:
    return {f"{prefix}_{key}": value for key, value in figures.items()}


def measure(state: Path, hosts: int, rows: dict[str, Row], wanted: list[str]) -> Figures:
    floe = Floe(state, *flags(hosts))
    try:
        return asyncio.run(measure_rows(floe, state, rows, wanted))
    finally:
        floe.stop()


async def measure_rows(floe: Floe, state: Path, rows: dict[str, Row], wanted: list[str]) -> Figures:
    site = await site_of(floe, state)
    result = restart(site)
    for name, row in rows.items():
        if name in wanted or (not wanted and name not in LONG):
            result |= await row(site)
    return result
