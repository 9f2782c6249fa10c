"""Aggregates changed in any order: a host is in one zone, a server stays in the zone it came into, and rows agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from databases import LentDatabases, NewDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import aggregates
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.hosts import Allocation, Host, HostSeen
from floe.core.ids import random_id
from floe.core.listing import Listing
from floe.core.resources import Inventory, Resources
from floe.core.servers import ACTIVE, Server, ServerFlavor
from floe.store import aggregates as rows
from floe.store import allocations, hosts, servers
from floe.store.engine import Connection
from floe.store.schema import create_all

ROOT = Context(request_id="")
OWN = {"h1": "nova", "h2": "nova", "h3": "west"}
BEGUN = (None, "west", "east", None)
_HOST, _ZONE, _ID = st.sampled_from([*OWN]), st.sampled_from(["nova", "west", "east"]), st.integers(1, len(BEGUN))
_STEP = st.one_of(
    st.tuples(st.just("add_host"), _ID, _HOST),
    st.tuples(st.just("add_host"), _ID, _HOST),
    st.tuples(st.just("remove_host"), _ID, _HOST),
    st.tuples(st.just("update"), _ID, _ZONE),
    st.tuples(st.just("set_metadata"), _ID, _ZONE | st.none()),
    st.tuples(st.sampled_from(["claim", "claim by old knowledge"]), _HOST),
    st.tuples(st.sampled_from(["host says who it is", "host is removed"]), _HOST),
    st.tuples(st.just("delete"), _ID) | st.tuples(st.just("create"), st.none() | _ZONE),
)


def a_host(name: str, cloud: Cloud) -> Host:
    now, classes = cloud.clock.now(), ("VCPU", "MEMORY_MB", "DISK_GB")
    offered = tuple(Inventory(resource_class=name, total=1000) for name in classes)
    return Host(
        name=name, availability_zone=OWN[name], inventories=offered,
        created_at=now, updated_at=now, started_at=now, last_seen=now,
    )  # fmt: skip


class World:
    """A cloud, what is done with it, and what has to hold."""

    def __init__(self, folder: Path, new_database: NewDatabase) -> None:
        self.db = new_database(folder / "floe.db")
        self.db.open()
        self.cloud = Cloud(
            db=self.db, bus=LocalBus(), blobs=FileBlobs(folder / "blobs"), clock=FixedClock(), new_id=random_id,
            settings=CloudSettings(),
            token_keys=[Fernet.generate_key()].copy,
        )  # fmt: skip
        self.zones: dict[str, str] = {}
        """Of servers, as they came into them."""
        self.known: dict[str, Host] = {}
        """Hosts, as somebody read them at first."""

    async def do(self, kind: str, *given: Any) -> None:
        """Do one thing, if it may be done."""
        try:
            if kind == "create":
                name = f"a{len(await aggregates.find(self.cloud, ROOT, Listing()))}"
                await aggregates.create(self.cloud, ROOT, [{"name": name, "zone": given[0]}])
            elif kind == "update":
                await aggregates.update(self.cloud, ROOT, str(given[0]), {"zone": given[1]})
            elif kind == "set_metadata":
                items = {"metadata": {"availability_zone": given[1]}}
                await aggregates.set_metadata(self.cloud, ROOT, str(given[0]), items)
            elif kind == "delete":
                await aggregates.delete(self.cloud, ROOT, str(given[0]))
            elif kind == "add_host":
                await aggregates.add_host(self.cloud, ROOT, str(given[0]), {"host": given[1]})
            elif kind == "remove_host":
                await aggregates.remove_host(self.cloud, ROOT, str(given[0]), {"host": given[1]})
            else:
                await self.db.write(lambda conn: self._with_host(conn, kind, given[0]))
        except (Conflict, Invalid, NotFound, allocations.NotClaimed):
            pass

    def _with_host(self, conn: Connection, kind: str, name: str) -> None:
        host = hosts.get(conn, name)
        if kind == "host says who it is" and name in OWN:
            hosts.put(conn, a_host(name, self.cloud))
        elif kind == "host is removed" and name not in {self.server_host(conn, each) for each in self.zones}:
            hosts.remove(conn, name)
        elif kind.startswith("claim") and host is not None:
            known = self.known[name] if kind == "claim by old knowledge" else host
            self._claim(conn, name, known)

    def _claim(self, conn: Connection, name: str, known: Host) -> None:
        ident, now = f"s{len(self.zones)}", self.cloud.clock.now()
        wanted = Allocation(
            server_id=ident, host=name, project_id="p", user_id="u", resources=Resources(1, 1, 1), created_at=now
        )  # fmt: skip
        allocations.claim(conn, wanted, seen=HostSeen(name, known.zone, known.aggregates, known.started_at))
        flavor = ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=1, root_gib=1)
        servers.add(conn, Server(
            id=ident, number=0, project_id="p", user_id="u", name=ident, hostname=ident, vm_state=ACTIVE, host=name,
            reservation_id="r", flavor=flavor, created_at=now,
        ))  # fmt: skip
        self.zones[ident] = known.zone

    @staticmethod
    def server_host(conn: Connection, ident: str) -> str | None:
        """Return the host of a server."""
        found = servers.get(conn, ident)
        return found.host if found else None

    def check(self, conn: Connection) -> None:
        """Raise unless all that has to hold does."""
        assert rows.untold(conn) == []
        there = rows.ROWS.find(conn, None, Listing())
        for host in hosts.every(conn):
            mine = [each for each in there if host.name in each.hosts]
            zones = {each.zone for each in mine if each.zone}
            assert len(zones) <= 1
            assert host.zone == next(iter(zones), OWN[host.name])
            assert list(host.aggregates) == [each.id for each in mine]
        for ident, zone in self.zones.items():
            place = hosts.get(conn, self.server_host(conn, ident) or "")
            assert place is not None and place.zone == zone


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_STEP, min_size=12, max_size=50))
async def test_no_server_changes_its_zone_and_no_host_is_in_two(
    tmp_path_factory: pytest.TempPathFactory, lent_databases: LentDatabases, steps: list[tuple[Any, ...]]
) -> None:
    with lent_databases() as new_database:
        world = World(tmp_path_factory.mktemp("aggregates"), new_database)
        try:
            await world.db.write(create_all)
            await world.db.write(lambda conn: [hosts.put(conn, a_host(name, world.cloud)) for name in OWN])
            world.known = {host.name: host for host in world.db.read_now(hosts.every)}
            for zone in BEGUN:
                await world.do("create", zone)
            for step in steps:
                await world.do(*step)
                world.db.read_now(world.check)
        finally:
            await world.cloud.bus.close()
            world.db.close()
