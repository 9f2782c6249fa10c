"""What ports are called in DNS: by their servers' names, or by what their users choose."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from floe.core.errors import Conflict, Invalid
from floe.core.hostnames import LONGEST_NAME, RESERVED, dns_name, whole_name
from floe.core.networks import Network
from floe.core.ports import Port
from floe.store import networks
from floe.store import port_names as rows
from floe.store.engine import Connection


def of_server(conn: Connection, network: Network, project_id: str, hostname: str) -> str:
    """Return the name of a project's server on a network: "" where it would be taken for somebody else's.

    On a network of its own a project names servers as it likes, also several alike. Where it meets other projects,
    a name is that of the project which had it first, and what software looks for by itself is nobody's.
    """
    name = dns_name(hostname)
    return "" if name and _is_anothers(conn, network, project_id, name) else name


def check(conn: Connection, network: Network, project_id: str, name: str, domain: str) -> None:
    """Raise unless a port of the project may have a name that its user chose, below a domain. Raises Invalid, Conflict.

    What `core.hostnames.name_in_dns` refuses is refused by then.
    """
    if not name:
        return
    below = f".{domain.removesuffix('.')}."
    if name.endswith(".") and not name.endswith(below):
        raise Invalid(
            f"Invalid input for dns_name: {name!r} is a FQDN. Its higher level labels must be equal to the dns_domain"
            f" of the port, its network or the cloud, which is {below[1:]!r}, with one or more labels to the left.",
            reason="malformed",
        )
    whole = whole_name(name, domain)
    if len(whole) > LONGEST_NAME + 1:
        raise Invalid(
            f"Invalid input for dns_name: {name[:80]!r} with the domain {below[1:]!r} has {len(whole)} characters; at"
            f" most {LONGEST_NAME + 1} are allowed.",
            reason="malformed",
        )
    if _is_anothers(conn, network, project_id, name):
        raise Conflict(
            f"The name {name!r} is not to be had on network {network.id}, which several projects use: it is that of"
            " another project's port, or one that software looks for by itself."
        )


def domain_of(network: Network, default: str) -> str:
    """Return the domain of the names on a network, with a dot at its end; `default` is the cloud's."""
    return network.dns_domain or f"{default.removesuffix('.').lower()}."


def shown(conn: Connection, found: Sequence[Port], default: str) -> list[Port]:
    """Return ports as they are to be shown: knowing the domains of their networks."""
    own = networks.domains(conn, {port.network_id for port in found})
    common = f"{default.removesuffix('.').lower()}."
    return [replace(port, domain=own.get(port.network_id, common)) for port in found]


def _is_anothers(conn: Connection, network: Network, project_id: str, name: str) -> bool:
    if network.project_id == project_id and not network.shared:
        return False
    label = name.partition(".")[0]
    return label in RESERVED or rows.taken(conn, network.id, label, project_id)
