"""No request holds the event loop long: counted, in calls of functions between two rounds of it, not in seconds.

Every GET of every surface is asked of a cloud with thousands of everything, as an administrator and as a user, at the
highest and the lowest version. A route that is new is asked too; nobody has to name it here.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.events import Handle
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import httpx
import msgspec
import pytest

from floe.api.app import SURFACES
from floe.api.kit.encoding import MOST_BYTES
from floe.core.callers import CALLER, is_of_the_cloud
from floe.core.versions import version_text
from floe.store.engine import Connection

from .conftest import Grown

MOST_CALLS = 35_000
"""Between two rounds of the event loop, for one request: some 10 ms. A read within its budget takes most of it."""
ODD = (
    "/compute/v2.1/servers/detail?limit=1000&sort_key=display_name&sort_dir=asc",
    "/compute/v2.1/servers/detail?all_tenants=1&host=fake-1",
    "/compute/v2.1/servers?name=.*s$&limit=1000",
    "/compute/v2.1/servers?name=nothing.*s$",
    "/compute/v2.1/servers?ip=10..*7&limit=1000",
    "/compute/v2.1/servers?status=ERROR",
    "/compute/v2.1/servers?changes-since=2001-01-01T00:00:00Z",
    "/compute/v2.1/servers?tags=t&not-tags=u",
    "/compute/v2.1/os-hypervisors/detail?with_servers=true",
    "/compute/v2.1/os-simple-tenant-usage?detailed=1",
    "/compute/v2.1/flavors/detail?is_public=none",
    "/placement/allocation_candidates?resources=VCPU:1",
    "/placement/resource_providers?resources=VCPU:1&required=!CUSTOM_NONE",
    "/network/v2.0/ports?sort_key=mac_address&fields=id",
    "/network/v2.0/ports?fixed_ips=ip_address%3D10.233.0.9",
    "/identity/v3/users?name__contains=1&sort_key=name",
    "/identity/v3/role_assignments?effective&include_names",
    "/image/v2/images?sort=name:asc&limit=1000",
)
"""Long ones that a path alone does not ask for."""


class Holds:
    """Counts the calls that each callback of the event loop makes for a request, Python's and C's alike."""

    def __init__(self) -> None:
        self.most = 0
        self._calls = 0
        self._counting = False

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if frame.f_code is Handle._run.__code__ and event in {"call", "return"}:
            if self._counting:
                self.most = max(self.most, self._calls)
            self._calls = 0
            context = getattr(frame.f_locals["self"], "_context", {})
            caller = context.get(CALLER, ("", ""))
            self._counting = event == "call" and caller != ("", "") and not is_of_the_cloud(caller)
        elif event in {"call", "c_call"}:
            self._calls += 1


@contextmanager
def counted() -> Iterator[Holds]:
    """Count within the block, in this thread alone."""
    holds = Holds()
    sys.setprofile(holds)
    try:
        yield holds
    finally:
        sys.setprofile(None)


class _Params(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "nothing"


def _asked(grown: Grown) -> Iterator[tuple[str, str]]:
    """Yield every path, with each version that it is asked at."""
    versions = {
        surface.name: {f"{surface.name} latest", f"{surface.name} {version_text(surface.microversions.lowest)}"}
        if surface.microversions
        else {""}
        for surface in SURFACES
    }
    for surface in SURFACES:
        for route in surface.routes:
            if route.method == "GET":
                for version in sorted(versions[surface.name]):
                    yield f"/{surface.name}" + route.path.format_map(_Params(grown.params)), version
    for path in ODD:
        name = path.split("/")[1]
        yield path, f"{name} latest" if "" not in versions[name] else ""


async def _ask(grown: Grown, who: str, path: str, version: str) -> tuple[httpx.Response, int]:
    headers = {"OpenStack-API-Version": version}
    with counted() as holds:
        reply = await asyncio.create_task(grown.ask(who, "GET", path, **headers))
    return reply, holds.most


async def test_no_request_holds_the_event_loop_and_no_reply_is_too_large(grown: Grown) -> None:
    long, failed, large = list[str](), list[str](), 0
    for path, version in _asked(grown):
        for who in ("admin", "demo"):
            reply, calls = await _ask(grown, who, path, version)
            if calls > MOST_CALLS:
                long.append(f"{calls} calls: {who} {path} {version}")
            if reply.status_code >= 500 or len(reply.content) > MOST_BYTES:
                failed.append(f"{who} {path} {version}: {reply.status_code}, {len(reply.content)} bytes")
            large += len(reply.content) > 10_000
    assert not long, "\n".join(long)
    assert not failed, "\n".join(failed)
    assert large > 40, "the cloud is not as full as it was meant to be"


@pytest.mark.parametrize(("many", "long"), [(MOST_CALLS + 1, True), (MOST_CALLS // 2, False)])
async def test_what_holds_the_event_loop_is_counted(many: int, long: bool) -> None:
    async def request() -> None:
        CALLER.set(("project", "user"))
        await asyncio.sleep(0)
        for number in range(many):
            abs(number)
        await asyncio.sleep(0)

    with counted() as holds:
        await asyncio.create_task(request())
    assert (holds.most > MOST_CALLS) == long


async def test_pages_of_large_servers_end_early_and_lose_none(grown: Grown) -> None:
    large = msgspec.json.encode({f"key-{number}": "x" * 255 for number in range(128)}).decode()

    def enlarge(conn: Connection) -> int:
        project = grown.params["project_id"]
        conn.exec_driver_sql(
            "UPDATE servers SET metadata = ? WHERE number <= 1500 AND project_id = ?", (large, project)
        )
        return int(conn.exec_driver_sql("SELECT count(*) FROM servers").scalar_one())

    there = await grown.cloud.node.cloud.db.write(enlarge)
    seen, pages, path = list[str](), 0, "/compute/v2.1/servers/detail"
    while path:
        reply = await grown.ask("demo", "GET", path)
        assert reply.status_code == 200, reply.text
        assert len(reply.content) <= MOST_BYTES + 1000
        found = reply.json()
        seen += [server["id"] for server in found["servers"]]
        pages += 1
        path = found["servers_links"][0]["href"] if "servers_links" in found else ""
    assert len(seen) == len(set(seen)) == there
    assert pages > 1 + there // 1000, "no page was cut short"
