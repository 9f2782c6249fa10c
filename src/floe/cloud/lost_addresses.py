"""What becomes of that which leads to an address that a port loses: one rule, whoever takes the address."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from floe.core.floating_ips import FloatingIP
from floe.store import floating_ips, port_forwardings
from floe.store.engine import Connection


def led_to(conn: Connection, port_id: str, left: Collection[str], now: datetime) -> FloatingIP | None:
    """Return the floating IP that leads to an address which is not among those left to a port: it is to stay, then.

    Where there is none, the port forwardings to such addresses have ended.
    """
    for floating in floating_ips.of_ports(conn, [port_id]):
        if floating.fixed_address not in left:
            return floating
    ended = [each for each in port_forwardings.to_ports(conn, [port_id]) if each.fixed_address not in left]
    floating_ips.forward_no_more(conn, ended, now)
    return None
