"""`/v2.0/networks`."""

from __future__ import annotations

from floe.api.kit.resource import Fields, Resource, Use, Wire, constant
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import flag, number, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import networks
from floe.core.errors import Invalid
from floe.core.networks import OVERLAY, Network


def _size(value: int, name: str) -> int:
    if value < 0:
        raise Invalid(f"Invalid input for {name}: {value} is less than 0.")
    return value


def _up(value: str, _name: str) -> bool:
    return value.upper() == "ACTIVE"


def _inner(value: bool, name: str) -> bool:
    if value:
        raise Invalid(f"Invalid input for {name}: external networks are not supported; it must be false.")
    return value


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
        constant("router:external", False, Use.WRITE | Use.FILTER, convert=flag, check=_inner),
        Wire(
            "provider:network_type", "kind", Use.WRITE | Use.FILTER, check=text(32),
            shown=lambda _: OVERLAY, only="admin", constant=OVERLAY,
        ),
        Wire(
            "provider:physical_network", "physical", Use.WRITE | Use.FILTER, check=text(64),
            shown=lambda _: None, only="admin", constant="",
        ),
        Wire("provider:segmentation_id", "tag", Use.WRITE | Use.FILTER, number, only="admin"),
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
