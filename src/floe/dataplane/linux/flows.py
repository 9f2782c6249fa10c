"""The flows that connection tracking knows in a namespace, and how they are ended; nothing else is told of them.

The rules stop a flow whose translation is no longer in force. Its entry would still be there, and keep whoever goes on
with the same ports from the guest that has the address next.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from pathlib import Path

from floe.dataplane.linux import kernel
from floe.dataplane.linux.router_rules import Ends, Translation

_GET, _DELETE = (1 << 8) | 1, (1 << 8) | 2  # NFNL_SUBSYS_CTNETLINK
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)  # struct nfgenmsg: family, version, resource
_NESTED = 0x8000
_ORIGINAL, _REPLY, _STATUS, _ID, _FILTER = 1, 2, 3, 12, 25
_MARK, _MARK_MASK = 8, 21
_ADDRESSES, _PROTOCOL = 1, 2
_SOURCE, _TARGET = 1, 2
_NUMBER, _SOURCE_PORT, _TARGET_PORT = 1, 2, 3
_NAMES = {bytes([socket.IPPROTO_TCP]): "tcp", bytes([socket.IPPROTO_UDP]): "udp"}
_BY_TARGET = 1 << 1  # CTA_FILTER_FLAG(CTA_IP_DST)
_SOURCE_TRANSLATED, _TARGET_TRANSLATED = 1 << 4, 1 << 5
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
_FEW_FLOWS, _FEW_ADDRESSES = 1000, 2
"""Each question makes the kernel walk all of its table, the other namespaces' part as well: some ms. Of few flows, or
for many addresses, all are looked at in one walk."""


def end(translation: Translation, addresses: Collection[str] | None) -> int:
    """Forget the flows by these outer addresses (None: by any) that are not of this translation; return how many.

    To be called inside the namespace.
    """
    count = int(_COUNT.read_text())
    if not count:
        return 0
    if addresses is None or len(addresses) > _FEW_ADDRESSES or count < _FEW_FLOWS:
        questions = [b""]
    else:
        questions = [_to(side, address) for address in addresses for side in (_ORIGINAL, _REPLY)]
    stale: dict[bytes, bytes] = {}
    for question in questions:
        for body in kernel.ask(kernel.NETFILTER, _GET, kernel.REQUEST | kernel.DUMP, _HEADER + question):
            entry = dict(kernel.attributes_of(body[len(_HEADER) :]))
            if not _is_kept(entry, translation):
                stale[entry[_ID]] = _attribute(_ORIGINAL | _NESTED, entry[_ORIGINAL]) + _attribute(_ID, entry[_ID])
    kernel.tell(kernel.NETFILTER, _DELETE, (_HEADER + which for which in stale.values()))
    return len(stale)


def forget(marks: Collection[int]) -> None:
    """Forget the flows that bear one of these marks, whatever they are."""
    every = _attribute(_MARK_MASK, b"\xff" * 4)
    kernel.tell(
        kernel.NETFILTER, _DELETE, (_HEADER + _attribute(_MARK, struct.pack(">I", mark)) + every for mark in marks)
    )


def _is_kept(entry: dict[int, bytes], translation: Translation) -> bool:
    status = int.from_bytes(entry[_STATUS], "big")
    return translation.keeps(
        _ends(entry[_ORIGINAL]),
        _ends(entry[_REPLY]),
        source=bool(status & _SOURCE_TRANSLATED),
        target=bool(status & _TARGET_TRANSLATED),
    )


def _ends(flow: bytes) -> Ends:
    """Return one direction."""
    parts = dict(kernel.attributes_of(flow))
    addresses = dict(kernel.attributes_of(parts[_ADDRESSES]))
    protocol = dict(kernel.attributes_of(parts[_PROTOCOL]))
    return Ends(
        source=socket.inet_ntoa(addresses[_SOURCE]),
        target=socket.inet_ntoa(addresses[_TARGET]),
        protocol=_NAMES.get(protocol[_NUMBER], ""),
        source_port=int.from_bytes(protocol.get(_SOURCE_PORT, b""), "big"),
        target_port=int.from_bytes(protocol.get(_TARGET_PORT, b""), "big"),
    )


def _to(side: int, address: str) -> bytes:
    """Ask for the flows that one direction of goes to an address."""
    target = _attribute(_ADDRESSES | _NESTED, _attribute(_TARGET, socket.inet_aton(address)))
    return _attribute(side | _NESTED, target) + _attribute(
        _FILTER | _NESTED, _attribute(side, struct.pack("=I", _BY_TARGET))
    )


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)
