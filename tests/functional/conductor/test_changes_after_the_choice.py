"""What a host was chosen by may change before it is claimed, and the conductor may read of that meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from msgspec.structs import replace as changed

from floe.cloud import aggregates, hosts
from floe.conductor.flow import Flow
from floe.core.context import Context
from floe.core.hosts import Allocation
from floe.core.resources import Resources
from floe.core.servers import Server, ServerFlavor
from floe.store import allocations
from floe.store import hosts as rows
from floe.store.engine import Connection

ROOT = Context(request_id="", roles=frozenset({"admin"}))
SMALL = ServerFlavor(flavor_id="1", name="m1", vcpus=1, memory_mib=64, root_gib=1)
BIG = ServerFlavor(flavor_id="2", name="m2", vcpus=2, memory_mib=64, root_gib=1)
Change = Callable[[], Awaitable[None]]


def between(site: Any, monkeypatch: pytest.MonkeyPatch, change: Change) -> list[str]:
    """Do something, once, when hosts are chosen and not claimed yet, and have the conductor read of it."""
    transaction, done = Flow.transaction, list[str]()

    async def later(self: Flow, name: str, *args: Any, **values: Any) -> Any:
        if name == "schedule" and not done:
            done.append(name)
            await change()
            await site.conductor.fleet.refresh()
        return await transaction(self, name, *args, **values)

    monkeypatch.setattr(Flow, "transaction", later)
    return done


async def post(site: Any, together: int, **values: Any) -> list[Server]:
    """Ask for one server, or for several with one request."""
    if together == 1:
        return [await site.post(**values)]
    made: list[Server] = await site.post_together(together, together, **values)
    return made


def asking(**specs: str) -> ServerFlavor:
    return changed(SMALL, extra_specs={key.replace("__", ":"): value for key, value in specs.items()})


async def announce(site: Any, name: str, **values: Any) -> None:
    """Have a host start anew as another one than it was, and say so to another conductor."""

    def write(conn: Connection) -> None:
        row = rows.get(conn, name)
        assert row is not None
        rows.put(conn, replace(row, started_at=site.cloud.clock.now(), **values))

    await site.cloud.db.write(write)
    await site.conductor.fleet.refresh()


async def aggregate(site: Any, *there: str, zone: str | None = None, **items: str) -> str:
    (made,) = await aggregates.create(site.cloud, ROOT, [{"name": "".join(there) + "-", "zone": zone}])
    ident = str(made.id)
    await aggregates.set_metadata(site.cloud, ROOT, ident, {"metadata": items})
    for host in there:
        await aggregates.add_host(site.cloud, ROOT, ident, {"host": host})
    await site.conductor.fleet.refresh()
    return ident


async def swap(site: Any, ident: str) -> None:
    """Put h2 in the place of h1."""
    await aggregates.add_host(site.cloud, ROOT, ident, {"host": "h2"})
    await aggregates.remove_host(site.cloud, ROOT, ident, {"host": "h1"})


async def zone(site: Any) -> tuple[Change, dict[str, Any]]:
    ident = await aggregate(site, "h1", zone="west")
    return lambda: swap(site, ident), {"requested_zone": "west"}


async def own_zone(site: Any) -> tuple[Change, dict[str, Any]]:
    """A zone that no aggregate makes, but the host's own settings."""
    await announce(site, "h1", availability_zone="west")

    async def change() -> None:
        await announce(site, "h1", availability_zone="nova")
        await announce(site, "h2", availability_zone="west")

    return change, {"requested_zone": "west"}


async def members_of_an_aggregate(site: Any) -> tuple[Change, dict[str, Any]]:
    ident = await aggregate(site, "h1", ssd="true")
    return lambda: swap(site, ident), {"flavor": asking(aggregate_instance_extra_specs__ssd="true")}


async def items_of_an_aggregate(site: Any) -> tuple[Change, dict[str, Any]]:
    """Its hosts are the same as before, and none of their rows changes."""
    first, second = await aggregate(site, "h1", ssd="true"), await aggregate(site, "h2", ssd="no")

    async def change() -> None:
        await aggregates.set_metadata(site.cloud, ROOT, first, {"metadata": {"ssd": None}})
        await aggregates.set_metadata(site.cloud, ROOT, second, {"metadata": {"ssd": "true"}})

    return change, {"flavor": asking(aggregate_instance_extra_specs__ssd="true")}


async def zone_of_an_aggregate_as_its_item(site: Any) -> tuple[Change, dict[str, Any]]:
    first, second = await aggregate(site, "h1", zone="west"), await aggregate(site, "h2", zone="east")

    async def change() -> None:
        await aggregates.update(site.cloud, ROOT, first, {"zone": "south"})
        await aggregates.update(site.cloud, ROOT, second, {"zone": "west"})

    return change, {"flavor": asking(aggregate_instance_extra_specs__availability_zone="west")}


