"""What the kernel's own network stack is told about devices that carry guests' frames: that they are not its business.

Else it would learn from guests: addresses and routes from router advertisements, redirects; and it would answer for
addresses that it has elsewhere. The rules keep such frames from it as well; each holds without the other.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from floe.dataplane.linux.names import INNER_DEVICE

_SETTINGS = Path("/proc/sys/net")
_EVERY_BRIDGE = _SETTINGS / "bridge/bridge-nf-call-iptables"
_DEVICE = {
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv4/conf/{}/forwarding": "0",
    "ipv4/conf/{}/arp_ignore": "8",  # no answer for any address
    "ipv4/conf/{}/rp_filter": "1",
}
"""For bridges, taps and outer ends, in the host's namespace."""
_NAMESPACE = {
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv4/conf/{}/forwarding": "0",  # whatever it inherited from the host
    "ipv4/conf/{}/arp_ignore": "1",  # answers for the addresses of the device that was asked
    "ipv4/conf/{}/arp_accept": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/accept_source_route": "0",
    "ipv4/conf/{}/rp_filter": "1",
}
"""For a DHCP and metadata namespace, which has addresses of its own."""


_OUTSIDE = {
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/accept_source_route": "0",
    "ipv4/conf/{}/rp_filter": "1",
}
"""For the bridge on which the machine is the outside: it answers there, and learns nothing."""
_ROUTER = {
    "ipv6/conf/{}/disable_ipv6": "1",
    "ipv4/conf/{}/forwarding": "1",  # first: to set it resets others
    "ipv4/conf/{}/arp_ignore": "1",
    "ipv4/conf/{}/arp_announce": "2",  # asks from an address that whoever is asked can know
    "ipv4/conf/{}/arp_accept": "0",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",  # between guests of one network, by floating IP, it must stay on the way
    "ipv4/conf/{}/accept_source_route": "0",
    "ipv4/conf/{}/rp_filter": "1",  # takes only what comes from where the answer would go
    "ipv4/conf/{}/promote_secondaries": "1",  # of several addresses in a subnet, the first may go alone
}
"""For a router's namespace."""
_LEG = {
    name: value
    for name, value in _ROUTER.items()
    if name.endswith(("disable_ipv6", "forwarding", "arp_accept", "send_redirects"))
}
"""For each of its devices: of the others the kernel heeds the stricter of what all of them and each one have."""


def filters_bridges() -> bool:
    """Say whether bridged packets can pass the inet tables: the kernel has br_netfilter."""
    return _EVERY_BRIDGE.exists()


def spare_bridges() -> None:
    """Have packets pass the inet tables on those bridges alone that ask for it, in a namespace or kernel that is new.

    The kernel begins with all of them. Who is not alone leaves it as it is: others may have rules that need it.
    Where it cannot be written, Floe's bridges that do not need it cost more, and no less is filtered.
    """
    with contextlib.suppress(OSError):
        _EVERY_BRIDGE.write_text("0")


def open_to(devices: Iterable[str]) -> dict[Path, str]:
    """Return the settings by which the host's stack still hears these devices, and what each should be."""
    return _unlike(_DEVICE, devices)


def close_to(devices: Iterable[str]) -> None:
    """Have the host's stack hear nothing of these devices; those that are not there are passed over."""
    _write(open_to(devices))


def unguarded(devices: Iterable[str]) -> dict[Path, str]:
    """Return the settings by which the machine, as the outside, would learn from these devices."""
    return _unlike(_OUTSIDE, devices)


def guard(devices: Iterable[str]) -> None:
    """Have the machine answer on these devices and learn nothing from them."""
    _write(unguarded(devices))


def confine_namespace() -> None:
    """Inside a DHCP namespace: keep it from passing packets on and from learning."""
    _write(_unlike(_NAMESPACE, ("all", "default", INNER_DEVICE)))


def unrouted(devices: Iterable[str]) -> dict[Path, str]:
    """Inside a router's namespace: return the settings that are not as a router needs them."""
    return _unlike(_ROUTER, ("all", "default")) | _unlike(_LEG, devices)


def route(devices: Iterable[str]) -> None:
    """Inside a router's namespace: have it pass packets on between its legs, and learn nothing from them."""
    _write(unrouted(devices))


def _unlike(wanted: Mapping[str, str], devices: Iterable[str]) -> dict[Path, str]:
    found = {}
    for device in devices:
        for name, value in wanted.items():
            path = _SETTINGS / name.format(device)
            try:
                if path.read_text().strip() != value:
                    found[path] = value
            except FileNotFoundError:
                continue  # no such device, or no IPv6 in this kernel or for so small an MTU
    return found


def _write(settings: Mapping[Path, str]) -> None:
    for path, value in settings.items():
        try:
            path.write_text(value)
        except FileNotFoundError:
            continue  # it went meanwhile
