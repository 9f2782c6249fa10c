"""`/v2.0/floatingips/{id}/port_forwardings`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Above, Extension, Fields, Resource, Use, Wire
from floe.api.kit.shape import Of
from floe.api.network.attributes import DESCRIPTION, ID, OWNER
from floe.api.network.converters import address, ident, number, one_of
from floe.api.network.dialect import NEUTRON
from floe.cloud import port_forwardings
from floe.core.errors import Invalid
from floe.core.port_forwardings import PROTOCOLS, PortForwarding, single, text_of

_LAST = 65535
_NUMBERS = {"6": "tcp", "17": "udp"}
_known = one_of(*PROTOCOLS)


def _port(value: Any, name: str) -> int | None:
    """Read a port; null is none."""
    if value is None:
        return None
    found = number(value, name)
    if not 1 <= found <= _LAST:
        raise Invalid(f"Invalid input for {name}: {found} is not between 1 and {_LAST}.")
    return found


def _range(value: Any, name: str) -> tuple[int, int] | None:
    """Read a range of ports, FIRST:LAST, or one port; null is none."""
    if value is None:
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise Invalid(f"Invalid input for {name}: it must be a range of ports, like 8000:8010.")
    first, between, last = str(value).partition(":")
    found = _port(first, name), _port(last if between else first, name)
    assert found[0] is not None
    assert found[1] is not None
    if found[0] > found[1]:
        raise Invalid(f"Invalid input for {name}: the first port of {found[0]}:{found[1]} is above the last.")
    return found[0], found[1]


def _range_text(value: str, name: str) -> str:
    """Read a range in a filter."""
    found = _range(value, name)
    assert found is not None
    return text_of(found)


def _protocol(value: Any, name: str) -> Any:
    """Read a protocol: its name, whatever its case, or its number."""
    plain = str(value).lower() if isinstance(value, str | int) and not isinstance(value, bool) else value
    return _known(_NUMBERS.get(plain, plain) if isinstance(plain, str) else plain, name)


def exposed(forwarding: PortForwarding) -> dict[str, Any]:
    """Return what is told of a port forwarding beside its floating IP; what is several ports is left out there."""
    external, internal = single(forwarding.external), single(forwarding.internal)
    return {
        "id": forwarding.id,
        "protocol": forwarding.protocol,
        **({"external_port": external} if external is not None else {}),
        **({"internal_port": internal} if internal is not None else {}),
        "internal_ip_address": forwarding.fixed_address,
        "internal_port_id": forwarding.port_id,
    }


PORT_FORWARDING: Resource[PortForwarding] = Resource(
    name="port_forwarding",
    plural="port_forwardings",
    dialect=NEUTRON,
    above=Above("floatingips", "floating_id"),
    fields=Fields(
        ID,
        DESCRIPTION,
        # It is whose its floating IP is, whoever is named.
        *(Wire[PortForwarding](wire.name, None, Use.CREATE, check=wire.check, shown=False) for wire in OWNER),
        Wire("protocol", use=Use.ALL, convert=_protocol, required=True),
        Wire("internal_port_id", "port_id", Use.ALL, check=ident, required=True),
        Wire("internal_ip_address", "fixed_address", Use.WRITE, check=address),
        Wire("external_port", use=Use.ALL, convert=_port, shown=Of("external", single), sparse=True),
        Wire(
            "external_port_range",
            "external_range",
            Use.ALL,
            _range,
            filtered=_range_text,
            shown=Of("external", text_of),
        ),
        Wire("internal_port", use=Use.WRITE, convert=_port, shown=Of("internal", single), sparse=True),
        Wire("internal_port_range", "internal_range", Use.WRITE, _range, shown=Of("internal", text_of)),
    ),
    create=port_forwardings.create,
    find=port_forwardings.find,
    show=port_forwardings.show,
    update=port_forwardings.update,
    delete=port_forwardings.delete,
    extension=Extension(
        "floating-ip-port-forwarding", "Floating IP Port Forwarding", "Ports of a floating IP lead to ports of guests."
    ),
)