async def traits(site: Any) -> tuple[Change, dict[str, Any]]:
    await announce(site, "h1", traits=("CUSTOM_GPU",))

    async def change() -> None:
        await announce(site, "h1", traits=())
        await announce(site, "h2", traits=("CUSTOM_GPU",))

    return change, {"flavor": asking(trait__CUSTOM_GPU="required")}


async def architecture(site: Any) -> tuple[Change, dict[str, Any]]:
    await announce(site, "h1", cpu_info={"arch": "aarch64"})

    async def change() -> None:
        await announce(site, "h1", cpu_info={"arch": "x86_64"})
        await announce(site, "h2", cpu_info={"arch": "aarch64"})

    return change, {"image_properties": {"hw_architecture": "aarch64"}, "flavor": SMALL}


async def hypervisor(site: Any) -> tuple[Change, dict[str, Any]]:
    await announce(site, "h1", hypervisor_type="xen")

    async def change() -> None:
        await announce(site, "h1", hypervisor_type="fake")
        await announce(site, "h2", hypervisor_type="xen")

    return change, {"image_properties": {"img_hv_type": "xen"}, "flavor": SMALL}


async def most_of_one_server(site: Any) -> tuple[Change, dict[str, Any]]:
    """A host has room as before, but not for one of this size."""
    inventories = site.hosts["h1"].up().inventories
    small = tuple(replace(each, max_unit=1) if each.resource_class == "VCPU" else each for each in inventories)
    await announce(site, "h2", inventories=small)

    async def change() -> None:
        await announce(site, "h1", inventories=small)
        await announce(site, "h2", inventories=inventories)

    return change, {"flavor": BIG}


async def apart_from_one(site: Any) -> tuple[Change, dict[str, Any]]:
    """A server that another is to be apart from comes to a host that was chosen for that."""
    await hosts.change(site.cloud, "h2", {"enabled": False})
    await site.conductor.fleet.refresh()

    async def change() -> None:
        await hosts.change(site.cloud, "h2", {"enabled": True})
        await place(site, "x" * 32, "h1")

    return change, {"scheduler_hints": {"different_host": ["x" * 32]}, "flavor": SMALL}


async def with_one(site: Any) -> tuple[Change, dict[str, Any]]:
    """A server that another is to be with is on another host by now."""
    await place(site, "x" * 32, "h1")

    async def change() -> None:
        now = site.cloud.clock.now()
        await site.cloud.db.write(lambda conn: allocations.release(conn, "x" * 32, now))
        await place(site, "x" * 32, "h2")

    return change, {"scheduler_hints": {"same_host": "x" * 32}, "flavor": SMALL}


async def disabled(site: Any) -> tuple[Change, dict[str, Any]]:
    await hosts.change(site.cloud, "h2", {"enabled": False})
    await site.conductor.fleet.refresh()

    async def change() -> None:
        await hosts.change(site.cloud, "h1", {"enabled": False})
        await hosts.change(site.cloud, "h2", {"enabled": True})

    return change, {"flavor": SMALL}


async def forced_down(site: Any) -> tuple[Change, dict[str, Any]]:
    await hosts.change(site.cloud, "h2", {"forced_down": True})
    await site.conductor.fleet.refresh()

    async def change() -> None:
        await hosts.change(site.cloud, "h1", {"forced_down": True})
        await hosts.change(site.cloud, "h2", {"forced_down": False})

    return change, {"flavor": SMALL}


async def place(site: Any, server_id: str, host: str) -> None:
    wanted = Allocation(
        server_id=server_id,
        host=host,
        project_id="p" * 32,
        user_id="u" * 32,
        resources=Resources(1, 1, 1),
        created_at=site.cloud.clock.now(),
    )
    await site.cloud.db.write(lambda conn: allocations.claim(conn, wanted))


FACTS = (
    zone,
    own_zone,
    members_of_an_aggregate,
    items_of_an_aggregate,
    zone_of_an_aggregate_as_its_item,
    traits,
    architecture,
    hypervisor,
    most_of_one_server,
    apart_from_one,
    with_one,
    disabled,
    forced_down,
)


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize("fact", FACTS)
async def test_a_host_that_would_not_be_chosen_any_more_is_not_claimed(
    site: Any, monkeypatch: pytest.MonkeyPatch, fact: Any, together: int
) -> None:
    await site.add_host("h1")
    await site.add_host("h2")
    change, values = await fact(site)
    done = between(site, monkeypatch, change)
    made = await post(site, together, **values)
    await site.settle()
    assert done
    found = [site.server(each.id) for each in made]
    assert [(each.vm_state, each.host) for each in found] == [("active", "h2")] * together
