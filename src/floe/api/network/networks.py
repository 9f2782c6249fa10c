"""`/v2.0/networks`."""

from __future__ import annotations

from floe.api.kit.resource import Fields, Resource, Use, Wire
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import flag, lowered, number, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import networks
from floe.core.errors import Invalid
from floe.core.hostnames import domain_in_dns
from floe.core.networks import FLAT, Network


def _size(value: int, name: str) -> int:
    if value < 0:
        raise Invalid(f"Invalid input for {name}: {value} is less than 0.")
    return value


def _up(value: str, _name: str) -> bool:
    return value.upper() == "ACTIVE"


def _default(network: Network) -> bool | None:
    """Show only of an external network whether it is the default one, as Neutron does."""
    return network.default if network.external else None


NETWORK: Resource[Network] = Resource(
    name="network",
    plural="networks",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        DESCRIPTION,
        *OWNER,
        Wire("admin_state_up", "up", Use.ALL, flag),
        Wire("status", "up", Use.LIST, filtered=_up, shown=lambda n: "ACTIVE" if n.up else "DOWN"),
        Wire("subnets", "subnet_ids"),
        Wire("shared", use=Use.WRITE | Use.FILTER, convert=flag),
        Wire("mtu", use=Use.ALL, convert=number, check=_size),
        Wire("port_security_enabled", "port_security", Use.WRITE | Use.FILTER, flag),
        Wire("dns_domain", use=Use.WRITE | Use.FILTER, convert=lowered, check=domain_in_dns),
        Wire("router:external", "external", Use.WRITE | Use.FILTER, flag),
        Wire("is_default", "default", Use.WRITE | Use.FILTER, flag, shown=_default, sparse=True),
        Wire("provider:network_type", "kind", Use.WRITE | Use.FILTER, check=text(32), only="admin"),
        Wire("provider:physical_network", "physical", Use.WRITE | Use.FILTER, check=text(64), only="admin"),
        Wire(
            "provider:segmentation_id", "tag", Use.WRITE | Use.FILTER, number, only="admin",
            shown=lambda n: None if n.kind == FLAT else n.tag,
        ),
        TAGS,
        *REVISED,
    ),
    create=networks.create,
    find=networks.find,
    show=networks.show,
    update=networks.update,
    delete=networks.delete,
    retag=networks.retag,
)  # fmt: skip
