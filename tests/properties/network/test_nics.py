"""A guest has its NICs in the order asked for, whatever ids their ports have and whoever else is on the host."""

from __future__ import annotations

import json

import msgspec
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.cloud import host_networks
from floe.conductor.guest_spec import guest_spec
from floe.core import addresses as rules
from floe.core.clock import FixedClock
from floe.core.given import CreateGiven, CreateSecrets
from floe.core.host_network import HostNetwork
from floe.core.host_network_state import HostNetworkState
from floe.core.networks import Network
from floe.core.ports import Port
from floe.core.servers import Server, ServerFlavor
from floe.store import networks, ports
from floe.store.schema import load

NOW = FixedClock().now()
IMAGE = {"image_id": "i", "checksum": "", "size": 1, "disk_format": "raw", "virtual_size": 1}
FLAVOR = ServerFlavor(flavor_id="1", name="f", vcpus=1, memory_mib=64, root_gib=1)


def server(ident: str) -> Server:
    return Server(
        id=ident, number=1, project_id="p", user_id="u", name=ident, hostname=ident, vm_state="building",
        reservation_id="r", flavor=FLAVOR, created_at=NOW,
    )  # fmt: skip


def insert(conn: sa.Connection, port_id: str, server_id: str, nic: int, network_id: str) -> None:
    port = Port(
        id=port_id, network_id=network_id, project_id="p", mac=rules.mac_for(port_id), server_id=server_id, nic=nic,
        host="h", plugged=True, created_at=NOW, updated_at=NOW,
    )  # fmt: skip
    assert ports.insert(conn, port)


@settings(max_examples=30, deadline=None)
@given(
    ids=st.lists(st.uuids(version=4).map(str), min_size=2, max_size=14, unique=True),
    where=st.lists(st.sampled_from(["net-a", "net-b"]), min_size=14, max_size=14),
    data=st.data(),
)
def test_the_order_asked_is_the_order_in_the_guest(ids: list[str], where: list[str], data: st.DataObject) -> None:
    split = data.draw(st.integers(1, len(ids) - 1))
    asked, others = ids[:split], ids[split:]
    with sa.create_engine("sqlite://").begin() as conn:
        load().create_all(conn)
        for tag, ident in enumerate(("net-a", "net-b"), 1):
            networks.insert(
                conn, Network(id=ident, project_id="p", mtu=1400 + tag, tag=tag, created_at=NOW, updated_at=NOW)
            )
        rows = [(ident, "mine", nic) for nic, ident in enumerate(asked)]
        rows += [(ident, "other", nic) for nic, ident in enumerate(others)]
        for row in data.draw(st.permutations(list(enumerate(rows)))):
            insert(conn, *row[1], where[row[0]])
        whole = host_networks.whole(conn, "h", "cloud.internal")
        bound = data.draw(st.permutations([port for port in whole.ports if port.server_id == "mine"]))
        fragment = host_networks.fragment(conn, "h", bound, "cloud.internal", NOW)
        shown = [port.port_id for port in ports.seen_with_server(conn, "mine")]
    journalled = msgspec.convert(json.loads(msgspec.json.encode(fragment)), HostNetwork)
    state = HostNetworkState()
    state.replace(whole)

    guest = guest_spec(
        server("mine"), (), msgspec.convert({"image": IMAGE}, CreateGiven), CreateSecrets(), journalled, "nova"
    )

    assert [port.port_id for port in guest.nics] == asked
    assert [port.mtu for port in guest.nics] == [1401 if net == "net-a" else 1402 for net in where[:split]]
    assert shown == asked
    known = [port for port in state.snapshot().ports if port.server_id == "mine"]
    assert [port.port_id for port in sorted(known, key=lambda port: port.nic)] == asked
