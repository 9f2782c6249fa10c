"""How many addresses of each network there are, and how many are used."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floe.cloud import network_room
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.listing import Listing
from floe.core.networks import Network
from floe.core.subnets import Subnet
from floe.store import addresses, networks, subnets
from floe.store.engine import Connection


class AddressUse(msgspec.Struct, frozen=True, kw_only=True):
    """A network, and for each of its subnets the addresses in its pools and those that ports have."""

    network: Network
    subnets: tuple[tuple[Subnet, int, int], ...]
    """(subnet, total, used)"""

    @property
    def total(self) -> int:
        """The addresses of all pools."""
        return sum(total for _, total, _ in self.subnets)

    @property
    def used(self) -> int:
        """The addresses that ports have."""
        return sum(used for _, _, used in self.subnets)


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[AddressUse]:
    """Return the use of the networks the caller sees."""

    def look(conn: Connection) -> list[AddressUse]:
        return _use(conn, networks.find(conn, network_room.scope(context), listing))

    return await cloud.db.read(look)


async def show(cloud: Cloud, context: Context, network_id: str) -> AddressUse:
    """Return the use of one network. Raises NotFound."""
    found = await find(cloud, context, Listing(filters={"id": [network_id]}))
    if not found:
        raise NotFound("network", network_id)
    return found[0]


def _use(conn: Connection, found: Sequence[Network]) -> list[AddressUse]:
    below: dict[str, list[tuple[Subnet, int, int]]] = {network.id: [] for network in found}
    used = addresses.count_by_subnet(conn, list(below))
    for subnet in subnets.of_networks(conn, below):
        total = sum(last - first + 1 for first, last in subnet.pools)
        below[subnet.network_id].append((subnet, total, used.get(subnet.id, 0)))
    return [AddressUse(network=network, subnets=tuple(below[network.id])) for network in found]
