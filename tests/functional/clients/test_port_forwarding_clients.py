"""openstacksdk, unmodified: ports of a floating IP are forwarded as its users write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openstack.exceptions import ConflictException, NotFoundException

from .conftest import in_thread

pytestmark = pytest.mark.filterwarnings(
    "ignore::PendingDeprecationWarning", "ignore::openstack.warnings.OpenStackDeprecationWarning"
)


def outside(admin: Any) -> str:
    """Make an external network; return its id."""
    network = admin.network.create_network(name="outer", is_router_external=True)
    admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="203.0.113.0/24")
    return str(network.id)


async def test_port_forwardings_come_change_and_go(sdk_as: Callable[..., Any]) -> None:
    def run() -> None:
        with sdk_as("admin") as admin, sdk_as("demo") as demo:
            outer, network = outside(admin), demo.network.create_network(name="inner")
            subnet = demo.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.20.0.0/24")
            router = demo.network.create_router(external_gateway_info={"network_id": outer})
            demo.network.add_interface_to_router(router, subnet_id=subnet.id)
            port = demo.network.create_port(network_id=network.id, name="web")
            ip = demo.network.create_ip(floating_network_id=outer)
            address = port.fixed_ips[0]["ip_address"]
            one = demo.network.create_floating_ip_port_forwarding(
                ip.id, internal_port_id=port.id, internal_ip_address=address, internal_port=22, external_port=2222,
                protocol="tcp", description="for the shop",
            )  # fmt: skip
            many = demo.network.create_floating_ip_port_forwarding(
                ip.id, internal_port_id=port.id, internal_ip_address=address, internal_port_range="8000:8010",
                external_port_range="9000:9010", protocol="udp",
            )  # fmt: skip
            assert (one.external_port, one.internal_port, one.external_port_range) == (2222, 22, "2222:2222")
            assert (many.external_port, many.external_port_range, many.description) == (None, "9000:9010", "")
            found = demo.network.find_floating_ip_port_forwarding(ip, one.id)
            assert (found.internal_port_id, found.internal_ip_address) == (port.id, address)
            listed = demo.network.floating_ip_port_forwardings(ip, external_port=2222)
            assert [each.id for each in listed] == [one.id]
            assert len(list(demo.network.floating_ip_port_forwardings(ip, limit=1))) == 2
            changed = demo.network.update_floating_ip_port_forwarding(ip.id, one.id, external_port=2223, protocol="udp")
            assert (changed.external_port, changed.internal_port, changed.protocol) == (2223, 22, "udp")
            shown = demo.network.get_ip(ip.id)
            assert (shown.status, shown.router_id, shown.port_id) == ("ACTIVE", router.id, None)
            with pytest.raises(ConflictException, match="in use by Port Forwarding"):
                demo.network.delete_ip(ip, ignore_missing=False)
            for gone in (one, many):
                demo.network.delete_floating_ip_port_forwarding(ip, gone, ignore_missing=False)
            with pytest.raises(NotFoundException):
                demo.network.get_port_forwarding(one.id, ip.id)
            led = demo.network.update_ip(ip, port_id=port.id)
            assert led.port_details["name"] == "web"
            demo.network.delete_ip(ip, ignore_missing=False)

    await in_thread(run)
