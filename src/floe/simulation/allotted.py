"""What is asked for in a run of address scopes and subnet pools, and of the networks that projects are given whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Network

from floe.cloud import address_scopes, auto_allocated, networks, subnetpools, subnets
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.errors import FloeError
from floe.core.listing import Listing
from floe.core.networks import Network
from floe.simulation.routed import Args, Promised, Routed
from floe.simulation.site import PROJECTS, operator_of, user_of
from floe.store import address_scopes as scope_rows
from floe.store import auto_allocated as topology_rows
from floe.store import networks as network_rows
from floe.store import subnetpools as pool_rows
from floe.store import subnets as subnet_rows
from floe.store.engine import Connection

PREFIXES = ("10.40.0.0/27", "10.40.0.0/26", "10.40.0.32/27", "10.41.0.0/28")
"""What pools are made of, of which some overlap: two such cannot be of one scope."""
QUOTA = 24
"""Addresses that a project may have of a pool: of some of them less than there is."""
GIVEN = "10.77.0.0/25"
"""What the networks are of that projects are given whole."""
AUTO = "auto_allocated_network"


class Allotted:
    """Users of scopes, pools, and networks given whole; they join the networks to the routers that `routed` has."""

    def __init__(self, routed: Routed) -> None:
        self._routed = routed
        self._scopes, self._pools = Promised("an address scope"), Promised("a subnet pool")
        self._given = Promised("a network that was allocated")
        self._begun, self._ended = [0] * len(PROJECTS), [0] * len(PROJECTS)
        """How many deletes of what a project was allocated were asked for, and how many are done."""

    async def ask_pool(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for of scopes and pools."""
        deeds: dict[str, Callable[[Cloud, str, Args], Awaitable[None]]] = {
            "scope": self._scope,
            "scope-delete": self._scope_delete,
            "pool": self._pool,
            "subnet": self._subnet,
            "grow": self._grow,
            "rescope": self._rescope,
            "pool-delete": self._pool_delete,
        }
        await deeds[args["do"]](cloud, name, args)

    async def ask_topology(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a network allocated, by several who ask at the same time, or give it back."""
        if self._routed.external is None:
            await self._routed.open(cloud, name)
        await self._give(cloud, name)
        project = args["project"]
        user = user_of(project, name)
        if args["do"] == "delete":
            found = await cloud.db.read(lambda conn: topology_rows.get(conn, PROJECTS[project]))
            if found is not None:
                self._given.delete_asked.add(found.network_id)
                self._begun[project] += 1
                try:
                    await auto_allocated.delete(cloud, user, None)
                finally:  # it may have been another that was allocated meanwhile
                    self._given.delete_asked.update(ident for owner, ident in self._given.made if owner == project)
                    self._ended[project] += 1
                self._given.deleted.add(found.network_id)
            return
        before = self._ended[project]
        asked = [auto_allocated.show(cloud, user, None) for _ in range(1 + args["pick"] % 3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if not isinstance(answer, BaseException):
                self._given.made.append((project, answer.network_id))
                if self._begun[project] > before:  # a delete that goes on meanwhile may be of this one
                    self._given.delete_asked.add(answer.network_id)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def check(self, conn: Connection) -> list[Violation]:
        """Compare the answers with the rows."""
        every = Listing()
        pools = {pool.id: pool for pool in pool_rows.ROWS.find(conn, None, every)}
        there = network_rows.find(conn, None, every)
        gone = self._routed.networks.delete_asked
        self._given.delete_asked |= gone
        found = [
            *self._scopes.check({each.id for each in scope_rows.ROWS.find(conn, None, every)}),
            *self._pools.check(pools.keys() | set()),
            *self._given.check({each.id for each in there}),
        ]
        taken: dict[tuple[str, str], int] = {}
        for subnet in subnet_rows.find(conn, None, every):
            if subnet.pool_id is not None:
                key = subnet.pool_id, subnet.project_id
                taken[key] = taken.get(key, 0) + IPv4Network(subnet.cidr).num_addresses
        found += [
            Violation("a project has more of a subnet pool than its quota", pool_id, f"{project_id}: {count}")
            for (pool_id, project_id), count in taken.items()
            if (quota := pools[pool_id].quota if pool_id in pools else None) is not None and count > quota
        ]
        return found + self._whole(conn, [each for each in there if each.name == AUTO])

    def _whole(self, conn: Connection, given: list[Network]) -> list[Violation]:
        """See that each project was given one network, and that with all that belongs to it."""
        known = {each: topology_rows.get(conn, each) for each in PROJECTS}
        found = []
        for network in given:
            topology = known.get(network.project_id)
            if topology is None or topology.network_id != network.id:
                found.append(Violation("a network was allocated in part, or twice", network.id, network.project_id))
            elif not network.subnet_ids:
                found.append(Violation("a network was allocated without a subnet", network.id))
        return found

    # -- scopes and pools -----------------------------------------------------------------------------

    async def _scope(self, cloud: Cloud, name: str, args: Args) -> None:
        project = args["project"]
        asked = {"name": name, "shared": args["pick"] % 2 > 0}
        who = operator_of(project, name) if asked["shared"] else user_of(project, name)
        (made,) = await address_scopes.create(cloud, who, [asked])
        self._scopes.made.append((project, made.id))

    async def _scope_delete(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._scopes.pick(args):
            self._scopes.delete_asked.add(picked[1])
            await address_scopes.delete(cloud, user_of(picked[0], name), picked[1])
            self._scopes.deleted.add(picked[1])

    async def _pool(self, cloud: Cloud, name: str, args: Args) -> None:
        project, scope = args["project"], self._scopes.pick(args)
        asked: Args = {
            "name": name,
            "prefixes": [PREFIXES[args["pick"] % len(PREFIXES)]],
            "least_length": 27,
            "default_length": 28,
            "quota": QUOTA if args["other"] % 2 else None,
            "scope_id": scope[1] if scope and args["other"] % 4 else None,
        }
        (made,) = await subnetpools.create(cloud, user_of(project, name), [asked])
        self._pools.made.append((project, made.id))

    async def _subnet(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a subnet of a pool, on a network of its own that a router may join then."""
        if picked := self._pools.pick(args):
            user = user_of(picked[0], name)
            (network,) = await networks.create(cloud, user, [{"name": name}])
            self._routed.networks.made.append((picked[0], network.id))
            asked: Args = {"network_id": network.id, "pool_id": picked[1]}
            if args["other"] % 3 == 0:
                asked["length"] = 28 + args["other"] % 2
            elif args["other"] % 3 == 1:
                asked["cidr"] = f"10.40.0.{8 * (args['other'] % 5)}/29"
            await subnets.create(cloud, user, [asked])

    async def _grow(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._pools.pick(args):
            more = {"prefixes": [PREFIXES[args["other"] % len(PREFIXES)]]}
            await subnetpools.add(cloud, user_of(picked[0], name), picked[1], more)

    async def _rescope(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a pool be of another scope, or of none."""
        if picked := self._pools.pick(args):
            scope = self._scopes.pick({"pick": args["other"]})
            change = {"scope_id": scope[1] if scope and args["other"] % 3 else None}
            await subnetpools.update(cloud, user_of(picked[0], name), picked[1], change)

    async def _pool_delete(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._pools.pick(args):
            self._pools.delete_asked.add(picked[1])
            await subnetpools.delete(cloud, user_of(picked[0], name), picked[1])
            self._pools.deleted.add(picked[1])

    # -- networks given whole -------------------------------------------------------------------------

    async def _give(self, cloud: Cloud, name: str) -> None:
        """Have a default pool; when it was not answered it is there, perhaps."""
        if not await cloud.db.read(pool_rows.default):
            pool = {"name": name, "prefixes": [GIVEN], "least_length": 27, "default_length": 28}
            try:
                await subnetpools.create(cloud, operator_of(0, name), [{**pool, "default": True, "shared": True}])
            except FloeError:
                if not await cloud.db.read(pool_rows.default):
                    raise
