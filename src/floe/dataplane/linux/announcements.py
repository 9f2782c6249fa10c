"""Gratuitous ARP: whoever kept the address of another device for an IP learns that it is here now."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable

from floe.dataplane.linux import kernel

_BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2


def frame(mac: str, address: str, operation: int) -> bytes:
    """Return the frame by which a device says, to all, that it has an address."""
    own, ip = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(address)
    target = _BROADCAST if operation == _REPLY else bytes(6)
    return _BROADCAST + own + b"\x08\x06" + _ARP.pack(1, 0x0800, 6, 4, operation, own, ip, target, ip)


def announce(addresses: Iterable[tuple[str, str, str]]) -> None:
    """Tell the neighbours of (device, MAC, address), inside the calling thread's namespace, in both ways there are.

    Sent as frames of our own: the kernel announces nothing when an address is added to a device that is up. What a
    device has no more is passed over: it may be somebody else's by now.
    """
    there = {(device, text.partition("/")[0]) for device, texts in kernel.addresses().items() for text in texts}
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC) as wire:
        for device, mac, address in addresses:
            if (device, address) not in there:
                continue
            for operation in (_REQUEST, _REPLY):
                with contextlib.suppress(OSError):  # it went meanwhile, or is down: then nobody is there to be told
                    wire.sendto(frame(mac, address, operation), (device, 0))
